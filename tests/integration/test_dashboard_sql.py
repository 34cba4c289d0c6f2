"""
Every query of every panel and variable, as PostgreSQL gets it from Grafana.

Over data, at empty tables and with any choice; read by Grafana's own role, which may not read every table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlglot
from pg8000.native import Connection
from sqlglot import exp

from m3w_core.database_url import DatabaseSettings
from m3w_core.grafana_role import GRAFANA_ROLE, ensure_grafana_role
from m3w_core.rollup import refresh
from tests._dashboard_data import HOSTILE, SESSION, fill
from tests._dashboard_fit import FITS, Answer
from tests._databases import connect, new_database
from tests._grafana import (
    POSTGRES,
    ROOT,
    Choice,
    Query,
    dashboards,
    expand_macros,
    expand_variables,
    queries,
    variables,
)

FILTERS = ("device_model", "os_version", "sdk_version", "connection_type", "outcome")
EVERYTHING = {name: Choice(several=True, everything="NULL::text") for name in FILTERS}
TYPED = {
    "session_id": SESSION,
    "session_contains": "",
    "field": "contentId",
    "field_value": "",
    "worst_by": "rebuffer_percentage",
    "min_sessions": "1",
}
DEFAULTS = EVERYTHING | {name: Choice((value,)) for name, value in TYPED.items()}
QUERIES = list(queries(POSTGRES))
every_query = pytest.mark.parametrize("query", [pytest.param(query, id=query.place) for query in QUERIES])


def expanded(query: Query, choices: Mapping[str, Choice], days: int = 2) -> str:
    until = datetime.now(UTC)
    sql = expand_variables(query.text, choices)
    # About as many points as a panel can draw.
    return expand_macros(sql, until - timedelta(days=days), until, timedelta(minutes=5 * days))


def ask(
    connection: Connection, query: Query, choices: Mapping[str, Choice] = DEFAULTS, days: int = 2
) -> Answer:
    rows = connection.run(expanded(query, choices, days))
    columns = connection.columns
    types = connection.run(
        "SELECT format_type(t.oid, NULL) FROM unnest(CAST(:oids AS oid[])) WITH ORDINALITY AS t (oid, place)"
        " ORDER BY place",
        oids=[column["type_oid"] for column in columns],
    )
    return Answer({column["name"]: kind for column, [kind] in zip(columns, types, strict=True)}, rows)


@pytest.fixture(scope="module")
def filled(server: DatabaseSettings, _migrated_template: DatabaseSettings) -> Iterator[Connection]:
    """Data, of which the older is in the rollup; as the role that Grafana reads with."""
    with new_database(server, template=_migrated_template.database) as database:
        with closing(connect(database)) as owner:
            fill(owner)
            refresh(owner)
            ensure_grafana_role(owner, "secret")
        with closing(connect(database)) as reader:
            reader.run("ANALYZE")
            reader.run(f"SET ROLE {GRAFANA_ROLE}")
            yield reader


@pytest.fixture(scope="module")
def empty(server: DatabaseSettings, _migrated_template: DatabaseSettings) -> Iterator[Connection]:
    with (
        new_database(server, template=_migrated_template.database) as database,
        closing(connect(database)) as connection,
    ):
        yield connection


def schema(connection: Connection) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Give the columns of our tables and views, and what our functions that give tables give."""
    relations: dict[str, set[str]] = {}
    for table, column in connection.run(
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'"
    ):
        relations.setdefault(table, set()).add(column)
    functions: dict[str, set[str]] = {}
    for name, column in connection.run(
        "SELECT proname::text, name FROM pg_proc, unnest(proargnames, proargmodes) AS a (name, mode)"
        " WHERE pronamespace = 'public'::regnamespace AND mode = 't'"
    ):
        functions.setdefault(name, set()).add(column)
    return relations, functions


@every_query
def test_a_query_reads_tables_columns_and_functions_of_the_schema(empty: Connection, query: Query) -> None:
    """
    Parsed by sqlglot, each name is ours or one that the query itself gives.
    """
    relations, functions = schema(empty)
    builtin = {name for [name] in empty.run("SELECT DISTINCT proname::text FROM pg_proc")}
    (tree,) = sqlglot.parse(expanded(query, DEFAULTS), dialect="postgres")
    assert tree is not None
    own = {each.alias for each in tree.find_all(exp.CTE, exp.Subquery, exp.TableAlias)}
    read = {table.name for table in tree.find_all(exp.Table)} - own - {""}
    called = {call.name.lower() for call in tree.find_all(exp.Anonymous)}
    given = {each.alias for each in tree.find_all(exp.Alias)} | {
        name.name for alias in tree.find_all(exp.TableAlias) for name in alias.columns
    }
    known = given | own | {"key", "value", "ordinality"}
    known |= {column for name in read & relations.keys() for column in relations[name]}
    known |= {column for name in called & functions.keys() for column in functions[name]}

    assert read | called
    assert read <= relations.keys()
    assert called <= functions.keys() | builtin
    assert {column.name for column in tree.find_all(exp.Column)} - known - {"*"} == set()


