"""
What ``m3w serve`` says: where it is, what to beware of, and why it does not start.

A start that cannot work ends soon, with status 1 and one message that says what to do, never with a traceback.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from m3w_core import migrations
from m3w_http.embedded import EmbeddedPostgres
from tests._databases import connect, open_temporary_directory
from tests._serve import PATIENCE_S, Backend, m3w, on
from tests.factories import a_payload

#: An end that takes longer is a loop of attempts.
SOON_S = 20

ANYWHERE = "0.0.0.0"  # noqa: S104 - to be warned of


def refusal(*arguments, **variables):
    """Start what cannot start, and give its message."""
    started = time.monotonic()
    done = m3w("serve", "--port", 0, *arguments, **variables)
    seconds = time.monotonic() - started

    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert seconds < SOON_S
    (message,) = re.findall(r"^Error: (.*)\Z", done.stderr, re.MULTILINE | re.DOTALL)
    return message


def test_a_port_in_use_is_told(migrated_database):
    """
    Before anything else is started.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refusal("--port", port, **on(migrated_database))

    assert message == (
        f"Cannot listen on 127.0.0.1 port {port}: Address already in use."
        " Choose another with --host and --port.\n"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_told(migrated_database, host):
    """
    Or of none.
    """
    message = refusal("--host", host, **on(migrated_database))

    assert message.startswith(f"Cannot listen on {host} port 0: ")


def test_a_bad_database_url_is_told_and_not_shown():
    """
    Any part of it may be a password.
    """
    message = refusal(DATABASE_URL="mysql://m3w:s3cret@db/m3w")

    assert message == "DATABASE_URL: expected a URL like postgresql://user:password@host:5432/database\n"


@pytest.fixture(scope="module")
def guarded():
    """A data directory with a role that needs a password, and its socket's directory."""
    with open_temporary_directory() as directory:
        with EmbeddedPostgres(directory / "data") as server, closing(connect(server)) as connection:
            connection.run("CREATE ROLE guarded LOGIN PASSWORD 'r1ght'")
            rules = Path(connection.run("SHOW hba_file")[0][0])
            rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
        yield directory / "data", f"@/media3watch?host={directory}/data/run"


def test_a_wrong_password_is_told_at_once(guarded):
    """
    Waiting for the database would not make it right.
    """
    data_dir, address = guarded
    with EmbeddedPostgres(data_dir):
        message = refusal(DATABASE_URL=f"postgresql://guarded{address}", DATABASE_PASSWORD="wr0ng")

    assert message.endswith('password authentication failed for user "guarded" (SQLSTATE 28P01)\n')
    assert "wr0ng" not in message


def test_a_database_that_is_still_starting_is_waited_for(guarded):
    """
    With a line that says so.
    """
    data_dir, address = guarded
    with Backend((), {"DATABASE_URL": f"postgresql://m3w{address}"}) as backend:
        backend.says(f"Waiting up to 60 s for postgresql://m3w{address}: cannot connect to ")
        with EmbeddedPostgres(data_dir):
            answer = backend.until_ready().post(a_payload())
            status = backend.stop()

    assert (answer, status) == (200, 0)


def test_a_port_that_is_taken_meanwhile_is_told_too(database):
    """
    Two can have one port as long as neither listens; the one that comes second hears of it.
    """
    with socket.socket() as other, closing(connect(database)) as connection:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        # Keeps it from getting any further than to the migrations.
        connection.run(f"BEGIN; SELECT pg_advisory_xact_lock({migrations.LOCK_KEY})")
        with Backend(("--port", port), on(database)) as backend:
            backend.says("waiting for another process that is migrating this database")
            other.listen()
            connection.run("COMMIT")
            status = backend.process.wait(PATIENCE_S)
            err = backend.err

    assert status == 1
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (
        f"Error: Cannot listen on 127.0.0.1 port {port}: Address already in use."
        " Choose another with --host and --port."
    )


def test_pending_migrations_are_told_where_they_are_only_checked(database):
    """
    And nothing is changed.
    """
    message = refusal(M3W_MIGRATE="check", **on(database))
    with closing(connect(database)) as connection:
        tables = connection.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")

    assert message.startswith("The database lacks V1__create_sessions.sql, V2__")
    assert message.endswith(".sql. Run `m3w migrate` with a role that may change the schema.\n")
    assert tables == [[0]]


def test_a_database_of_a_newer_release_is_told(migrated_database):
    """
    It is not touched.
    """
    with closing(connect(migrated_database)) as connection:
        connection.run(
            "INSERT INTO m3w_migrations (version, name, checksum) VALUES (99, 'from_the_future', '')"
        )
    message = refusal(**on(migrated_database))

    assert "V99__from_the_future" in message


def test_an_unusable_data_directory_is_told():
    """
    With the option that names another.
    """
    message = refusal("--data-dir", "/dev/null/data")

    assert message == "PostgreSQL cannot use /dev/null/data: Not a directory.\n"


def test_waiting_for_a_database_can_be_stopped(nowhere_url):
    """
    By either signal, with status 0.
    """
    statuses = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with Backend((), {"DATABASE_URL": nowhere_url}) as backend:
            backend.says("Waiting up to 60 s for")
            statuses.append(backend.stop(number))

    assert statuses == [0, 0]


@pytest.fixture
def nowhere_url():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"postgresql://m3w@127.0.0.1:{reserved.getsockname()[1]}/m3w"


def test_the_development_key_on_an_open_address_is_warned_of(migrated_database):
    """
    Anyone who reaches the address could send sessions with it.
    """
    with Backend(("--host", ANYWHERE), on(migrated_database)) as backend:
        backend.until_ready()
        health = backend.get("/health")
        out = backend.out

    assert health == '{"status":"healthy"}'
    assert "WARNING: anyone who reaches this address can send sessions with the key dev-key" in out
    assert "Set M3W_API_KEY" in out
    assert 'X-API-Key: dev-key"' in out


def test_on_a_loopback_address_the_way_for_phones_is_told_instead(migrated_database):
    """
    Here by IPv6, and with a role that may not change the schema, nor has to.
    """
    variables = {"M3W_MIGRATE": "check", **on(migrated_database)}
    with Backend(("--host", "::1"), variables) as backend:
        answer = backend.until_ready().post(a_payload())
        out = backend.out

    assert answer == 200
    assert f"  Sessions   http://[::1]:{backend.url.rpartition(':')[2]}/v1/sessions" in out
    assert "--host 0.0.0.0" in out
    assert "WARNING" not in out


HOUSEKEEPING = "This process does the housekeeping: gauges, rollup, retention"


def test_a_key_of_ones_own_is_neither_warned_of_nor_shown(migrated_database):
    """
    In no line of output; those of the log are objects where LOG_FORMAT is json.
    """
    variables = {
        "LOG_FORMAT": "json",
        "M3W_API_KEY": "a-key-of-ones-own",
        "HIKARI_MAX_POOL_SIZE": "10",
        **on(migrated_database),
    }
    with Backend(("--host", ANYWHERE), variables) as backend:
        refused = backend.until_ready().post(a_payload())
        backend.says(HOUSEKEEPING)
        status = backend.stop()
        out, err = backend.out, backend.err
    lines = [json.loads(line) for line in err.splitlines()]
    messages = [re.sub(r"\d+ms", "3ms", line["message"]) for line in lines]

    assert (refused, status) == (401, 0)
    assert "WARNING" not in out
    assert 'X-API-Key: $M3W_API_KEY"' in out
    assert "a-key-of-ones-own" not in out + err
    assert [sorted(line) for line in lines] == [["level", "logger", "message", "time"]] * len(lines)
    # A worker writes its lines some at a time, and the housekeeper its own, so they stand where they may.
    messages.remove("POST /v1/sessions - 401 (3ms)")
    messages.remove(HOUSEKEEPING)
    assert messages == [
        "No effect any more, there is no connection pool: HIKARI_MAX_POOL_SIZE",
        "SIGTERM: finishing what is under way, then stopping",
        "Stopped",
    ]
