"""
Grafana's role: it reads everything and changes nothing.

Roles belong to the whole server, so each test has one with a name of its own.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from attrs import evolve
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from m3w_core import migrations, startup
from m3w_core.database_url import DatabaseSettings
from m3w_core.exceptions import StorageConfigurationError
from m3w_core.grafana_role import PRIVATE_TABLES, ensure_grafana_role, hide_private_tables
from tests._databases import connect, new_database

PASSWORD = "reads only"
PATIENCE_S = 20


@pytest.fixture(scope="module", autouse=True)
def _passwords_are_asked_for(server: DatabaseSettings) -> None:
    """Make the embedded server, which lets in everybody who reaches its socket, ask Grafana's roles."""
    with closing(connect(server)) as connection:
        ((hba_file, loaded_at),) = connection.run("SELECT current_setting('hba_file'), pg_conf_load_time()")
        rules = Path(hba_file)
        if not rules.exists():
            return  # the server is not on this machine, and asks everybody
        rules.write_text("local all /^m3w_grafana scram-sha-256\n" + rules.read_text())
        connection.run("SELECT pg_reload_conf()")
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with closing(connect(server)) as connection:
            if connection.run("SELECT pg_conf_load_time()")[0][0] > loaded_at:
                return
        time.sleep(0.05)
    pytest.fail("the server does not take over its new pg_hba.conf")


@pytest.fixture
def new_role(emptied_database: DatabaseSettings) -> Iterator[Callable[[], str]]:
    """Names of roles, dropped in the end; a database of the test's own must be gone by then: ask for it later."""
    names = []

    def name() -> str:
        names.append(f"m3w_grafana_{os.getpid()}_{secrets.token_hex(4)}")
        return names[-1]

    yield name
    for made in names:
        drop(emptied_database, made)


@pytest.fixture
def role(new_role: Callable[[], str]) -> str:
    return new_role()


@pytest.fixture
def owner(emptied_database: DatabaseSettings) -> Iterator[Connection]:
    with closing(connect(emptied_database)) as connection:
        yield connection


def drop(database: DatabaseSettings, role: str) -> None:
    with closing(connect(database)) as connection:
        if connection.run("SELECT FROM pg_roles WHERE rolname = :role", role=role):
            connection.run(f"DROP OWNED BY {role}; DROP ROLE {role}")


def reader(database: DatabaseSettings, role: str, password: str = PASSWORD) -> Connection:
    return connect(evolve(database, user=role, password=password))


def tables(connection: Connection) -> list[str]:
    rows = connection.run(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
    )
    return [name for (name,) in rows]


def test_the_role_can_read_every_table(
    owner: Connection, emptied_database: DatabaseSettings, role: str
) -> None:
    """
    Dashboards see all there is but what is private.
    """
    ensure_grafana_role(owner, PASSWORD, role=role)

    readable = [name for name in tables(owner) if name not in PRIVATE_TABLES]
    with closing(reader(emptied_database, role)) as grafana:
        counts = {name: grafana.run(f"SELECT count(*) FROM {name}") for name in readable}
    assert counts["sessions"] == [[0]]
    assert counts["session_timeline"] == [[0]]
    assert counts["rejections"] == [[0]]


@pytest.mark.parametrize("table", ["api_keys", "rejected_payloads"])
def test_the_role_can_read_neither_keys_nor_payloads(
    owner: Connection, emptied_database: DatabaseSettings, role: str, table: str
) -> None:
    """
    A table that is made after the role can be read by it, so it is taken away again with each migration.
    """
    ensure_grafana_role(owner, PASSWORD, role=role)
    owner.run(f"GRANT SELECT ON {table} TO {role}")  # as the default privileges of the first release do
    hide_private_tables(owner, role=role)

    with (
        closing(reader(emptied_database, role)) as grafana,
        pytest.raises(DatabaseError, match="permission denied"),
    ):
        grafana.run(f"SELECT count(*) FROM {table}")


