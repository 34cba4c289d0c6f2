"""
However a range is cut, and however much of it the rollup has, its parts sum up to the whole.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pg8000.native import Connection

from m3w_core import rollup
from m3w_core.database_url import DatabaseSettings
from tests import _qoe
from tests._databases import connect, new_database
from tests._qoe import DAY, add_session, metrics

_HOURS = 6
_UNTIL = DAY + timedelta(hours=_HOURS)
_SESSIONS = 150

# Percentiles have no sum.
_SUMMED = ("numerator", "denominator", "sessions", "left_out")

_BY_MODEL = """
SELECT metric, sum(numerator), sum(denominator), sum(sessions), sum(left_out)
FROM qoe_breakdown(CAST(:since AS timestamptz), CAST(:until AS timestamptz), 'device_model')
GROUP BY metric
"""


@pytest.fixture(scope="module")
def connection(server: DatabaseSettings, _migrated_template: DatabaseSettings) -> Iterator[Connection]:
    """Sessions of six hours; half of them came before the rollup's end, half after."""
    source = random.Random(2066)

    def number(most: int) -> int | None:
        return source.choice([None, 0, source.randrange(most), source.randrange(most)])

    with (
        new_database(server, template=_migrated_template.database) as database,
        closing(connect(database)) as open_connection,
    ):
        open_connection.run("BEGIN")
        for index in range(_SESSIONS):
            event_at = DAY + timedelta(microseconds=source.randrange(_HOURS * 3_600_000_000))
            add_session(
                open_connection,
                event_at=event_at,
                received_at=event_at + (timedelta(days=1) if index % 2 else timedelta(0)),
                startup_time_ms=number(9000),
                rebuffer_time_ms=number(20_000),
                rebuffer_count=number(5),
                play_time_ms=number(1_000_000),
                rebuffer_ratio=source.choice([None, 0.0, 0.25]),
                total_dropped_frames=number(50),
                mean_video_format_bitrate=number(20_000_000_000),
                error_count=number(2),
                device_model=source.choice([None, "a", "b"]),
            )
        open_connection.run("COMMIT")
        rollup.refresh(open_connection)
        open_connection.run("UPDATE qoe_rollup_state SET rolled_until = :until", until=_UNTIL)
        rollup.rebuild(open_connection)
        yield open_connection


def _sums(connection: Connection, since: datetime, until: datetime) -> dict[tuple[str, str], Decimal]:
    return {
        (metric, name): numbers[name] or Decimal(0)
        for metric, numbers in metrics(connection, since, until).items()
        for name in _SUMMED
    }


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, _HOURS * 3_600_000 - 1), min_size=1, max_size=4))
def test_parts_of_a_range_sum_up_to_the_whole(connection: Connection, cuts_ms: set[int]) -> None:
    """
    Every numerator, denominator and count, wherever the range is cut.
    """
    times = [DAY, *(DAY + timedelta(milliseconds=cut) for cut in sorted(cuts_ms)), _UNTIL]
    whole = _sums(connection, DAY, _UNTIL)
    parts = [_sums(connection, since, until) for since, until in itertools.pairwise(times)]

    assert _SESSIONS == whole["sessions", "numerator"]
    assert whole == {name: sum(part[name] for part in parts) for name in whole}


def test_groups_sum_up_to_the_whole(connection: Connection) -> None:
    """
    The rows of groups and those of all sessions tell the same, and half of the sessions are in the rollup.
    """
    rows = connection.run(_BY_MODEL, since=DAY, until=_UNTIL)
    by_model = {
        (metric, name): value or Decimal(0)
        for metric, *values in rows
        for name, value in zip(_SUMMED, values, strict=True)
    }

    assert _sums(connection, DAY, _UNTIL) == by_model
    assert 75 == connection.run("SELECT sum(sessions) FROM qoe_hourly WHERE all_sessions")[0][0]


def test_the_rollup_says_what_the_sessions_say(connection: Connection) -> None:
    """
    Percentiles and all, for the range, its five minutes, its hours and its groups.
    """
    between = "CAST(:since AS timestamptz), CAST(:until AS timestamptz)"
    for query in (
        f"SELECT * FROM qoe_totals({between}) ORDER BY metric",
        f"SELECT * FROM qoe_series({between}, interval '5 minutes') ORDER BY at, metric",
        f"SELECT * FROM qoe_series({between}, interval '2 hours', ARRAY['a']) ORDER BY at, metric",
        f"SELECT * FROM qoe_breakdown({between}, 'device_model') ORDER BY 1, 3",
        f"SELECT * FROM qoe_startup_histogram({between}, interval '5 minutes')",
    ):
        expected = _qoe.from_sessions_alone(connection, query, since=DAY, until=_UNTIL)

        assert expected == connection.run(query, since=DAY, until=_UNTIL)
        assert expected