@every_query
def test_a_query_answers_over_data(filled: Connection, query: Query) -> None:
    """
    With rows, in columns that the panel can draw, read by Grafana's own role.
    """
    answer = ask(filled, query)

    assert answer.rows
    assert len(answer.columns) == len(answer.rows[0])
    FITS[query.kind](query, answer)


@every_query
def test_a_query_answers_at_empty_tables(empty: Connection, query: Query) -> None:
    """
    As in the first minute of an installation: without an error, and without inventing anything.
    """
    answer = ask(empty, query)

    if query.kind == "stat":
        assert [value for row in answer.rows for value in row if value] == []
    elif "What the numbers rest on" in query.place:
        assert set(answer.column("Sessions")) == {0}
    else:
        assert answer.rows == []


@every_query
def test_a_query_answers_whatever_is_chosen(filled: Connection, query: Query) -> None:
    """
    Values with quotes, backslashes and nothing in them stay values; over 90 days, where steps are hours.
    """
    offered = Choice(tuple(value for value in HOSTILE if "$__" not in value), several=True)
    typed = Choice(("it's; $1 ${field} \\' --",))
    choices = (
        dict.fromkeys(FILTERS, offered) | dict.fromkeys(TYPED, typed) | {"min_sessions": Choice(("30",))}
    )

    assert ask(filled, query, choices, days=90).columns == ask(filled, query).columns


def test_the_page_of_definitions_names_functions_and_metrics_that_exist(empty: Connection) -> None:
    """
    Whoever reads docs/metrics.md can ask for what it says.
    """
    page = (ROOT / "docs" / "metrics.md").read_text()
    relations, functions = schema(empty)
    named = set(re.findall(r"(?m)^- From: `((?:qoe_|session_|rejections)\w*)`", page))
    metrics = {
        function: set(re.findall(rf"(?m)^- From: `{function}`, metric `(\w+)`$", page))
        for function in ("qoe_totals", "qoe_live")
    }
    totals = {row[0] for row in empty.run("SELECT metric FROM qoe_totals(now(), now())")}
    live = {row[0] for row in empty.run("SELECT metric FROM qoe_live()")}

    assert len(named) > 5
    assert named <= relations.keys() | functions.keys()
    assert metrics["qoe_totals"] <= totals
    assert metrics["qoe_live"] == live


def test_a_chosen_device_is_the_only_one_counted(filled: Connection) -> None:
    """
    A value with quotes is compared as it is.
    """
    (total,) = (query for query in QUERIES if query.place == "m3w-overview: Sessions A")
    only = DEFAULTS | {"device_model": Choice((HOSTILE[0],), several=True)}

    assert ask(filled, total).rows == [[620]]
    assert ask(filled, total, only).rows == [[33]]


def test_what_looks_like_a_macro_cannot_be_chosen_but_is_in_all(filled: Connection) -> None:
    """
    Grafana would expand it inside the quotes, or refuse the query.
    """
    (devices,) = (query for query in QUERIES if query.place == "m3w-overview: $device_model")
    offered = {value for [value] in ask(filled, devices).rows}

    assert offered == {"Pixel 8", "unknown", *HOSTILE} - {"$__timeFrom(x)"}


def test_the_heatmap_has_a_row_for_every_bucket(filled: Connection) -> None:
    """
    The columns are written out in the query; a bound that only SQL knows would lose its sessions.
    """
    (heatmap,) = (query for query in QUERIES if query.kind == "heatmap")
    [[bounds]] = filled.run("SELECT qoe_histogram_bounds_ms()")
    columns = [float(name.replace("+Inf", "inf")) for name in list(ask(filled, heatmap).columns)[1:]]

    assert columns == bounds


def test_small_groups_are_hidden_and_the_worst_comes_first(filled: Connection) -> None:
    """
    As the variables of the breakdown say.
    """
    (devices,) = (query for query in QUERIES if query.place == "m3w-breakdown: By device model A")
    large = ask(filled, devices, DEFAULTS | {"min_sessions": Choice(("100",))})
    low = ask(filled, devices, DEFAULTS | {"worst_by": Choice(("average_bitrate",))}).column("Bitrate")
    rebuffering = ask(filled, devices).column("Rebuffering")

    assert sorted(large.column("Group")) == ["Pixel 8", "unknown"]
    assert rebuffering == sorted(rebuffering, reverse=True)
    assert [value for value in low if value] == sorted(value for value in low if value)
    assert [value is None for value in low] == sorted(value is None for value in low)


def test_every_variable_of_a_query_is_one_of_its_dashboard() -> None:
    """
    Grafana leaves others as they stand, and PostgreSQL then refuses the query.
    """
    known = {uid: variables(dashboard) for uid, dashboard in dashboards().items()}
    missing = {
        (query.place, name)
        for query in QUERIES
        for name in re.findall(r"\$\{(\w+)", query.text)
        if name not in known[query.place.partition(":")[0]]
    }

    assert missing == set()
