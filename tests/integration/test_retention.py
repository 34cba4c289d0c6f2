"""
What retention deletes, and what it leaves: ages are those of rows, whoever sent them and whenever.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing

import pytest
from pg8000.exceptions import DatabaseError

from m3w_core import retention
from m3w_core.retention import TABLES, Retention, count_expired, cutoff
from tests._databases import connect
from tests.factories import a_session, an_entry

EMPTY = "; ".join(f"DELETE FROM {table}" for table in TABLES)


@pytest.fixture
def connection(emptied_database):
    with closing(connect(emptied_database)) as connection:
        connection.run(EMPTY)
        yield connection


def store(repository, connection, session_id, event_at="now()", received_at="now()", entries=0):
    """Store a session with entries of its timeline, and give it its times: SQL expressions."""
    timeline = tuple(an_entry(timestamp_ms=number) for number in range(1, entries + 1))
    repository.upsert([a_session(session_id, timeline_events=timeline)])
    connection.run(
        f"UPDATE sessions SET event_at = {event_at}, received_at = {received_at} WHERE session_id = :id",
        id=session_id,
    )


def prune(connection, days, **arguments):
    """Prune once; gives whether it was finished, and how many rows went by table."""
    rows = Counter()
    finished = Retention(days, lambda table, count: rows.update({table: count})).prune(
        connection, **arguments
    )
    return finished, {table: count for table, count in rows.items() if count}


def session_ids(connection):
    return {row[0] for row in connection.run("SELECT session_id FROM sessions")}


def timelines(connection):
    return Counter(row[0] for row in connection.run("SELECT session_id FROM session_timeline"))


def test_sessions_go_with_their_timelines_in_whole_hours_by_event_at(repository, connection):
    """
    The hour in which the limit lies is kept; when a summary was received does not count.
    """
    hour = "date_trunc('hour', now() - interval '90 days', 'UTC')"
    store(repository, connection, "old", f"{hour} - interval '1 microsecond'", entries=3)
    store(repository, connection, "of that hour", hour, hour, entries=2)
    store(repository, connection, "new", entries=1)
    result = prune(connection, 90)

    assert result == (True, {"sessions": 1, "session_timeline": 3})
    assert session_ids(connection) == {"of that hour", "new"}
    assert timelines(connection) == {"of that hour": 2, "new": 1}


def test_no_clock_of_a_client_makes_a_fresh_session_go(repository, connection):
    """
    ``event_at`` can be 30 days before the arrival. Where less is kept, a session stays so long after it came.
    """
    store(repository, connection, "just came", "now() - interval '20 days'")
    store(repository, connection, "came then", "now() - interval '20 days'", "now() - interval '8 days'")
    result = prune(connection, 7)

    assert result == (True, {"sessions": 1})
    assert session_ids(connection) == {"just came"}


def test_rejected_payloads_and_hours_of_the_rollup_go_too(repository, connection):
    """
    Each by its own time.
    """
    before = cutoff(connection, 90)
    for moment in ("- interval '1 second'", "+ interval '1 second'"):
        connection.run(
            f"""
            INSERT INTO rejected_payloads
                (received_at, payload_bytes, received_via, route, media_type, code, reason, message, payload)
            SELECT CAST(:before AS timestamptz) {moment}, 1, 'k', '/', 'application/json', 'C', 'r', 'm', ''
            FROM generate_series(1, 450)
            """,
            before=before,
        )
    add_rollup_hours(repository, connection)
    result = prune(connection, 90)
    left = connection.run(
        "SELECT min(received_at) >= :before, count(*) FROM rejected_payloads", before=before
    )

    assert result == (True, {"rejected_payloads": 450, "qoe_hourly": 4})
    assert left == [[True, 450]]
    assert connection.run("SELECT starts_at FROM qoe_hourly") == [[before], [before]]


def add_rollup_hours(repository, connection):
    """Put the hour of the limit into the rollup, and two before it."""
    hour = "date_trunc('hour', now() - interval '90 days', 'UTC')"
    for hours in (0, 1, 5):
        store(repository, connection, f"summed up {hours}", *[f"{hour} - interval '{hours} hours'"] * 2)
    connection.run(
        "INSERT INTO qoe_hourly SELECT * FROM qoe_hourly_rows('-infinity', 'infinity', 'infinity')"
    )
    connection.run("DELETE FROM sessions")


def test_a_dry_run_counts_what_would_go(repository, connection):
    """
    The numbers are those of the run that follows, left-over timelines among them, and nothing has gone.
    """
    add_rollup_hours(repository, connection)
    store(repository, connection, "old", "now() - interval '91 days'", entries=3)
    store(repository, connection, "new", entries=2)
    leave_timeline(repository, connection, "left over", entries=4)
    counted = count_expired(connection, 90)
    _, deleted = prune(connection, 90, all_timelines=True)

    assert counted == {"sessions": 1, "session_timeline": 7, "rejected_payloads": 0, "qoe_hourly": 4}
    assert deleted == {"sessions": 1, "session_timeline": 7, "qoe_hourly": 4}


def leave_timeline(repository, connection, session_id, age="91 days", entries=1):
    """Leave a timeline whose session somebody has deleted."""
    store(repository, connection, session_id, entries=entries)
    connection.run("DELETE FROM sessions WHERE session_id = :id", id=session_id)
    connection.run(
        f"UPDATE session_timeline SET created_at = now() - interval '{age}' WHERE session_id = :id",
        id=session_id,
    )


def test_timelines_without_a_session_are_found_a_part_at_a_time(repository, connection, monkeypatch):
    """
    Those that are old enough go; each pass goes on where the last one ended, and begins again at the end.
    """
    monkeypatch.setattr(retention, "_SLICE", 2)
    monkeypatch.setattr(retention, "_SLICES", 1)
    for number in range(7):
        leave_timeline(repository, connection, f"orphan {number}")
    leave_timeline(repository, connection, "young", age="89 days")
    store(repository, connection, "a live one", entries=1)
    passes = []
    keeper = Retention(90, lambda table, rows: passes.append(rows))
    for _ in range(6):
        assert keeper.prune(connection)
    # It has begun somewhere, and has been everywhere by now.

    assert timelines(connection) == {"young": 1, "a live one": 1}
    assert sum(passes) == 7
    assert max(passes) <= 2


class Clock:
    """Each look at it is a second later."""

    def __init__(self):
        self._now_s = 0.0

    def monotonic(self):
        self._now_s += 1
        return self._now_s

    def sleep(self, seconds):
        pass


def test_it_stops_when_its_time_is_over_and_goes_on_later(repository, connection, monkeypatch):
    """
    What is deleted by then stays deleted.
    """
    monkeypatch.setattr(retention, "_LARGEST_BATCH", 2)
    monkeypatch.setattr(retention, "time", Clock())
    repository.upsert([a_session(f"old {number}") for number in range(200)])
    connection.run("UPDATE sessions SET event_at = now() - interval '91 days'")
    deleted = Counter()
    keeper = Retention(90, lambda table, rows: deleted.update({table: rows}))
    finished, left = [], []
    for seconds in (0.5, 5, 1000):
        finished.append(keeper.prune(connection, budget_s=seconds))
        left.append(len(session_ids(connection)))

    assert finished == [False, False, True]
    assert left[0] == 200
    assert 0 < left[1] < 200
    assert left[2] == 0
    assert deleted["sessions"] == 200


class Spy:
    """A connection that notes what is asked of it."""

    def __init__(self, connection):
        self._connection = connection
        self.statements = []

    def run(self, statement, **parameters):
        self.statements.append(statement)
        return self._connection.run(statement, **parameters)

    def __getattr__(self, name):
        return getattr(self._connection, name)


def test_the_table_is_looked_through_once_for_many_batches(repository, connection):
    """
    Old rows cannot be found by an index that knows them one by one: what finds them may read everything.
    """
    repository.upsert([a_session(f"old {number}") for number in range(1000)])
    connection.run("UPDATE sessions SET event_at = now() - interval '91 days'")
    spy = Spy(connection)
    result = prune(spy, 90)

    assert result == (True, {"sessions": 1000})
    assert sum("DELETE FROM sessions" in statement for statement in spy.statements) > 3
    assert sum("SELECT session_id FROM sessions WHERE event_at" in each for each in spy.statements) == 1


def test_a_database_that_only_reads_says_so(repository, connection):
    """
    Nothing is passed over in silence, and the connection is in no transaction afterwards.
    """
    store(repository, connection, "old", "now() - interval '91 days'")
    connection.run("SET default_transaction_read_only = on")
    with pytest.raises(DatabaseError, match="25006"):
        prune(connection, 90)
    connection.run("SET default_transaction_read_only = off")

    assert prune(connection, 90) == (True, {"sessions": 1})
