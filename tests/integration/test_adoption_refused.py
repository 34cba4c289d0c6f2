"""
Databases that are not adopted: each says why and what to do, and stays as it was.
"""

from __future__ import annotations

from contextlib import closing

import pytest
from pg8000.native import Connection

from m3w_core import _adoption
from m3w_core.database_url import DatabaseSettings
from m3w_core.exceptions import MigrationError
from tests._databases import connect
from tests._kotlin import (
    KOTLIN,
    SESSION,
    insert,
    make_kotlin_database,
    migrate,
    read,
    record_in_flyway,
    schema,
)


def assert_refused(connection: Connection, message: str) -> None:
    """Migrating must fail with that message and change nothing."""
    before = schema(connection)

    with pytest.raises(MigrationError) as caught:
        migrate(connection)
    assert message == str(caught.value)
    assert before == schema(connection)


def test_version_1_is_refused(connection: Connection) -> None:
    """
    Its rows are of another kind, and its successor drops them.
    """
    make_kotlin_database(connection, 1)

    assert_refused(
        connection,
        "The tables here are version 1 of the Kotlin backend's, whose rows hold other values and cannot be "
        "adopted. Either use an empty database (DATABASE_URL), or start a newer Kotlin backend once (its "
        "version 2 drops those rows) and then this one.",
    )


@pytest.mark.parametrize("version", ["5", "20240101120000"])
def test_a_version_that_is_not_known_is_refused(connection: Connection, version: str) -> None:
    """
    It may hold what we would lose.
    """
    make_kotlin_database(connection, 4)
    record_in_flyway(connection, version)

    assert_refused(
        connection,
        f"flyway_schema_history says that the tables here are version {version}; only 2 to 4 can be adopted. "
        "Either use an empty database (DATABASE_URL), or start a newer release of this backend.",
    )


def test_a_history_without_versions_is_refused(connection: Connection) -> None:
    """
    Somebody has emptied it.
    """
    make_kotlin_database(connection, 4)
    connection.run("DELETE FROM flyway_schema_history")

    assert_refused(
        connection,
        "There is a table sessions here already, and flyway_schema_history does not say which version it is. "
        "Rename it, or use an empty database (DATABASE_URL).",
    )


@pytest.mark.parametrize("table", ["sessions", "session_timeline"])
def test_a_table_that_somebody_made_by_hand_is_refused(connection: Connection, table: str) -> None:
    """
    Nobody knows what is in it.
    """
    connection.run(f"CREATE TABLE {table} (session_id text PRIMARY KEY)")

    assert_refused(
        connection,
        f"There is a table {table} here already that neither this backend nor the Kotlin backend made: their "
        "other tables are missing. Rename it, or use an empty database (DATABASE_URL).",
    )


def test_another_programs_table_of_our_name_is_refused(connection: Connection) -> None:
    """
    Flyway is used by many, and "sessions" is a common name.
    """
    connection.run((KOTLIN / "flyway_schema_history.sql").read_text(encoding="utf-8"))
    record_in_flyway(connection, "3")
    columns = {*_adoption.COLUMNS["sessions"].split()} - {"timestamp", "play_time_ms"}
    connection.run(f"CREATE TABLE sessions ({', '.join(f'{name} text' for name in columns)})")

    assert_refused(
        connection,
        "The table sessions is not the Kotlin backend's: it has no play_time_ms, timestamp. Rename it, or "
        "use an empty database (DATABASE_URL).",
    )


@pytest.mark.parametrize("table", ["sessions", "session_timeline"])
def test_columns_that_the_owner_added_are_not_lost_in_silence(connection: Connection, table: str) -> None:
    """
    We have no place for their values.
    """
    make_kotlin_database(connection, 4)
    connection.run(f"ALTER TABLE {table} ADD COLUMN app_version text, ADD COLUMN account text")

    assert_refused(
        connection,
        f"The table {table} has columns that the Kotlin backend does not know: account, app_version. Their "
        "values would be lost. Copy them to a table of your own, drop the columns, and migrate again.",
    )


def test_triggers_that_the_owner_added_are_not_lost_in_silence(connection: Connection) -> None:
    """
    Somebody may rely on what they do.
    """
    make_kotlin_database(connection, 4)
    connection.run(
        "CREATE TRIGGER audit BEFORE UPDATE ON sessions FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    )

    assert_refused(
        connection,
        "The table sessions has triggers, which would be lost: audit. Drop them and migrate again.",
    )


def test_an_owners_view_is_named_and_nothing_is_changed(connection: Connection) -> None:
    """
    A view goes with its table, so it is for the owner to drop and make again.
    """
    make_kotlin_database(connection, 4)
    connection.run("CREATE VIEW slow_starts AS SELECT session_id FROM sessions WHERE startup_time_ms > 2000")
    insert(connection, "sessions", SESSION)
    before = read(connection, "sessions")

    assert_refused(
        connection,
        "The tables of the Kotlin backend cannot be replaced while other objects depend on them:\n"
        "view slow_starts depends on table sessions\n"
        "Drop these, migrate, and make them again.",
    )
    assert before == read(connection, "sessions")


def test_tables_that_stay_in_use_are_not_waited_for_without_end(
    connection: Connection, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The Kotlin backend may still run, and a start must end with a message.
    """
    monkeypatch.setattr(_adoption, "LOCK_TIMEOUT_S", 1)
    make_kotlin_database(connection, 4)
    with closing(connect(database)) as other:
        other.run("BEGIN; SELECT count(*) FROM session_timeline")

        assert_refused(
            connection,
            "Something else kept the tables in use for 1 s. Stop the Kotlin backend and whatever else has "
            "them open, and migrate again.",
        )
