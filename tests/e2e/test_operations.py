"""
docs/operations.md, typed as it stands: two roles, backup and restore, PgBouncer.
"""

from __future__ import annotations

import io
import json
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest
from attrs import evolve
from pg8000.exceptions import DatabaseError

from m3w_core import PostgresSessionRepository, session_from_dict
from m3w_core.export import export_sessions
from m3w_core.migrations import MIN_SERVER_VERSION
from m3w_http.embedded.programs import wheel_bin
from tests._databases import connect, new_database, open_temporary_directory
from tests._operations import block
from tests._serve import M3W, PATIENCE_S, Backend, environment, m3w, on, until
from tests.factories import a_payload, a_session, an_entry_payload

PASSWORD = "a passphrase"


def rows(database, query):
    with closing(connect(database)) as connection:
        return connection.run(query)


def post_batch(backend, *payloads):
    with closing(backend.connect()) as connection:
        headers = {"X-API-Key": "dev-key", "Content-Type": "application/json"}
        connection.request("POST", "/v1/sessions/batch", json.dumps(payloads), headers)
        return json.loads(connection.getresponse().read())["accepted"]


@pytest.fixture
def two_roles(server):
    """A database of an owner that may make tables, and a role to serve with; gives the settings of both."""
    owner, backend = (f"m3w_{name}_{os.getpid()}_{secrets.token_hex(4)}" for name in ("owner", "backend"))
    with closing(connect(server)) as admin, new_database(server) as database:
        for role in (owner, backend):
            admin.run(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        admin.run(f"ALTER DATABASE {database.database} OWNER TO {owner}")
        yield [evolve(database, user=role, password=PASSWORD) for role in (owner, backend)]
    with closing(connect(server)) as admin:
        admin.run(f"DROP ROLE {owner}; DROP ROLE {backend}")


def test_the_backend_serves_with_a_role_that_can_change_no_table(two_roles):
    """
    It takes sessions, keeps what it rejects, rolls up and deletes what is old, and is refused nothing that it tries.
    """
    owner, backend_role = two_roles
    migrated = m3w("migrate", **on(owner))
    with closing(connect(owner)) as connection:
        connection.run(block("sql", "GRANT USAGE").replace("m3w_backend", backend_role.user))
        connection.run("CREATE TABLE of_a_later_release ()")
    with closing(PostgresSessionRepository(owner)) as repository:
        repository.upsert([a_session("too old")])
    rows(owner, "UPDATE sessions SET event_at = '2020-01-01', received_at = '2020-01-01'")

    with Backend((), {**on(backend_role), "M3W_MIGRATE": "check"}) as backend:
        backend.until_ready()
        payload = a_payload(timelineEvents=[an_entry_payload()])
        statuses = [backend.post(payload), backend.post({**payload, "timestamp": payload["timestamp"] + 1})]
        accepted = post_batch(backend, a_payload(sessionId="s-2"), {"bad": 1})
        ready = backend.get("/ready")
        until(lambda: rows(owner, "SELECT FROM rejected_payloads"), "the rejected payload")
        until(lambda: rows(owner, "SELECT FROM qoe_rollup_state WHERE rolled_until > '-infinity'"), "rollup")
        pruned = m3w("prune", **on(backend_role))
        said = backend.err

    assert migrated.returncode == 0, migrated.stderr
    assert (statuses, accepted, ready) == ([200, 200], 1, '{"status":"ready"}')
    assert pruned.returncode == 0, pruned.stderr
    assert rows(owner, "SELECT FROM sessions WHERE session_id = 'too old'") == []
    assert "permission denied" not in said
    assert rows(backend_role, "SELECT count(*) FROM of_a_later_release") == [[0]]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine ()",
        "ALTER TABLE sessions ADD COLUMN mine int",
        "DROP TABLE sessions",
        "TRUNCATE sessions",
        "DELETE FROM m3w_migrations",
        "UPDATE api_keys SET revoked_at = NULL",
        "CREATE ROLE mine",
    ],
)
def test_that_role_can_change_no_table_indeed(two_roles_granted, statement):
    """
    Nor who may send sessions, nor what the schema is.
    """
    with (
        closing(connect(two_roles_granted)) as connection,
        pytest.raises(DatabaseError, match=r"permission denied|must be owner"),
    ):
        connection.run(statement)


