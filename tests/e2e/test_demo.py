"""
``m3w demo`` against a backend that runs: what it posts, how it takes it away again, and what it says where it cannot.
"""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from m3w_core import rollup
from m3w_http.demo.sender import DemoError, Sender
from tests._databases import connect
from tests._serve import Backend, m3w, on
from tests.factories import a_payload, an_entry_payload

COUNTS = """
SELECT count(*), count(*) FILTER (WHERE extra @> '{"m3wDemo": true}'), count(DISTINCT device_model) > 15,
    min(event_at) < now() - interval '36 hours', max(event_at) > now() - interval '10 minutes'
FROM sessions
"""

SUMMED_UP = """
SELECT value FROM qoe_totals(now() - interval '3 days', now() + interval '1 hour') WHERE metric = 'sessions'
"""


@pytest.fixture
def backend(migrated_database):
    # A limit that the demo runs into, so that it has to wait.
    limited = {"RATE_LIMIT_REQUESTS": "3", "RATE_LIMIT_WINDOW_SEC": "3"}
    with Backend((), on(migrated_database) | limited) as backend:
        yield backend.until_ready()


@pytest.fixture
def sql(migrated_database):
    with closing(connect(migrated_database)) as connection:
        yield connection.run


def test_sessions_come_and_go_by_the_commands(backend, migrated_database, sql):
    """
    What is posted can be told from an app's own sessions, and goes without them, from the rollup too.
    """
    own = a_payload(sessionId="own", timelineEvents=[an_entry_payload()], m3wDemo="yes")
    assert backend.post(own) == 200

    posted = m3w("demo", "--sessions", 900, "--days", 2, "--url", f"{backend.url}/v1/sessions/")
    (counts,) = sql(COUNTS)
    # As if it had been an hour ago: the rollup has got to them.
    sql("UPDATE sessions SET received_at = received_at - interval '1 hour'")
    with closing(connect(migrated_database)) as connection:
        rollup.rebuild(connection)
    before, *_ = sql(SUMMED_UP)
    removed = m3w("demo", "--remove", **on(migrated_database))
    again = m3w("demo", "--remove", **on(migrated_database))

    assert (posted.returncode, posted.stderr) == (0, "")
    assert posted.stdout.startswith("Posted 900 sessions of the last 2 days in ")
    assert counts == [901, 900, True, True, True]
    assert before == [901]
    assert (removed.returncode, removed.stderr) == (0, "")
    assert removed.stdout.startswith("Deleted 900 sessions of the demo with ")
    assert again.stdout == "Deleted 0 sessions of the demo with 0 timeline entries.\n"
    assert sql("SELECT session_id FROM sessions") == [["own"]]
    assert sql("SELECT DISTINCT session_id FROM session_timeline") == [["own"]]
    assert sql(SUMMED_UP) == [[1]]


def test_what_goes_wrong_is_said_with_what_to_do(backend):
    """
    Another key, another address, another release.
    """
    wrong_key = m3w("demo", "--url", backend.url, M3W_API_KEY="s3cret")
    no_such_path = m3w("demo", "--url", f"{backend.url}/elsewhere")
    with pytest.raises(DemoError) as refused:
        Sender(backend.url, "dev-key").send([a_payload(), a_payload(timestamp=-1)])

    assert (wrong_key.returncode, wrong_key.stdout) == (1, "")
    assert wrong_key.stderr == (
        f"Error: The backend at {backend.url} does not know this API key. Set M3W_API_KEY to one of its keys.\n"
    )
    assert no_such_path.stderr.startswith(
        f"Error: {backend.url}/elsewhere/v1/sessions/batch answers with status 404: "
    )
    assert no_such_path.stderr.endswith(" Is --url the address of a Media3Watch backend?\n")
    assert str(refused.value) == (
        f"The backend at {backend.url} refused 1 of 2 sessions: Invalid value for timestamp: must be positive."
        " Is it of another release than this command?"
    )
    assert "dev-key" not in repr(Sender(backend.url, "dev-key"))


def test_a_backend_that_is_not_there_is_said_so():
    """
    With the way to start one, by the port of the settings where no address is given.
    """
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        done = m3w("demo", PORT=str(port))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: There is no answer from http://127.0.0.1:{port}: ")
    assert done.stderr.endswith(" Start the backend with `m3w serve`, or name another with --url.\n")


def test_an_address_that_is_none_is_refused_before_anything_is_made():
    """
    As in the other commands.
    """
    done = m3w("demo", "--url", "localhost:8080")

    assert done.returncode == 2
    assert done.stderr.endswith("Invalid value for --url: expected http://… or https://…\n")
