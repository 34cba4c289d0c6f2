"""
A database of the Kotlin backend becomes ours: every row is kept, and nothing of the old schema.

What happens to the values of a row is in test_adoption_rows.py.
"""

from __future__ import annotations

from contextlib import closing

import pytest
from pg8000.native import Connection

from m3w_core import migrations
from m3w_core.database_url import DatabaseSettings
from m3w_core.model import Session
from m3w_core.postgres import PostgresSessionRepository
from tests._databases import connect, new_database
from tests._kotlin import (
    CREATED_AT,
    CREATED_AT_MS,
    ENTRY,
    KOTLIN,
    SESSION,
    insert,
    make_kotlin_database,
    migrate,
    read,
    record_in_flyway,
    schema,
)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_an_adopted_database_is_like_a_fresh_one(
    server: DatabaseSettings, connection: Connection, version: int
) -> None:
    """
    No table, sequence, index or constraint is left over, and none is missing.
    """
    make_kotlin_database(connection, version)
    insert(connection, "sessions", SESSION)
    migrate(connection)
    with new_database(server) as other, closing(connect(other)) as fresh:
        migrations.apply(fresh)
        expected = schema(fresh)

    assert expected == schema(connection)
    migrations.check(connection)


def test_no_row_is_lost(connection: Connection) -> None:
    """
    The log tells how many there were.
    """
    make_kotlin_database(connection, 4)
    for number in range(100):
        insert(connection, "sessions", SESSION | {"session_id": f"s-{number:03}"})
        insert(connection, "session_timeline", ENTRY | {"session_id": f"s-{number:03}"})
        insert(connection, "session_timeline", ENTRY | {"session_id": f"s-{number:03}"})
    lines = migrate(connection)

    assert [f"s-{number:03}" for number in range(100)] == [
        row["session_id"] for row in read(connection, "sessions")
    ]
    assert [
        "adopting version 4 of the Kotlin backend's tables",
        "copied 100 sessions and 100 timeline entries; timeline duplicates were left out",
        "applied V1__create_sessions.sql",
    ] == lines[:3]


def test_the_next_summary_replaces_a_row_from_the_end_of_time(
    connection: Connection, database: DatabaseSettings
) -> None:
    """
    A timestamp of 2^63-1 would be the newest for ever.
    """
    make_kotlin_database(connection, 4)
    insert(connection, "sessions", SESSION | {"timestamp": 2**63 - 1})
    migrate(connection)
    newer = Session(
        session_id=SESSION["session_id"],
        timestamp=CREATED_AT_MS + 15_000,
        session_start_date_iso="2026-02-15T10:00:00.000Z",
        session_duration_ms=60_000,
    )
    repository = PostgresSessionRepository(database)
    repository.upsert([newer])
    stored = repository.get(SESSION["session_id"])
    repository.close()

    assert stored is not None
    assert newer == stored.session
    assert CREATED_AT == stored.created_at
    assert stored.received_at > CREATED_AT


def test_updates_of_adopted_rows_touch_no_index(connection: Connection) -> None:
    """
    The copied pages have room, so the 15-second updates of a session that plays during the change are HOT.
    """
    make_kotlin_database(connection, 2)
    for number in range(200):
        insert(connection, "sessions", SESSION | {"session_id": f"s-{number:03}"})
    migrate(connection)
    connection.run("BEGIN")
    connection.run(
        "UPDATE sessions SET timestamp = timestamp + 15000, session_duration_ms = 60000, play_time_ms = "
        "57000, received_at = now(), event_at = now() WHERE session_id LIKE '%0'"
    )
    [[hot]] = connection.run("SELECT pg_stat_get_xact_tuples_hot_updated('sessions'::regclass)")
    connection.run("ROLLBACK")

    assert 20 == hot


def test_the_owners_indexes_are_in_nobodys_way(connection: Connection) -> None:
    """
    Even one with the name of ours.
    """
    make_kotlin_database(connection, 4)
    connection.run("CREATE INDEX sessions_event_at_idx ON sessions (created_at)")
    connection.run("CREATE UNIQUE INDEX session_timeline_pkey1 ON session_timeline (id)")
    migrate(connection)

    assert {
        "m3w_migrations_pkey",
        "session_timeline_pkey",
        "sessions_event_at_idx",
        "sessions_pkey",
        "sessions_received_at_idx",
    } == {
        name
        for kind, name, *_ in schema(connection)
        if kind == "index" and name.startswith(("m3w_", "session"))
    }


def test_owner_and_readers_keep_their_rights(connection: Connection, database: DatabaseSettings) -> None:
    """
    A superuser may migrate for the backend's role, and a dashboard's role reads on.
    """
    owner, reader = f"{database.database}_owner", f"{database.database}_reader"
    make_kotlin_database(connection, 4)
    connection.run(f"CREATE ROLE {owner}; CREATE ROLE {reader}; GRANT CREATE ON SCHEMA public TO {owner}")
    for table in ("sessions", "session_timeline", "flyway_schema_history"):
        connection.run(f"ALTER TABLE {table} OWNER TO {owner}")
    connection.run(
        f"GRANT SELECT ON sessions TO {reader}; GRANT SELECT, DELETE ON session_timeline TO PUBLIC"
    )
    try:
        migrate(connection)
        owners = connection.run(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
        )
        rights = connection.run(
            f"SELECT has_table_privilege('{reader}', name, right_) FROM (VALUES ('sessions', 'SELECT'),"
            " ('sessions', 'UPDATE'), ('session_timeline', 'DELETE'), ('session_timeline', 'INSERT')"
            ") AS asked (name, right_)"
        )
        connection.run(f"SET ROLE {owner}")
        migrations.check(connection)
    finally:
        connection.run(f"RESET ROLE; DROP OWNED BY {owner}, {reader}; DROP ROLE {owner}, {reader}")

    assert [[owner]] == owners
    assert [[True], [False], [True], [False]] == rights


def test_another_programs_flyway_is_left_alone(connection: Connection) -> None:
    """
    Where none of our names is taken there is nothing to adopt, whatever version that is.
    """
    connection.run((KOTLIN / "flyway_schema_history.sql").read_text(encoding="utf-8"))
    record_in_flyway(connection, "20240101120000")
    before = schema(connection)
    migrate(connection)

    assert before < schema(connection)


def test_a_failed_step_of_flyway_does_not_count(connection: Connection) -> None:
    """
    The version is that of the last step that succeeded; those without a whole number are not that backend's.
    """
    make_kotlin_database(connection, 4)
    insert(connection, "sessions", SESSION)
    record_in_flyway(connection, "5", success=False)
    record_in_flyway(connection, None)
    record_in_flyway(connection, "4.0.1")
    migrate(connection)

    assert [SESSION["session_id"]] == [row["session_id"] for row in read(connection, "sessions")]
