"""
The rollup while sessions come and move from hour to hour: in the end it is what they sum up to.

Time runs faster here: what is 45 s elsewhere is 0.1 s, and the rollup stays two seconds behind the clock instead of
five minutes.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing

import pytest
from pg8000.native import Connection

from m3w_core import Session, postgres, rollup
from m3w_core._rows import encode_sessions
from m3w_core.database_url import DatabaseSettings
from tests import _qoe
from tests._databases import connect
from tests._qoe import from_sessions_alone
from tests._serve import until
from tests.factories import a_session

_SECONDS = 3.0
_IDS = [f"session-{number}" for number in range(300)]
_HOUR_MS = 3_600_000

_UPSERT = postgres.UPSERT_SESSIONS.replace("interval '45 seconds'", "interval '0.1 seconds'")

_ALL = "SELECT * FROM qoe_totals('-infinity', 'infinity') ORDER BY metric"
_GROUPS = "SELECT * FROM qoe_breakdown('-infinity', 'infinity', 'os_version') ORDER BY 1, 3"
_TABLE = "SELECT * FROM qoe_hourly ORDER BY starts_at, all_sessions, os_version, device_model"


@pytest.fixture
def connection(emptied_database: DatabaseSettings) -> Iterator[Connection]:
    with closing(connect(emptied_database)) as open_connection:
        _qoe.empty(open_connection)
        yield open_connection


def _write(database: DatabaseSettings, seed: int, start_ms: int, stop: threading.Event) -> None:
    """Send summaries of sessions that go on; in so many hours that few hours see two of them."""
    source = random.Random(seed)
    clocks = {
        session_id: start_ms - source.randrange(24 * _HOUR_MS, 29 * 24 * _HOUR_MS)
        for session_id in _IDS[seed::2]
    }
    with closing(connect(database)) as connection:
        while not stop.is_set():
            batch: list[Session] = []
            for session_id in source.sample(sorted(clocks), 2):
                clocks[session_id] += source.randrange(5 * _HOUR_MS)
                batch.append(
                    a_session(
                        session_id=session_id,
                        timestamp=clocks[session_id],
                        play_time_ms=source.randrange(100_000),
                        error_count=source.randrange(2),
                        os_version=source.randrange(30, 33),
                        startup_time_ms=source.randrange(9000),
                    )
                )
            rows = encode_sessions(sorted(batch, key=lambda session: session.session_id))
            connection.run(_UPSERT, rows=rows)
            # So that most sessions are left alone for longer than the rollup stays behind.
            stop.wait(0.02)


def test_the_rollup_is_right_after_concurrent_writes(
    emptied_database: DatabaseSettings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Two writers and two processes that refresh; then everything is rolled up, equals the sessions, and a rebuild
    changes nothing.
    """
    assert postgres.UPSERT_SESSIONS != _UPSERT
    monkeypatch.setattr(rollup, "_LAG", "2 seconds")
    start_ms = round(time.time() * 1000)
    stop = threading.Event()

    def refresh() -> None:
        with closing(connect(emptied_database)) as own:
            while not stop.wait(0.01):
                rollup.refresh(own)

    with ThreadPoolExecutor(4) as threads:
        work = [threads.submit(_write, emptied_database, seed, start_ms, stop) for seed in (0, 1)]
        work += [threads.submit(refresh) for _ in range(2)]
        wait(work, _SECONDS, FIRST_EXCEPTION)
        try:
            # A busy machine has not rolled up anything by then.
            until(
                lambda: counted(connection) or any(each.done() for each in work),
                "a rollup beside the writers",
            )
        finally:
            stop.set()
    for done in work:
        done.result()
    moved = connection.run("SELECT count(*) FROM sessions WHERE earlier_event_at_min IS NOT NULL")[0][0]
    rolled_meanwhile = counted(connection)
    _wait_until_rolled(connection)
    expected = [from_sessions_alone(connection, query) for query in (_ALL, _GROUPS)]
    table = connection.run(_TABLE)
    rollup.rebuild(connection)

    assert moved > 20
    assert rolled_meanwhile > 0
    assert expected == [connection.run(query) for query in (_ALL, _GROUPS)]
    assert table == connection.run(_TABLE)


def counted(connection: Connection) -> int:
    rows: int = connection.run("SELECT count(*) FROM qoe_hourly")[0][0]
    return rows


def _wait_until_rolled(connection: Connection) -> None:
    """Refresh until the rollup has every session."""
    newest = "SELECT count(*) FROM sessions WHERE received_at >= (SELECT rolled_until FROM qoe_rollup_state)"
    deadline = time.monotonic() + 30
    while connection.run(newest)[0][0]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        rollup.refresh(connection)
