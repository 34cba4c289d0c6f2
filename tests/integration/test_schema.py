"""
What the migrated schema does on a real server: which time a session counts at, and what an update costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from pg8000.native import Connection

from m3w_core.database_url import DatabaseSettings
from tests._databases import connect

#: 2026-02-15T10:00:45.500Z
RECEIVED_AT = datetime(2026, 2, 15, 10, 0, 45, 500_000, tzinfo=UTC)
RECEIVED_AT_MS = 1_771_149_645_500

DAY_MS = 86_400_000


@pytest.fixture
def connection(migrated_database: DatabaseSettings) -> Iterator[Connection]:
    with closing(connect(migrated_database)) as open_connection:
        yield open_connection


@pytest.mark.parametrize(
    "query",
    [
        "SELECT m3w_event_at(CAST(:timestamp_ms AS bigint), CAST(:received_at AS timestamptz))",
        "SELECT m3w_event_at(t, r) FROM CAST(:timestamp_ms AS bigint) t, CAST(:received_at AS timestamptz) r",
    ],
    ids=["parameters", "columns"],
)
def test_event_at_is_the_clients_time_if_plausible(connection: Connection, query: str) -> None:
    """
    From 30 days before to 5 minutes after the arrival, both included; else the arrival. No number fails.
    """
    expected = {
        RECEIVED_AT_MS: RECEIVED_AT,
        RECEIVED_AT_MS - 1: RECEIVED_AT - timedelta(milliseconds=1),
        RECEIVED_AT_MS - 30 * DAY_MS: RECEIVED_AT - timedelta(days=30),
        RECEIVED_AT_MS - 30 * DAY_MS - 1: RECEIVED_AT,
        RECEIVED_AT_MS + 300_000: RECEIVED_AT + timedelta(minutes=5),
        RECEIVED_AT_MS + 300_001: RECEIVED_AT,
        253_402_300_799_999: RECEIVED_AT,
        2**63 - 1: RECEIVED_AT,
        1: RECEIVED_AT,
        0: RECEIVED_AT,
        -1: RECEIVED_AT,
        -(2**63): RECEIVED_AT,
        None: RECEIVED_AT,
    }
    actual = {
        timestamp_ms: connection.run(query, timestamp_ms=timestamp_ms, received_at=RECEIVED_AT)[0][0]
        for timestamp_ms in expected
    }

    assert expected == actual


@pytest.mark.parametrize("timestamp_ms", [2**63 - 1, -(2**63), 253_402_300_800_000])
def test_event_at_takes_constants_that_no_calendar_holds(connection: Connection, timestamp_ms: int) -> None:
    """
    The planner may compute with a constant before the guard around it is looked at.
    """
    [[same]] = connection.run(
        f"SELECT m3w_event_at('{timestamp_ms}'::bigint, r) = r FROM (SELECT now() AS r) AS s"
    )

    assert same


def test_event_at_keeps_every_millisecond(connection: Connection) -> None:
    """
    Nothing is rounded on the way.
    """
    [[wrong]] = connection.run(
        "SELECT count(*) FROM generate_series(0, 99999) AS ms"
        " WHERE m3w_event_at(1771149645500 + ms, '2026-02-15T10:00:45.5Z')"
        " <> timestamptz '2026-02-15T10:00:45.5Z' + ms * interval '1 millisecond'"
    )

    assert 0 == wrong


@pytest.mark.parametrize("time_zone", ["UTC", "America/New_York"])
def test_thirty_days_are_the_same_length_everywhere(connection: Connection, time_zone: str) -> None:
    """
    The clocks change on 8 March 2026 in New York; days are of 24 hours all the same.
    """
    connection.run(f"SET TIME ZONE '{time_zone}'")
    [[inside, outside]] = connection.run(
        "SELECT m3w_event_at(1771156800000, r) = r, m3w_event_at(1771156799999, r) = r"
        " FROM (VALUES (timestamptz '2026-03-17T12:00:00Z')) AS row_ (r)"
    )

    assert (False, True) == (inside, outside)


def test_event_at_costs_no_call(connection: Connection) -> None:
    """
    The planner puts the body in place of the call, which it does only with immutable ones.
    """
    plan = connection.run(
        "EXPLAIN (VERBOSE) SELECT m3w_event_at(r.timestamp, now()) FROM json_to_recordset('[]') AS r "
        "(timestamp bigint)"
    )

    assert "m3w_event_at" not in str(plan)
    assert "to_timestamp" in str(plan)


def test_the_rewrite_of_a_playing_session_touches_no_index(connection: Connection) -> None:
    """
    Every column may change with an update but the key and created_at, and all updates are HOT.
    """
    connection.run(
        "INSERT INTO sessions (session_id, timestamp, session_start_date_iso, session_duration_ms, event_at)"
        " SELECT 's-' || n, 1, 'null', 1, now() FROM generate_series(1, 500) AS n"
    )
    [[count, values]] = connection.run(
        "SELECT count(*), string_agg(format('%I = CAST(%L AS %s)', column_name,"
        " CASE data_type WHEN 'jsonb' THEN '{\"a\": 1}' WHEN 'timestamp with time zone' THEN '2026-02-15'"
        " ELSE '7' END, data_type), ', ')"
        " FROM information_schema.columns WHERE table_name = 'sessions'"
        " AND column_name NOT IN ('session_id', 'created_at', 'received_at', 'event_at')"
    )
    connection.run("BEGIN")
    connection.run(
        f"UPDATE sessions SET {values}, received_at = now() + interval '15 s', event_at = now() + interval "
        "'15 s' WHERE session_id LIKE '%0'"
    )
    [[updated, hot]] = connection.run(
        "SELECT pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_hot_updated(oid)"
        " FROM pg_class WHERE oid = 'sessions'::regclass"
    )
    connection.run("ROLLBACK")

    assert 21 == count
    assert (50, 50) == (updated, hot)


def test_every_table_and_column_says_what_it_is(connection: Connection) -> None:
    """
    Tables have a comment, and so have the columns of time, whose clock the name does not tell.
    """
    silent = connection.run(
        "SELECT relname FROM pg_class WHERE relname IN ('sessions', 'session_timeline')"
        " AND obj_description(oid, 'pg_class') IS NULL"
    )
    silent += connection.run(
        "SELECT attname FROM pg_attribute WHERE attrelid IN ('sessions'::regclass, "
        "'session_timeline'::regclass) AND (atttypid = 'timestamptz'::regtype OR attname ~ '^timestamp')"
        " AND col_description(attrelid, attnum) IS NULL"
    )

    assert [] == silent
