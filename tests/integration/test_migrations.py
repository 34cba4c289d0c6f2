"""
Migrations on a real server: applied once, whole, in order, by one process at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pg8000.native import Connection

from m3w_core import migrations
from m3w_core.database_url import DatabaseSettings
from m3w_core.exceptions import MigrationError, StorageConfigurationError, StorageUnavailableError
from m3w_core.startup import connected


def tables(connection: Connection) -> set[str]:
    rows = connection.run(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    return {name for (name,) in rows}


def test_an_empty_database_gets_the_schema_and_a_record_of_it(connection: Connection) -> None:
    """
    Each migration is recorded with its number, name and checksum.
    """
    lines: list[str] = []
    done = migrations.apply(connection, log=lines.append)
    history = migrations.applied(connection)

    assert {"sessions", "session_timeline", "m3w_migrations"} <= tables(connection)
    assert migrations.available() == done
    assert [(m.version, m.name, m.checksum) for m in done] == [
        (m.version, m.name, m.checksum) for m in history
    ]
    assert "applied V1__create_sessions.sql" == lines[0]


def test_a_second_run_writes_nothing(connection: Connection) -> None:
    """
    Where nothing is pending, a role that can only read will do.
    """
    migrations.apply(connection)
    connection.run("SET default_transaction_read_only = on")

    assert [] == migrations.apply(connection)


def test_only_what_is_pending_is_applied(connection: Connection, steps: Callable[..., Path]) -> None:
    """
    A new release adds to what is there.
    """
    migrations.apply(connection, directory=steps("CREATE TABLE a ()"))
    directory = steps("CREATE TABLE a ()", "CREATE TABLE b ()")
    before = [m.version for m in migrations.pending(connection, directory=directory)]
    done = [m.version for m in migrations.apply(connection, directory=directory)]

    assert [2] == before
    assert [2] == done
    assert {"a", "b", "m3w_migrations"} == tables(connection)


def test_a_changed_file_stops_the_start(connection: Connection, steps: Callable[..., Path]) -> None:
    """
    Neither `apply` nor `check` goes on when a file is not the one that was applied.
    """
    migrations.apply(connection, directory=steps("CREATE TABLE a ()"))
    directory = steps("CREATE TABLE a (b text)", "CREATE TABLE c ()")

    with pytest.raises(MigrationError, match=r"V1__step\.sql is not the file that was applied"):
        migrations.apply(connection, directory=directory)
    with pytest.raises(MigrationError, match=r"V1__step\.sql is not the file that was applied"):
        migrations.check(connection, directory=directory)
    assert {"a", "m3w_migrations"} == tables(connection)


def test_a_database_of_a_newer_release_stops_the_start(connection: Connection) -> None:
    """
    An old release leaves a newer schema alone.
    """
    migrations.apply(connection)
    connection.run("INSERT INTO m3w_migrations (version, name, checksum) VALUES (999, 'from_the_future', '')")

    with pytest.raises(
        MigrationError, match="A newer release has migrated this database to V999__from_the_future"
    ):
        migrations.apply(connection)
    with pytest.raises(
        MigrationError, match="A newer release has migrated this database to V999__from_the_future"
    ):
        migrations.check(connection)


def test_a_migration_that_fails_leaves_nothing_of_itself(
    connection: Connection, steps: Callable[..., Path]
) -> None:
    """
    Its statements and its record are one transaction; what was applied before it stays.
    """
    directory = steps(
        "CREATE TABLE a ()",
        "CREATE TABLE b (x text); INSERT INTO b VALUES ('one'); SELECT 1 / 0",
        "CREATE TABLE c ()",
    )

    with pytest.raises(MigrationError) as caught:
        migrations.apply(connection, directory=directory)
    assert "V2__step.sql failed, and nothing of it was kept: division by zero (22012)" == str(caught.value)
    assert {"a", "m3w_migrations"} == tables(connection)
    assert [1] == [m.version for m in migrations.applied(connection)]


def test_a_first_migration_that_fails_leaves_an_empty_database(
    connection: Connection, steps: Callable[..., Path]
) -> None:
    """
    Not even the table of records is there, and the connection can be used again.
    """
    with pytest.raises(
        MigrationError, match=r'V1__step.sql failed.*: syntax error at or near "CRATE" \(42601\)'
    ):
        migrations.apply(connection, directory=steps("CREATE TABLE a (); CRATE TABLE b ()"))
    assert set() == tables(connection)


def test_the_servers_detail_and_hint_are_passed_on(
    connection: Connection, steps: Callable[..., Path]
) -> None:
    """
    They say what to do.
    """
    text = "DO $$ BEGIN RAISE 'no' USING DETAIL = 'because', HINT = 'do this'; END $$"

    with pytest.raises(MigrationError, match=r"no \(P0001\)\nbecause\ndo this$"):
        migrations.apply(connection, directory=steps(text))


def test_a_connection_that_breaks_is_no_fault_of_the_migration(
    database: DatabaseSettings, connection: Connection, steps: Callable[..., Path]
) -> None:
    """
    It may be tried again, and nothing has happened meanwhile.
    """
    directory = steps("CREATE TABLE a (); SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(StorageUnavailableError), connected(database) as broken:
        migrations.apply(broken, directory=directory)
    assert set() == tables(connection)


@pytest.mark.parametrize("sqlstate", ["08006", "25006", "40P01", "57P03"])
def test_trouble_of_the_server_is_no_fault_of_the_migration(
    connection: Connection, steps: Callable[..., Path], sqlstate: str
) -> None:
    """
    A lost connection, a server that takes no writes for a while, a deadlock and a server that is starting pass.
    """
    text = f"DO $$ BEGIN RAISE 'not now' USING ERRCODE = '{sqlstate}'; END $$"

    with pytest.raises(StorageUnavailableError, match="not now"):
        migrations.apply(connection, directory=steps(text))


def test_time_limits_of_the_role_do_not_stop_a_long_migration(
    connection: Connection, steps: Callable[..., Path]
) -> None:
    """
    A limit that fits the backend's own statements would never let a large table be rewritten.
    """
    connection.run("SET statement_timeout = '20ms'")
    done = migrations.apply(connection, directory=steps("SELECT pg_sleep(0.1)"))

    assert [1] == [m.version for m in done]
    assert "20ms" == connection.run("SHOW statement_timeout")[0][0]


def test_an_old_server_is_refused(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Before anything is changed, and with both versions in the message.
    """
    version = int(connection.run("SHOW server_version_num")[0][0]) // 10_000
    monkeypatch.setattr(migrations, "MIN_SERVER_VERSION", version + 1)
    expected = f"The server is PostgreSQL {version}, and {version + 1} or newer is needed"

    with pytest.raises(MigrationError, match=expected):
        migrations.apply(connection)
    with pytest.raises(MigrationError, match=expected):
        migrations.check(connection)
    assert set() == tables(connection)


