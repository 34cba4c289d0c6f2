"""
The rollup against the sessions: what it holds after each pass, and that no answer depends on how far it has got.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from pg8000.native import Connection

from m3w_core import PostgresSessionRepository, StorageUnavailableError, connected, rollup
from m3w_core.database_url import DatabaseSettings
from m3w_http.cli import main
from tests import _qoe
from tests._databases import connect
from tests._qoe import DAY, NEXT_DAY, add_played, from_sessions_alone, metrics
from tests._serve import on
from tests.factories import a_session

_ROLLED = """
SELECT starts_at, sessions FROM qoe_hourly WHERE NOT all_sessions ORDER BY starts_at
"""
_ALL = "SELECT * FROM qoe_totals('-infinity', 'infinity') ORDER BY metric"


@pytest.fixture
def connection(emptied_database: DatabaseSettings) -> Iterator[Connection]:
    with closing(connect(emptied_database)) as open_connection:
        _qoe.empty(open_connection)
        yield open_connection


def now(connection: Connection) -> datetime:
    moment: datetime = connection.run("SELECT now()")[0][0]
    return moment


def rolled_hours(connection: Connection) -> dict[str, int]:
    return {f"{starts_at:%d.%m. %H}": sessions for starts_at, sessions in connection.run(_ROLLED)}


def test_a_pass_takes_what_came_until_five_minutes_ago(connection: Connection) -> None:
    """
    A session of four minutes ago is counted all the same, from the sessions themselves.
    """
    for minutes in (6, 4):
        at = now(connection) - timedelta(minutes=minutes)
        add_played(connection, event_at=at, received_at=at)
    rollup.refresh(connection)

    assert 1 == sum(rolled_hours(connection).values())
    found = metrics(connection, DAY, now(connection))
    assert 2 == found["sessions"]["value"]


def test_a_late_session_comes_into_the_hour_it_belongs_to(connection: Connection) -> None:
    """
    Sums of an hour that was done before are made again; a pass with nothing new writes nothing.
    """
    add_played(connection, event_at=DAY)
    rollup.refresh(connection)
    connection.run("UPDATE qoe_rollup_state SET rolled_until = '2026-02-15 06:00+00'")
    add_played(connection, event_at=DAY, received_at=DAY + timedelta(hours=20))
    late = rollup.refresh(connection)

    assert {"15.02. 00": 2} == rolled_hours(connection)
    assert rollup.RollupReport(ranges=1, rows=2) == late
    assert rollup.RollupReport(ranges=0, rows=0) == rollup.refresh(connection)


def test_an_updated_session_leaves_the_hour_it_was_counted_in(
    emptied_database: DatabaseSettings, connection: Connection
) -> None:
    """
    It came yesterday and goes on now, or comes again with a time long ago: the old hour forgets it with the next
    pass. An update within 45 s leaves no hour, and what an earlier one noted stays.
    """
    start = now(connection) - timedelta(days=1)
    start_ms = round(start.timestamp() * 1000)
    session_id = add_played(connection, event_at=start, received_at=start, timestamp=start_ms)
    rollup.refresh(connection)
    before = rolled_hours(connection)
    repository = PostgresSessionRepository(emptied_database)
    with closing(repository):
        for later_ms in (7_200_000, 7_200_001):
            repository.upsert([a_session(session_id=session_id, timestamp=start_ms + later_ms)])
    noted = connection.run("SELECT earlier_event_at_min, earlier_event_at_max FROM sessions")
    rollup.refresh(connection)

    assert {f"{start:%d.%m. %H}": 1} == before
    assert [[start, start]] == noted
    assert {} == rolled_hours(connection)
    assert 1 == metrics(connection, DAY, now(connection))["sessions"]["value"]


def test_deleted_sessions_are_gone_after_a_rebuild(connection: Connection) -> None:
    """
    Of the hours that are named, rounded outwards; other hours are left as they are.
    """
    for hour in (3, 4, 5):
        add_played(connection, event_at=DAY + timedelta(hours=hour, minutes=30))
    rollup.refresh(connection)
    connection.run("DELETE FROM sessions")
    some = rollup.rebuild(
        connection, DAY + timedelta(hours=3, minutes=45), DAY + timedelta(hours=4, minutes=15)
    )
    left = rolled_hours(connection)
    rollup.rebuild(connection)

    assert rollup.RollupReport(ranges=1, rows=0) == some
    assert {"15.02. 05": 1} == left
    assert {} == rolled_hours(connection)


def test_the_command_rebuilds(
    emptied_database: DatabaseSettings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    ``m3w rollup rebuild`` sums up what a hand has changed, and what nobody has summed up before.
    """
    add_played(connection, event_at=DAY)
    add_played(connection, event_at=NEXT_DAY)
    rollup.refresh(connection)
    connection.run("UPDATE sessions SET error_count = 1")
    for name, value in on(emptied_database).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("M3W_API_KEY", "a-key-that-is-long-enough-0123456789")
    one_day = CliRunner().invoke(main, ["rollup", "rebuild", "--until", "2026-02-16"])
    failed = metrics(connection, DAY, NEXT_DAY + timedelta(hours=1))["playback_failure_percentage"]
    all_days = CliRunner().invoke(main, ["rollup", "rebuild"])

    assert (0, 0) == (one_day.exit_code, all_days.exit_code), one_day.output + all_days.output
    assert 50 == failed["value"]
    assert (
        100 == metrics(connection, DAY, NEXT_DAY + timedelta(hours=1))["playback_failure_percentage"]["value"]
    )
    assert "4 rows written." in all_days.output


def test_a_first_pass_goes_through_months_in_steps(connection: Connection) -> None:
    """
    A session every 9 days: each step takes a week of arrivals, and all are there in the end.
    """
    for number in range(12):
        add_played(connection, event_at=DAY - timedelta(days=9 * number))
    expected = from_sessions_alone(connection, _ALL)
    rollup.refresh(connection)

    assert 12 == sum(rolled_hours(connection).values())
    assert expected == connection.run(_ALL)


def test_a_pass_that_breaks_off_changes_nothing(
    emptied_database: DatabaseSettings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The connection dies after the sums are written and before the pass is done: answers stay right, and the next
    pass does it again.
    """
    add_played(connection, event_at=DAY)
    monkeypatch.setattr(
        rollup, "_ADVANCE", "SELECT pg_terminate_backend(pg_backend_pid()), CAST(:next AS text)"
    )
    with pytest.raises(StorageUnavailableError), connected(emptied_database) as doomed:
        rollup.refresh(doomed)
    after = metrics(connection)["sessions"]["value"], rolled_hours(connection)
    monkeypatch.undo()
    rollup.refresh(connection)

    assert (1, {}) == after
    assert {"15.02. 00": 1} == rolled_hours(connection)


def test_passes_take_turns(emptied_database: DatabaseSettings, connection: Connection) -> None:
    """
    While one process writes the rollup, another waits: the lock is held to the end of the transaction.
    """
    connection.run("BEGIN")
    connection.run(f"SELECT pg_advisory_xact_lock({rollup.LOCK_KEY})")
    with closing(connect(emptied_database)) as other:
        other.run("SET lock_timeout = '50ms'")
        with pytest.raises(StorageUnavailableError, match="lock"):
            rollup.refresh(other)
        connection.run("ROLLBACK")
        done: Any = rollup.refresh(other)

    assert rollup.RollupReport(ranges=0, rows=0) == done
