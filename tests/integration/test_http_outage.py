"""
What a client hears when the fault is not its own: 503 while the database is away, 500 for a bug.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import closing

import pytest

from m3w_core import GroupCommitWriter, PostgresSessionRepository, Settings
from m3w_http.app import create_app
from m3w_http.metrics import Metrics
from m3w_http.readiness import Readiness
from tests._client import HEADERS, Client, error_of
from tests._databases import connect
from tests.factories import a_payload
from tests.fakes import FakeSessionRepository

UNAVAILABLE = {"code": "DATABASE_ERROR", "message": "Temporary storage issue"}


def a_client(repository, database, **limits):
    """Run the application on a repository of the test's choice."""
    metrics = Metrics()
    writer = GroupCommitWriter([repository], observer=metrics, **limits)
    return Client(create_app(Settings(), writer=writer, readiness=Readiness(database), metrics=metrics))


def test_a_summary_that_the_database_does_not_take_is_503(nowhere):
    """
    It is tried for as long as a client waits, and ``Retry-After`` says when to come again.
    """
    with a_client(PostgresSessionRepository(nowhere), nowhere, patience_s=0.2) as client:
        result = client.post(a_payload())

    assert error_of(result, 503) == UNAVAILABLE
    assert int(result.headers["retry-after"]) > 0


def test_what_does_not_fit_into_the_queue_is_503_at_once(nowhere):
    """
    Memory stays bounded in an outage: nothing waits that cannot.
    """
    with a_client(PostgresSessionRepository(nowhere), nowhere, max_waiting_bytes=1000) as client:
        started = time.monotonic()
        result = client.post(a_payload())
        seconds = time.monotonic() - started

    assert error_of(result, 503) == UNAVAILABLE
    assert seconds < 2


def test_a_summary_that_the_database_refuses_fails_alone(emptied_database):
    """
    It is a 400, as trying again cannot help; those in the same batch are stored.
    """
    with closing(connect(emptied_database)) as connection:
        connection.run("ALTER TABLE sessions ADD CONSTRAINT not_seven CHECK (session_duration_ms <> 7)")

    async def post_all():
        payloads = [a_payload(sessionId=f"s-{n}", sessionDurationMs=7 if n == 31 else 8) for n in range(50)]
        posts = (client.send("POST", "/v1/sessions", headers=HEADERS, json=each) for each in payloads)
        return await asyncio.gather(*posts)

    try:
        with a_client(PostgresSessionRepository(emptied_database), emptied_database) as client:
            results = client.run(post_all())
        with closing(connect(emptied_database)) as connection:
            stored = {row[0] for row in connection.run("SELECT session_id FROM sessions")}
    finally:
        with closing(connect(emptied_database)) as connection:
            connection.run("ALTER TABLE sessions DROP CONSTRAINT not_seven")

    assert error_of(results.pop(31), 400) == {
        "code": "INVALID_SCHEMA",
        "message": "The database refuses what this session holds",
    }
    assert [result.status_code for result in results] == [200] * 49
    assert stored == {f"s-{n}" for n in range(50) if n != 31}


def failing(_):
    raise RuntimeError("the inside: table sessions, line 7")


def test_a_bug_is_500_and_tells_nothing_of_the_inside(nowhere, caplog):
    """
    The log has the exception, the answer has not.
    """
    with a_client(FakeSessionRepository(before_upsert=failing), nowhere) as client:
        result = client.post(a_payload())

    assert error_of(result, 500) == {"code": "INTERNAL_ERROR", "message": "Unexpected server error"}
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert errors
    assert all("RuntimeError: the inside" in str(record.exc_text) for record in errors)


def test_service_goes_on_after_a_bug(nowhere):
    """
    The next summary is stored as if nothing had happened.
    """
    errors = [RuntimeError("a bug")]

    def fail_once(_):
        if errors:
            raise errors.pop()

    repository = FakeSessionRepository(before_upsert=fail_once)
    with a_client(repository, nowhere) as client:
        first, second = client.post(a_payload()), client.post(a_payload())

    assert (first.status_code, second.status_code) == (500, 200)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_bug_outside_of_storage_is_500_too(nowhere, method):
    """
    Every route is answered from the same place.
    """

    class Broken(Readiness):
        async def check(self):
            raise KeyError("the inside")

    metrics = Metrics()
    writer = GroupCommitWriter([FakeSessionRepository()], observer=metrics)
    app = create_app(Settings(), writer=writer, readiness=Broken(nowhere), metrics=metrics)
    with Client(app) as client:
        result = client.request(method, "/ready")

    assert result.status_code == 500
    assert b"inside" not in result.content


def test_what_was_accepted_is_written_before_the_application_ends(nowhere):
    """
    A request under way when the server is told to stop gets its answer, after the commit as always.
    """
    deadline = time.monotonic() + 10

    def until_closing(_):
        while not writer._closing and time.monotonic() < deadline:
            time.sleep(0.001)

    repository = FakeSessionRepository(before_upsert=until_closing)
    writer = GroupCommitWriter([repository])
    app = create_app(Settings(), writer=writer, readiness=Readiness(nowhere), metrics=Metrics())

    async def begin():
        post = asyncio.create_task(client.send("POST", "/v1/sessions", headers=HEADERS, json=a_payload()))
        while not writer.waiting:
            await asyncio.sleep(0)
        return post

    with Client(app) as client:
        post = client.run(begin())
        answered_before = post.done()

    assert not answered_before
    assert post.result().status_code == 200
    assert len(repository.batches) == 1
    assert repository.closed == 1