def test_check_tells_what_is_pending_and_changes_nothing(connection: Connection) -> None:
    """
    For a backend whose role may not change the schema.
    """
    with pytest.raises(MigrationError) as caught:
        migrations.check(connection)
    before = tables(connection)
    migrations.apply(connection)
    connection.run("SET default_transaction_read_only = on")
    migrations.check(connection)

    assert str(caught.value).startswith("The database lacks V1__create_sessions.sql")
    assert str(caught.value).endswith("Run `m3w migrate` with a role that may change the schema.")
    assert set() == before


@pytest.fixture
def weak_role(connection: Connection, database: DatabaseSettings) -> Iterator[str]:
    """A role that may do nothing here; its name is free on the whole server."""
    role = f"{database.database}_weak"
    connection.run(f"CREATE ROLE {role}")
    connection.run(f"REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT {role} TO CURRENT_USER")
    yield role
    connection.run("RESET ROLE")
    connection.run(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_that_may_not_change_the_schema_is_told_what_to_do(
    connection: Connection, weak_role: str
) -> None:
    """
    The server says what is not allowed, we say who should do it.
    """
    connection.run(f"SET ROLE {weak_role}")

    with pytest.raises(MigrationError) as caught:
        migrations.apply(connection)
    assert (
        "V1__create_sessions.sql failed, and nothing of it was kept: permission denied for schema public "
        "(42501)\nRun `m3w migrate` with a role that may change the schema."
    ) == str(caught.value)


def test_a_role_that_may_not_read_the_records_is_a_matter_of_set_up(
    connection: Connection, weak_role: str
) -> None:
    """
    Waiting does not help, so a start ends with the server's message.
    """
    migrations.apply(connection)
    connection.run(f"SET ROLE {weak_role}")

    with pytest.raises(StorageConfigurationError, match="permission denied for table m3w_migrations"):
        migrations.check(connection)


def test_status_shows_every_state(connection: Connection, steps: Callable[..., Path]) -> None:
    """
    It shows what `apply` would refuse, instead of refusing.
    """
    migrations.apply(connection, directory=steps("SELECT 1", "SELECT 2"))
    connection.run("INSERT INTO m3w_migrations (version, name, checksum) VALUES (9, 'later', '')")
    rows = migrations.status(connection, directory=steps("SELECT 1", "SELECT 2 -- edited", "SELECT 3"))

    assert [
        (1, "step", True, "applied"),
        (2, "step", True, "changed"),
        (3, "step", False, "pending"),
        (9, "later", True, "unknown"),
    ] == [(row.version, row.name, row.applied_at is not None, row.state) for row in rows]
