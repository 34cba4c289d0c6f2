"""
Several processes that migrate one database at the same time.

Threads stand for the processes: each has a connection of its own, and the server is what orders them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from pg8000.native import Connection

from m3w_core import migrations
from m3w_core.database_url import DatabaseSettings
from tests._databases import connect

PATIENCE_S = 30


def test_processes_that_start_at_once_all_come_up(database: DatabaseSettings) -> None:
    """
    Each migration is applied by one of them, and none fails.
    """
    count = 6
    start = threading.Barrier(count)

    def come_up() -> list[migrations.Migration]:
        with closing(connect(database)) as connection:
            start.wait(PATIENCE_S)
            return migrations.apply(connection)

    with ThreadPoolExecutor(count) as pool:
        done = [future.result(PATIENCE_S) for future in [pool.submit(come_up) for _ in range(count)]]

    applied = [migration for each in done for migration in each]
    assert migrations.available() == sorted(applied, key=lambda migration: migration.version)


def test_who_comes_second_waits_says_so_and_finds_it_done(
    database: DatabaseSettings, connection: Connection, steps: Callable[..., Path]
) -> None:
    """
    The lock is held as long as a migration runs; afterwards it is read again what is applied.
    """
    directory = steps("SELECT pg_advisory_xact_lock(1); CREATE TABLE a ()")
    connection.run("SELECT pg_advisory_lock(1)")
    waiting = threading.Event()
    lines: list[str] = []

    def migrate(log: Callable[[str], None]) -> list[int]:
        with closing(connect(database)) as own:
            return [m.version for m in migrations.apply(own, log=log, directory=directory)]

    def note(line: str) -> None:
        lines.append(line)
        waiting.set()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(migrate, [].append)
        wait_until_blocked(connection, count=1)
        second = pool.submit(migrate, note)
        was_told = waiting.wait(PATIENCE_S)
        connection.run("SELECT pg_advisory_unlock(1)")
        results = [first.result(PATIENCE_S), second.result(PATIENCE_S)]

    assert was_told
    assert ["waiting for another process that is migrating this database"] == lines
    assert [[1], []] == results


def wait_until_blocked(connection: Connection, *, count: int) -> None:
    blocked = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    )
    for _ in range(PATIENCE_S * 100):
        if connection.run(blocked)[0][0] == count:
            return
        connection.run("SELECT pg_sleep(0.01)")
    pytest.fail("nobody waits for the lock")


def test_the_isolation_of_the_role_does_not_hide_what_others_applied(
    database: DatabaseSettings, connection: Connection, steps: Callable[..., Path]
) -> None:
    """
    With a snapshot from before the wait, the second would migrate again.
    """
    directory = steps("SELECT pg_advisory_xact_lock(1); CREATE TABLE a ()")
    connection.run("SELECT pg_advisory_lock(1)")

    def migrate() -> list[int]:
        with closing(connect(database)) as own:
            own.run("SET default_transaction_isolation = 'repeatable read'")
            return [m.version for m in migrations.apply(own, directory=directory)]

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(migrate), pool.submit(migrate)]
        wait_until_blocked(connection, count=2)
        connection.run("SELECT pg_advisory_unlock(1)")
        results = sorted(future.result(PATIENCE_S) for future in both)

    assert [[], [1]] == results
