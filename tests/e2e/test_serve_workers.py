"""
Several workers behind one port: they count together, are replaced when they die, and finish what they began.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

import psutil
import pytest

from tests._databases import connect, new_database
from tests._serve import PATIENCE_S, Backend, environment, on, until
from tests.factories import a_payload


@contextmanager
def only(backend, worker):
    """Let one worker alone take connections: the others are suspended."""
    others = [other for other in backend.workers if other != worker]
    try:
        for other in others:
            with suppress(psutil.NoSuchProcess):
                other.suspend()
        yield
    finally:
        for other in others:
            with suppress(psutil.NoSuchProcess):
                other.resume()


def stored_ids(database):
    with closing(connect(database)) as connection:
        return {row[0] for row in connection.run("SELECT session_id FROM sessions")}


@pytest.fixture(scope="module")
def running_backend(server, _migrated_template):
    with (
        new_database(server, template=_migrated_template.database) as database,
        Backend(("--workers", 2), on(database)) as backend,
    ):
        yield backend.until_ready()


def test_a_request_that_trickles_is_cut_off(running_backend):
    """
    A worker looks at the clock by itself; what a connection may cost is in tests/integration/test_protocol_limits.py.
    """
    address = urlsplit(running_backend.url)
    with closing(socket.create_connection((address.hostname, address.port), PATIENCE_S)) as slow:
        slow.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n")
        answer = slow.recv(4096)

    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.fixture
def own_backend(migrated_database):
    with Backend(("--workers", 2), on(migrated_database)) as backend:
        yield backend.until_ready()


def test_metrics_are_the_sum_over_all_workers(running_backend):
    """
    Whichever worker is scraped, and no label tells them apart.
    """
    backend = running_backend
    first, second = backend.workers
    before = backend.metrics()
    for worker, posts in ((first, 3), (second, 2)):
        with only(backend, worker):
            for n in range(posts):
                assert backend.post(a_payload(sessionId=f"{worker.pid}-{n}")) == 200
    # What one of them has counted, the other can tell within a second.
    until(
        lambda: backend.metrics()["sessions_ingested_total"] == before["sessions_ingested_total"] + 5,
        "5 sessions",
    )
    values = []
    for worker in (first, second):
        with only(backend, worker):
            values.append(backend.metrics())
            text = backend.get("/metrics")
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}

    for after in values:
        assert after["sessions_ingested_total"] - before["sessions_ingested_total"] == 5
        assert after["m3w_batch_sessions_sum"] - before["m3w_batch_sessions_sum"] == 5
        assert after["m3w_workers"] == 2
    assert "pid=" not in text
    assert {name for name in names if not name.startswith("m3w_")} == {
        "sessions_ingested_total",
        "sessions_failed_total",
    }


def test_a_killed_worker_is_replaced_and_what_it_counted_stays(running_backend):
    """
    Counters never go back; what it was at that moment goes with it.
    """
    backend = running_backend
    victim, survivor = backend.workers
    with only(backend, victim):
        assert backend.post(a_payload()) == 200
    before = backend.metrics()
    counts = []
    victim.kill()

    def replaced():
        with only(backend, survivor):
            counts.append(backend.metrics()["sessions_ingested_total"])
        return len(workers := backend.workers) == 2 and victim not in workers

    until(replaced, "another worker")
    (newcomer,) = [worker for worker in backend.workers if worker != survivor]
    with only(backend, newcomer):
        answer = backend.post(a_payload())
        after = backend.metrics()

    assert answer == 200
    assert set(counts) == {before["sessions_ingested_total"]}
    assert after["sessions_ingested_total"] == before["sessions_ingested_total"] + 1
    assert (before["m3w_workers"], after["m3w_workers"]) == (2, 2)
    assert after["m3w_worker_restarts_total"] == before["m3w_worker_restarts_total"] + 1
    assert f"Worker {victim.pid} ended with status -9" in backend.err


def test_bodies_on_the_wire(running_backend):
    """
    What a client may do that Falcon's does not: chunks, a body that is far too long, no HTTP at all.
    """
    backend = running_backend

    def answer(**request):
        with closing(backend.connect()) as connection:
            headers = {"X-API-Key": "dev-key", "Content-Type": "application/json"}
            connection.request("POST", "/v1/sessions", headers=headers, **request)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    body = json.dumps(a_payload()).encode()
    chunked = answer(body=iter([body[:9], body[9:]]), encode_chunked=True)
    long_chunked = answer(body=iter([b"x" * 65536] * 17), encode_chunked=True)
    long = answer(body=b"x" * 5_000_000)
    with closing(backend.connect()) as connection:
        connection.connect()
        connection.sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        garbage = connection.sock.recv(100)
    again = answer(body=body)

    assert chunked == (200, {"status": "success", "sessionId": a_payload()["sessionId"]})
    assert [status for status, _ in (long_chunked, long)] == [413, 413]
    assert long[1]["error"]["code"] == "PAYLOAD_TOO_LARGE"
    assert garbage.startswith(b"HTTP/1.1 400 ")
    assert again[0] == 200


def test_nothing_outlives_a_parent_that_is_killed(own_backend):
    """
    The workers and the housekeeper notice, finish, and free the port.
    """
    workers = own_backend.workers
    processes = own_backend.children()
    own_backend.process.kill()
    own_backend.process.wait()

    assert (len(workers), len(processes)) == (2, 3)
    assert own_backend.left_over(PATIENCE_S) == []
    with pytest.raises(ConnectionRefusedError):
        own_backend.get("/health")


def test_what_is_under_way_is_finished_when_it_stops(own_backend, migrated_database):
    """
    A request that waits for the database when SIGTERM comes is stored and answered; who comes later is refused.
    """

    def refused():
        try:
            own_backend.get("/health")
        except ConnectionRefusedError:
            return True
        except (OSError, http.client.HTTPException):
            pass
        return False

    with closing(connect(migrated_database)) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.run("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
        answer = pool.submit(own_backend.post, a_payload(sessionId="under way"))
        # The housekeeper may wait too, but only to read.
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'RowExclusiveLock'"
        until(lambda: blocker.run(waiting), "the request to wait")
        own_backend.children()
        own_backend.process.terminate()
        until(refused, "the port to be closed", patience_s=4)
        answered_before = answer.done()
        blocker.run("COMMIT")
        status = answer.result(PATIENCE_S)

    assert not answered_before
    assert status == 200
    assert own_backend.process.wait(PATIENCE_S) == 0
    assert own_backend.left_over() == []
    assert stored_ids(migrated_database) == {"under way"}


def test_a_stop_under_load_loses_nothing_that_was_acknowledged(own_backend, migrated_database):
    """
    Clients see answers or broken connections, and every 200 is a row.
    """
    acknowledged, others = [], []
    enough = threading.Event()

    def post_until_it_breaks(client):
        with closing(own_backend.connect()) as connection:
            for n in range(100_000):
                session_id = f"{client}-{n}"
                try:
                    status = own_backend.post(a_payload(sessionId=session_id), connection)
                except (OSError, http.client.HTTPException):
                    return
                if status == 200:
                    acknowledged.append(session_id)
                else:
                    others.append(status)
                if len(acknowledged) > 300:
                    enough.set()

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(post_until_it_breaks, client) for client in range(8)]
        assert enough.wait(PATIENCE_S)
        status = own_backend.stop()
        for client in clients:
            client.result(PATIENCE_S)

    assert status == 0
    assert own_backend.left_over() == []
    assert others == []
    assert len(acknowledged) > 300
    assert set(acknowledged) <= stored_ids(migrated_database)


def test_two_that_start_at_once_on_an_empty_database_both_come_up(database):
    """
    One of them migrates, the other waits for it.
    """
    with Backend((), on(database)) as one, Backend((), on(database)) as other:
        answers = [backend.until_ready().post(a_payload()) for backend in (one, other)]
        applied = [backend.err.count("applied V1__create_sessions.sql") for backend in (one, other)]

    assert answers == [200, 200]
    assert sorted(applied) == [0, 1]


A_WORKER_THAT_FAILS = """
from m3w_http.supervisor import Supervisor, WorkerFailedError

def work(lifeline, ready):
    print("started", flush=True)
    raise SystemExit(3)

def nothing(*_):
    pass

supervisor = Supervisor(1, work, watch=nothing, replaced=nothing, stopping=nothing)
try:
    supervisor.run(on_ready=lambda: print("ready"))
except WorkerFailedError as error:
    print(error)
"""


def test_a_worker_that_cannot_start_ends_the_start():
    """
    It is not tried again and again.
    """
    done = subprocess.run(
        [sys.executable, "-c", A_WORKER_THAT_FAILS],
        env=environment(),
        capture_output=True,
        check=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.stdout == "started\na worker ended before it served; see the lines above\n"