def test_migrating_from_the_first_release_hides_the_new_tables(
    server: DatabaseSettings,
    new_role: Callable[[], str],
    database: DatabaseSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    There, the role is given every table that will be made; GRAFANA_DB_PASSWORD need not be set any more.
    """
    role = new_role()
    first_release = [migration for migration in migrations.available() if migration.version == 1]
    with closing(connect(database)) as connection:
        monkeypatch.setattr(migrations, "available", lambda *_: first_release)
        migrations.apply(connection)
        monkeypatch.undo()
        ensure_grafana_role(connection, PASSWORD, role=role)
        monkeypatch.setattr("m3w_core.grafana_role.hide_private_tables.__kwdefaults__", {"role": role})
        startup.migrate(database, log=lambda _: None)
        readable = {
            table: connection.run(
                "SELECT has_any_column_privilege(:role, :table, 'SELECT')", role=role, table=table
            )
            for table in ("sessions", "rejections", "api_keys", "rejected_payloads")
        }

    assert readable == {
        "sessions": [[True]],
        "rejections": [[True]],
        "api_keys": [[False]],
        "rejected_payloads": [[False]],
    }


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO session_timeline SELECT * FROM session_timeline",
        "UPDATE sessions SET sdk_version = ''",
        "DELETE FROM sessions",
        "TRUNCATE sessions",
        "CREATE TABLE mine ()",
        "CREATE VIEW mine AS SELECT 1",
        "CREATE SCHEMA mine",
        "DROP TABLE sessions",
        "ALTER TABLE sessions ADD COLUMN mine int",
        "CREATE ROLE mine",
    ],
)
@pytest.mark.parametrize(
    ("how", "sqlstate"), [("as it comes", "25006"), ("with its read-only default lifted", "42501")]
)
def test_the_role_can_change_nothing(
    owner: Connection,
    emptied_database: DatabaseSettings,
    role: str,
    statement: str,
    how: str,
    sqlstate: str,
) -> None:
    """
    Its transactions are read-only; and since anybody may lift that, it has no right to change anything either.
    """
    ensure_grafana_role(owner, PASSWORD, role=role)

    with closing(reader(emptied_database, role)) as grafana:
        if how != "as it comes":
            grafana.run("SET default_transaction_read_only = off")
        with pytest.raises(DatabaseError) as refusal:
            grafana.run(statement)
    assert refusal.value.args[0]["C"] == sqlstate


def test_the_role_has_no_right_but_to_read_on_any_table_or_view(
    owner: Connection, emptied_database: DatabaseSettings, role: str
) -> None:
    """
    Whatever migrations have made; and the functions of the dashboards work with that.
    """
    ensure_grafana_role(owner, PASSWORD, role=role)

    with closing(reader(emptied_database, role)) as grafana:
        sessions = grafana.run(
            "SELECT sessions FROM qoe_totals(now() - interval '1 day', now()) WHERE metric = 'sessions'"
        )
    may_change = owner.run(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
        " AND has_table_privilege(:role, oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')",
        role=role,
    )
    assert sessions == [[0]]
    assert may_change == []


def test_what_later_migrations_make_can_be_read_at_once(
    role: str, migrated_database: DatabaseSettings
) -> None:
    """
    Nobody has to grant anything after an upgrade.
    """
    with closing(connect(migrated_database)) as owner:
        ensure_grafana_role(owner, PASSWORD, role=role)

        owner.run("CREATE TABLE later AS SELECT 7 AS plays; CREATE VIEW qoe AS SELECT * FROM later")

    with closing(reader(migrated_database, role)) as grafana:
        assert grafana.run("SELECT plays FROM later, LATERAL (SELECT * FROM qoe) AS q(p)") == [[7]]


def test_tables_of_others_in_the_schema_are_left_alone(
    role: str, new_role: Callable[[], str], migrated_database: DatabaseSettings
) -> None:
    """
    A role that may not grant what belongs to another still grants what is its own.
    """
    plain = new_role()
    with closing(connect(migrated_database)) as admin:
        admin.run(f"CREATE ROLE {plain} LOGIN PASSWORD '{PASSWORD}' CREATEROLE")
        admin.run(f"GRANT CREATE ON SCHEMA public TO {plain}")

    with closing(reader(migrated_database, plain)) as connection:
        connection.run("CREATE TABLE mine AS SELECT 5 AS five")
        ensure_grafana_role(connection, PASSWORD, role=role)
        with closing(reader(migrated_database, role)) as grafana:
            five = grafana.run("SELECT five FROM mine")
            with pytest.raises(DatabaseError, match="permission denied for table sessions"):
                grafana.run("SELECT FROM sessions")

    assert five == [[5]]


def test_the_password_can_be_changed(
    owner: Connection, emptied_database: DatabaseSettings, role: str
) -> None:
    """
    A new password in the environment counts from the next start, and the old one no more.
    """
    ensure_grafana_role(owner, "old", role=role)
    ensure_grafana_role(owner, "new", role=role)

    with closing(reader(emptied_database, role, "new")) as grafana:
        assert grafana.run("SELECT current_user") == [[role]]
    with pytest.raises(StorageConfigurationError, match="password authentication failed"):
        reader(emptied_database, role, "old")


@pytest.mark.parametrize(
    "password",
    [
        "pa$$word",
        "$HOME",
        '"quoted"',
        "o'clock",
        "100 %s %%",
        "back\\slash",
        " spaces ",
        "é ß 語",
        "$body$;--",
        "x" * 300,
    ],
)
def test_any_password_works(
    owner: Connection, emptied_database: DatabaseSettings, role: str, password: str
) -> None:
    """
    No character means anything to SQL, to formats or to PostgreSQL's passwords.
    """
    ensure_grafana_role(owner, password, role=role)

    with closing(reader(emptied_database, role, password)) as grafana:
        assert grafana.run("SELECT current_user") == [[role]]


def test_postgresql_keeps_a_password_as_it_would_hash_it_itself(owner: Connection, role: str) -> None:
    """
    It is hashed with SCRAM-SHA-256 before it is sent, a character unknown to SASLprep included.
    """
    ensure_grafana_role(owner, "smile 😀", role=role)

    ((stored,),) = owner.run("SELECT rolpassword FROM pg_authid WHERE rolname = :role", role=role)
    method, iterations_and_salt, keys = stored.split("$")
    assert method == "SCRAM-SHA-256"
    assert iterations_and_salt.startswith("4096:")
    assert [len(key) for key in keys.split(":")] == [44, 44]


def test_the_password_is_in_no_statement(
    owner: Connection, emptied_database: DatabaseSettings, role: str
) -> None:
    """
    A server that logs statements does not log it.
    """
    ensure_grafana_role(owner, "never-in-a-log", role=role)

    with closing(connect(emptied_database)) as other:
        ((last,),) = other.run(
            "SELECT query FROM pg_stat_activity WHERE pid = :pid",
            pid=owner.run("SELECT pg_backend_pid()")[0][0],
        )
    assert "never-in-a-log" not in last


def test_nothing_is_granted_twice(owner: Connection, role: str) -> None:
    """
    A start that has nothing to grant leaves the catalogue's rows of the tables alone.
    """
    ensure_grafana_role(owner, PASSWORD, role=role)
    rows = (
        "SELECT relname, xmin::text, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    before = owner.run(rows)

    ensure_grafana_role(owner, PASSWORD, role=role)

    assert owner.run(rows) == before


def test_many_processes_on_several_databases_may_do_it_at_once(
    server: DatabaseSettings, emptied_database: DatabaseSettings, role: str
) -> None:
    """
    The role is the server's, so processes of different databases meet at it too.
    """
    with new_database(server, template=emptied_database.database) as second:

        def ensure(database: DatabaseSettings) -> None:
            with closing(connect(database)) as connection:
                for _ in range(5):
                    ensure_grafana_role(connection, PASSWORD, role=role)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(ensure, [emptied_database, second] * 4))
        for database in (emptied_database, second):
            with closing(reader(database, role)) as grafana:
                assert grafana.run("SELECT count(*) FROM sessions") == [[0]]


def test_without_the_right_to_make_roles_a_warning_says_what_to_do(
    owner: Connection,
    role: str,
    new_role: Callable[[], str],
    database: DatabaseSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    Sessions are taken all the same; and where an administrator has made the role, it is given what it needs.
    """
    plain = new_role()
    owner.run(f"CREATE ROLE {plain} LOGIN PASSWORD '{PASSWORD}'")
    with closing(connect(database)) as admin:
        admin.run(f"GRANT CREATE ON SCHEMA public TO {plain}")
    with closing(reader(database, plain)) as connection:
        migrations.apply(connection)
        ensure_grafana_role(connection, "s3cret", role=role)
        warning = caplog.text
        made = connection.run("SELECT FROM pg_roles WHERE rolname = :role", role=role)
        owner.run(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        ensure_grafana_role(connection, "s3cret", role=role)
    with closing(reader(database, role)) as grafana:
        count = grafana.run("SELECT count(*) FROM sessions")

    assert not made
    assert f"CREATE ROLE {role} LOGIN PASSWORD" in warning
    assert "permission denied to create role" in warning
    assert "s3cret" not in caplog.text
    assert count == [[0]]


def test_the_command_migrate_makes_the_role(migrated_database: DatabaseSettings) -> None:
    """
    GRAFANA_DB_PASSWORD is all that has to be set.
    """
    with closing(connect(migrated_database)) as connection:
        if connection.run("SELECT FROM pg_roles WHERE rolname = 'm3w_grafana'"):
            pytest.skip("the server has a role m3w_grafana that is not the tests'")
    program = Path(sys.executable).with_name("m3w")
    try:
        subprocess.run(
            [program, "migrate"],
            check=True,
            env=os.environ | {"DATABASE_URL": url(migrated_database), "GRAFANA_DB_PASSWORD": "from $env"},
        )
        with closing(reader(migrated_database, "m3w_grafana", "from $env")) as grafana:
            assert grafana.run("SELECT count(*) FROM sessions") == [[0]]
    finally:
        drop(migrated_database, "m3w_grafana")


def url(database: DatabaseSettings) -> str:
    password = quote(database.password or "", safe="")
    if database.unix_socket is not None:
        directory = quote(str(Path(database.unix_socket).parent), safe="")
        return f"postgresql://{database.user}:{password}@{directory}:{database.port}/{database.database}"
    return f"postgresql://{database.user}:{password}@{database.host}:{database.port}/{database.database}"
