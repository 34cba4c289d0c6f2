"""
Retention while clients go on sending: who is never held up, and what is never lost.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from pg8000.exceptions import DatabaseError

from m3w_core import PostgresSessionRepository, retention
from m3w_core.retention import Retention
from tests._databases import connect
from tests._serve import until
from tests.factories import TIMESTAMP_MS, a_session, an_entry

OLD = "UPDATE sessions SET event_at = now() - interval '91 days', received_at = now() - interval '91 days'"


def entries(*timestamps_ms):
    return tuple(an_entry(timestamp_ms=each) for each in timestamps_ms)


def stored(table):
    """Give each session with the times of its timeline; those without a session have the timestamp None."""
    rows = table.run(
        """
        SELECT session_id, s.timestamp, array_remove(array_agg(t.timestamp_ms ORDER BY t.timestamp_ms), NULL)
        FROM sessions s FULL JOIN session_timeline t USING (session_id) GROUP BY 1, 2
        """
    )
    return {session_id: (timestamp, times) for session_id, timestamp, times in rows}


def test_a_session_that_is_just_written_is_left_for_the_next_time(repository, table, emptied_database):
    """
    Its neighbours go at once, and nobody waits for long; when its summary is stored it is no longer old.
    """
    repository.upsert([a_session(f"s-{number}", timeline_events=entries(1)) for number in range(50)])
    table.run(OLD)
    with closing(connect(emptied_database)) as writer:
        writer.run("BEGIN; UPDATE sessions SET event_at = now() WHERE session_id = 's-23'")
        started = time.monotonic()
        finished = Retention(90).prune(table)
        seconds = time.monotonic() - started
        while_written = stored(table)
        writer.run("COMMIT")
    Retention(90).prune(table)

    assert finished
    assert seconds < 5
    assert while_written == stored(table) == {"s-23": (TIMESTAMP_MS, [1])}


class Paused:
    """A table that calls *before* when it is about to delete timelines."""

    def __init__(self, table, before):
        self._connection = table
        self._before = before

    def run(self, statement, **parameters):
        if statement.startswith("DELETE FROM session_timeline"):
            self._before()
        return self._connection.run(statement, **parameters)

    def __getattr__(self, name):
        return getattr(self._connection, name)


@pytest.mark.parametrize("timestamp", [TIMESTAMP_MS - 1, TIMESTAMP_MS + 1], ids=["older", "newer"])
def test_a_summary_that_comes_in_the_middle_makes_the_session_anew(
    repository, table, emptied_database, timestamp
):
    """
    It waits for the end of the transaction; its own timeline is kept whole, also where an entry was there before.
    """
    repository.upsert([a_session("s-1", timeline_events=entries(1, 2))])
    table.run(OLD)
    again = a_session("s-1", timestamp, timeline_events=entries(2, 3))
    with ThreadPoolExecutor(1) as pool, closing(connect(emptied_database)) as watcher:
        writes = []

        def send_again():
            writes.append(pool.submit(repository.upsert, [again]))
            until(lambda: watcher.run("SELECT 1 FROM pg_locks WHERE NOT granted"), "the writer to wait")

        Retention(90).prune(Paused(table, send_again))
        for write in writes:
            write.result()

    assert len(writes) == 1
    assert stored(table) == {"s-1": (timestamp, [2, 3])}


def test_a_late_summary_that_came_first_goes_with_its_timeline(
    repository, table, emptied_database, monkeypatch
):
    """
    It changes no row, but holds it; retention that has waited for it leaves none of its entries behind.
    """
    monkeypatch.setattr(retention, "_BEGIN", "BEGIN ISOLATION LEVEL READ COMMITTED")
    repository.upsert([a_session("s-1", timeline_events=entries(1))])
    table.run(OLD)
    with closing(connect(emptied_database)) as writer, ThreadPoolExecutor(1) as pool:
        # As PostgresSessionRepository.upsert of an older summary.
        writer.run("BEGIN")
        writer.run("SELECT FROM sessions WHERE session_id = 's-1' FOR NO KEY UPDATE")
        writer.run(
            """
            INSERT INTO session_timeline (session_id, timestamp_ms, elapsed_ms, playback_state,
                total_dropped_frames, rebuffer_count, rebuffer_time_ms)
            VALUES ('s-1', 2, 2, 'PLAYING', 0, 0, 0)
            """
        )
        pruned = pool.submit(Retention(90).prune, table)
        until(lambda: writer.run("SELECT 1 FROM pg_locks WHERE NOT granted"), "retention to wait")
        writer.run("COMMIT")
        finished = pruned.result()

    assert finished
    assert stored(table) == {}


def test_a_locked_table_ends_the_pass_instead_of_blocking_it(repository, table, emptied_database):
    """
    It gives up after some tries, says why, and the next pass does the work.
    """
    repository.upsert([a_session(f"s-{number}") for number in range(40)])
    table.run(OLD)
    with closing(connect(emptied_database)) as other:
        other.run("BEGIN; LOCK TABLE sessions IN SHARE MODE")
        with pytest.raises(DatabaseError, match="55P03"):
            Retention(90).prune(table)
        other.run("COMMIT")
    finished = Retention(90).prune(table)

    assert finished
    assert stored(table) == {}


def test_ingest_goes_on_beside_it(table, repository, emptied_database):
    """
    Writers that send new sessions, and old ones again, are never refused nor held up; all they sent is there.
    """
    for start in range(0, 4000, 1000):
        batch = [a_session(f"old-{start + n}", timeline_events=entries(1, 2, 3)) for n in range(1000)]
        repository.upsert(batch)
    table.run(OLD)
    over = threading.Event()
    slowest_s = []

    def write(client):
        sent, slowest = {}, 0.0
        with closing(PostgresSessionRepository(emptied_database)) as own:
            for number in range(100_000):
                if over.is_set():
                    break
                names = [f"new-{client}-{number}", f"old-{(client + 7 * number) % 4000}"]
                timestamp = TIMESTAMP_MS + 1 + number
                summaries = [a_session(n, timestamp, timeline_events=entries(timestamp)) for n in names]
                started = time.monotonic()
                own.upsert(summaries)
                slowest = max(slowest, time.monotonic() - started)
                sent |= dict.fromkeys(names, timestamp)
        slowest_s.append(slowest)
        return sent

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, client) for client in range(2)]
        try:
            finished = Retention(90).prune(table)
        finally:
            over.set()
        sent = [writer.result() for writer in writers]
    Retention(90).prune(table)
    found = stored(table)
    everything = {name for part in sent for name in part}

    assert finished
    assert len(everything) > 20
    assert set(found) == everything
    for part in sent:
        assert all(found[name][0] >= timestamp for name, timestamp in part.items())
        assert all(timestamp in found[name][1] for name, timestamp in part.items())
    assert max(slowest_s) < 2
