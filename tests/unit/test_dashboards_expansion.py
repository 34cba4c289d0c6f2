"""
What the tests take for Grafana's work: variables and macros, as its documentation has them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests._grafana import Choice, expand_macros, expand_promql, expand_variables

SINCE = datetime(2026, 2, 15, 10, tzinfo=UTC)
UNTIL = datetime(2026, 2, 15, 16, 30, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "choice", "expected"),
    [
        ("ARRAY[${v:sqlstring}]", Choice(("a", "it's"), several=True), "ARRAY['a','it''s']"),
        ("ARRAY[${v:sqlstring}]", Choice(several=True, everything="NULL::text"), "ARRAY[NULL::text]"),
        ("= ${v:sqlstring}", Choice(("it's \\",)), "= 'it''s \\'"),
        ("= ${v:sqlstring}", Choice(("",)), "= ''"),
        ("IN ($v)", Choice(("a", "b"), several=True), "IN ('a','b')"),
        ("= '$v'", Choice(("it's",)), "= 'it''s'"),
        ("= ${v:sqlstring}", Choice(("${v:sqlstring}",)), "= '${v:sqlstring}'"),
        ("$other, $v1, ${__from}", Choice(("a",)), "$other, $v1, ${__from}"),
    ],
)
def test_variables_are_put_in_once(text: str, choice: Choice, expected: str) -> None:
    """
    :sqlstring puts each value into quotes and doubles those inside; "All" goes in as its custom value stands.
    """
    assert expand_variables(text, {"v": choice}) == expected


def test_macros_are_put_in_even_inside_quotes() -> None:
    """
    Which is why a name that looks like one cannot be chosen.
    """
    sql = "$__timeFrom()::timestamptz, $__timeTo(), $__interval_ms * interval '1 millisecond', '$__timeTo(x)'"

    assert expand_macros(sql, SINCE, UNTIL, timedelta(minutes=1)) == (
        "'2026-02-15T10:00:00Z'::timestamptz, '2026-02-15T16:30:00.500000Z',"
        " 60000 * interval '1 millisecond', ''2026-02-15T16:30:00.500000Z''"
    )
    with pytest.raises(ValueError, match="unknown macro 'anything'"):
        expand_macros("'$anything(x)'", SINCE, UNTIL, timedelta(minutes=1))


def test_intervals_of_prometheus_are_put_in() -> None:
    """
    The longer name first.
    """
    expression = "rate(a[$__rate_interval]) + rate(b[$__range])"

    assert expand_promql(expression, rate_interval="1m", range_="3h") == "rate(a[1m]) + rate(b[3h])"