@pytest.fixture(scope="module")
def two_roles_granted(server, _migrated_template):
    """A role with the grants and nothing more, on a database for the whole module."""
    role = f"m3w_backend_{os.getpid()}_{secrets.token_hex(4)}"
    with closing(connect(server)) as admin:
        admin.run(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        with new_database(server, template=_migrated_template.database) as database:
            with closing(connect(database)) as connection:
                connection.run(block("sql", "GRANT USAGE").replace("m3w_backend", role))
            yield evolve(database, user=role, password=PASSWORD)
        admin.run(f"DROP ROLE {role}")


@pytest.fixture(scope="module")
def client_programs():
    """Where pg_dump and its like are: those of the embedded PostgreSQL, else of the system if they are new enough."""
    wheel = wheel_bin()
    if wheel is not None:
        return wheel
    program = shutil.which("pg_dump")
    if program is None:
        pytest.skip("there is no pg_dump")
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    if int(re.search(r"(\d+)\.\d+", version)[1]) < MIN_SERVER_VERSION:
        pytest.skip(f"{program} is too old: {version}")
    return Path(program).parent


def libpq(database):
    """Give the variables by which PostgreSQL's own programs connect."""
    host = str(Path(database.unix_socket).parent) if database.unix_socket else database.host
    variables = {"PGHOST": host, "PGPORT": str(database.port), "PGUSER": database.user}
    return variables if database.password is None else {**variables, "PGPASSWORD": database.password}


def shell(text, programs, directory, variables):
    path = os.pathsep.join([str(programs), str(M3W.parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-euc", text],
        check=False,
        env={**environment(**variables), "PATH": path},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr


def exported(database):
    output = io.BytesIO()
    export_sessions(database, output)
    return sorted(output.getvalue().splitlines())


def test_a_backup_is_restored_and_served(migrated_database, server, client_programs, tmp_path):
    """
    By the commands of the page. Nothing is missing, and the backend takes it for its own.
    """
    payloads = [a_payload(sessionId=f"s-{n}", timelineEvents=[an_entry_payload()], own=n) for n in range(20)]
    with closing(PostgresSessionRepository(migrated_database)) as repository:
        repository.upsert([session_from_dict(payload) for payload in payloads])
    m3w("keys", "add", "mobile", **on(migrated_database))
    tables = "SELECT * FROM {} ORDER BY 1, 2"
    restored = evolve(migrated_database, database=f"{migrated_database.database}_restored")
    backup = block("sh", "pg_dump --format=custom --no-owner --no-privileges --file=media3watch.dump")
    restore = block("sh", "createdb --template").replace(" media3watch\n", f" {restored.database}\n")
    restore = restore.replace("--dbname=media3watch ", f"--dbname={restored.database} ")
    try:
        shell(
            backup,
            client_programs,
            tmp_path,
            libpq(migrated_database) | {"DATABASE_URL": f"dbname={migrated_database.database}"},
        )
        shell(restore, client_programs, tmp_path, libpq(migrated_database) | on(restored))
        with Backend((), {**on(restored), "M3W_API_KEY": "dev-key"}) as backend:
            backend.until_ready()
            before = exported(restored)
            status = backend.post(a_payload(sessionId="after the restore"))
        count = rows(restored, "SELECT count(*) FROM sessions")

        assert before == exported(migrated_database)
        assert len(before) == 20
        for table in ("api_keys", "m3w_migrations"):
            assert rows(restored, tables.format(table)) == rows(migrated_database, tables.format(table))
        assert (status, count) == (200, [[21]])
    finally:
        rows(server, f"DROP DATABASE IF EXISTS {restored.database} WITH (FORCE)")


@pytest.fixture
def pooled(database):
    """The same database by way of a PgBouncer that is set up as the page says."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host = str(Path(database.unix_socket).parent) if database.unix_socket else database.host
    password = "" if database.password is None else f" password={database.password}"
    configuration = block("ini", "[pgbouncer]").replace(
        "media3watch = host=127.0.0.1 port=5432",
        f"{database.database} = host={host} port={database.port} user={database.user}{password}",
    )
    assert f"host={host}" in configuration
    with open_temporary_directory() as directory:
        file = directory / "pgbouncer.ini"
        file.write_text(
            f"{configuration}listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        )
        # It refuses to be root, and has to reach the socket of the embedded server.
        user = []
        if os.geteuid() == 0:
            owner = Path(database.unix_socket).stat().st_uid if database.unix_socket else "nobody"
            user = ["-u", pwd.getpwuid(owner).pw_name if isinstance(owner, int) else owner]
        process = subprocess.Popen([program, "-q", *user, file], stderr=subprocess.PIPE)
        try:
            until(lambda: answers(port), "PgBouncer")
            yield evolve(
                database, unix_socket=None, host="127.0.0.1", port=port, password=None, sslmode="disable"
            )
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)


def answers(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_it_runs_behind_pgbouncer(pooled, database):
    """
    From the migration on, in session pooling.
    """
    with Backend((), on(pooled)) as backend:
        backend.until_ready()
        statuses = [backend.post(a_payload(sessionId=f"s-{number}")) for number in range(20)]
        ready = backend.get("/ready")
        backend.says("This process does the housekeeping")

    assert statuses == [200] * 20
    assert ready == '{"status":"ready"}'
    assert rows(database, "SELECT count(*) FROM sessions") == [[20]]
