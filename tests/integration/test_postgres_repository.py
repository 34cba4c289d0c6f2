"""
What is PostgreSQL's own about the repository: transactions, broken connections, locks, and cheap updates.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from datetime import timedelta

import pytest

from m3w_core import (
    GroupCommitWriter,
    PostgresSessionRepository,
    SessionRefusedError,
    StorageConfigurationError,
    StorageUnavailableError,
)
from m3w_core._rows import encode_timeline
from m3w_core.postgres import INSERT_TIMELINE
from tests._databases import connect
from tests._serve import until
from tests.factories import a_session, an_entry


@pytest.fixture
def repository(migrated_database):
    repository = PostgresSessionRepository(migrated_database, statement_timeout_s=5.0)
    yield repository
    repository.close()


@pytest.fixture
def admin(migrated_database):
    with closing(connect(migrated_database)) as connection:
        yield connection


def count(admin, table):
    return admin.run(f"SELECT count(*) FROM {table}")[0][0]


def test_session_and_timeline_are_one_transaction(repository, admin):
    """
    A timeline that cannot be stored takes its session along.
    """
    admin.run("ALTER TABLE session_timeline ADD CHECK (elapsed_ms <> 13)")

    with pytest.raises(SessionRefusedError):
        repository.upsert([a_session(timeline_events=(an_entry(1), an_entry(2, elapsed_ms=13)))])

    assert count(admin, "sessions") == 0
    assert count(admin, "session_timeline") == 0


def test_a_refused_row_refuses_its_batch_and_the_next_batch_is_stored(repository, admin):
    """
    All or nothing; who is to blame is the writer's to find out.
    """
    admin.run("ALTER TABLE sessions ADD CHECK (session_id <> 'bad')")

    with pytest.raises(SessionRefusedError) as caught:
        repository.upsert([a_session("good"), a_session("bad")])
    refused_all = repository.get("good") is None
    repository.upsert([a_session("good")])

    assert caught.value.sqlstate == "23514"
    assert refused_all
    assert repository.get("good") is not None


def test_a_broken_connection_is_replaced(repository, admin):
    """
    The call that meets it fails in a way that can be repeated; the next one connects again.
    """
    repository.upsert([a_session("before")])
    admin.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'media3watch-backend'"
    )

    with pytest.raises(StorageUnavailableError):
        repository.upsert([a_session("after")])
    repository.upsert([a_session("after")])

    assert repository.get("before") is not None
    assert repository.get("after") is not None


def test_a_lock_is_not_waited_for_for_ever(migrated_database, admin):
    """
    The server gives up the statement, so that no backend of ours is left waiting there.
    """
    repository = PostgresSessionRepository(migrated_database, statement_timeout_s=0.2)
    repository.upsert([a_session()])
    admin.run("BEGIN")
    admin.run("LOCK TABLE sessions")

    with pytest.raises(StorageUnavailableError) as caught:
        repository.upsert([a_session()])
    admin.run("ROLLBACK")
    repository.upsert([a_session(session_duration_ms=7)])

    assert caught.value.sqlstate == "57014"
    assert repository.get("s-1").session.session_duration_ms == 7
    repository.close()


def test_a_database_without_our_tables_is_told_apart(database):
    """
    Waiting cannot help there.
    """
    with pytest.raises(StorageConfigurationError) as caught:
        PostgresSessionRepository(database).upsert([a_session()])

    assert caught.value.sqlstate == "42P01"


def test_writers_of_the_same_sessions_do_not_deadlock(migrated_database, admin):
    """
    Both lock rows in one order, whatever the order of arrival; a deadlock would be an error here.
    """
    names = [f"s-{number}" for number in range(40)]
    started = threading.Barrier(2)
    errors = []

    def work(names):
        repository = PostgresSessionRepository(migrated_database)
        started.wait(20)
        try:
            for number in range(40):
                repository.upsert(
                    [a_session(name, number + 1, timeline_events=(an_entry(number + 1),)) for name in names]
                )
        except StorageUnavailableError as error:
            errors.append(error)
        finally:
            repository.close()

    threads = [threading.Thread(target=work, args=[order]) for order in (names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    assert count(admin, "session_timeline") == 40 * 40


def test_sessions_are_locked_before_their_timelines(migrated_database, repository, admin):
    """
    As by everybody who writes both, though one statement does it here; the other way round would be a deadlock.
    """
    repository.upsert([a_session()])
    admin.run("BEGIN")
    admin.run("SELECT FROM sessions FOR UPDATE")
    other = PostgresSessionRepository(migrated_database)
    thread = threading.Thread(target=other.upsert, args=[[a_session(timeline_events=(an_entry(1),))]])
    thread.start()
    with closing(connect(migrated_database)) as third:
        until(
            lambda: third.run("SELECT true FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
            "a writer that waits for the session",
        )
        third.run("SET lock_timeout = '1s'")
        third.run(INSERT_TIMELINE, entries=encode_timeline([a_session(timeline_events=(an_entry(1),))]))
    admin.run("ROLLBACK")
    thread.join(20)
    other.close()

    assert not thread.is_alive()
    assert count(admin, "session_timeline") == 1


def test_updates_touch_no_index(repository, admin):
    """
    Nearly all writes are updates: each must find room on its page (HOT), with and without a changed time.
    """
    for number in range(20):
        repository.upsert([a_session(f"s-{name}", number + 1, extra={"n": number}) for name in range(200)])
    repository._prepared.connection.run("SELECT pg_stat_force_next_flush()")

    updates, hot = admin.run(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sessions'"
    )[0]

    assert updates == 19 * 200
    assert hot / updates >= 0.95


def test_a_commit_is_on_disk_whatever_the_servers_default(migrated_database, admin):
    """
    A server set to acknowledge early would make a promise of ours a lie; a stronger setting is kept.
    """
    seen = {}
    for level in ("off", "local", "on"):
        admin.run(f"ALTER DATABASE {migrated_database.database} SET synchronous_commit = {level}")
        repository = PostgresSessionRepository(migrated_database)
        repository.now()
        seen[level] = repository._prepared.connection.run("SHOW synchronous_commit")[0][0]
        repository.close()

    assert seen == {"off": "on", "local": "local", "on": "on"}


def test_what_came_lately_is_listed_oldest_first(repository):
    """
    The latest, if there are more than asked for.
    """
    before = repository.now()
    for name in ("a", "b", "c"):
        repository.upsert([a_session(name)])

    listed = [stored.session.session_id for stored in repository.received_since(before)]
    last_two = [stored.session.session_id for stored in repository.received_since(before, limit=2)]
    later = repository.received_since(repository.now() + timedelta(seconds=1))

    assert listed == ["a", "b", "c"]
    assert last_two == ["b", "c"]
    assert later == []


def test_the_writer_stores_through_it(migrated_database):
    """
    The two halves fit: requests on one side, rows on the other.
    """
    repository = PostgresSessionRepository(migrated_database)

    async def scenario():
        async with GroupCommitWriter([PostgresSessionRepository(migrated_database)]) as writer:
            await asyncio.gather(*(writer.write(a_session(f"s-{number}")) for number in range(300)))

    asyncio.run(scenario())

    assert all(repository.get(f"s-{number}") is not None for number in (0, 150, 299))
    repository.close()
