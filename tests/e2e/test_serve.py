"""
``m3w serve`` with nothing but itself: it brings its PostgreSQL along, and leaves nothing but the data behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from m3w_http.embedded import running
from tests._client import sdk_payload
from tests._databases import open_temporary_directory
from tests._serve import PATIENCE_S, Backend, Running, m3w, until
from tests.factories import a_payload

SESSION_ID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture(scope="module")
def data_dir():
    """The data directory of all these tests, which run one after the other."""
    with open_temporary_directory() as directory:
        yield directory / "data"


def show(data_dir, session_id=SESSION_ID):
    """Ask the running server's database for a session."""
    done = m3w("sessions", "show", session_id, "--json", "--data-dir", data_dir)
    return json.loads(done.stdout) if done.returncode == 0 else None


def postmaster_pid(data_dir):
    return int((data_dir / "postgresql-16" / "postmaster.pid").read_text().split()[0])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl to paste into")
def test_the_printed_curl_line_works_as_pasted(data_dir):
    """
    The very first thing that a user does; the answer is the one in README.
    """
    with Backend(("--data-dir", data_dir)) as backend:
        backend.until_ready()
        pasted = backend.out[backend.out.index("  curl ") :]
        done = subprocess.run(["bash", "-c", pasted], capture_output=True, check=True, text=True)
        stored = show(data_dir)

    assert done.stdout == f'{{"status":"success","sessionId":"{SESSION_ID}"}}'
    assert stored["startupTimeMs"] == 450


def test_it_says_where_its_data_lies_and_keeps_others_from_it(data_dir):
    """
    A second one on the same data is told which process has it, and disturbs nothing.
    """
    with Backend(("--data-dir", data_dir)) as backend:
        backend.until_ready()
        second = m3w("serve", "--port", 0, "--data-dir", data_dir)
        answer = backend.post(a_payload(sessionId="before"))
        out, pid = backend.out, backend.process.pid

    assert f"  Data       {data_dir} (PostgreSQL 16)" in out
    assert second.returncode == 1
    assert second.stderr == (
        f"Error: {data_dir} is already in use by process {pid}."
        " Stop that one first, or give another directory with --data-dir.\n"
    )
    assert answer == 200


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_it_stops_cleanly_and_finds_its_data_again(data_dir, how):
    """
    Status 0, no process left behind, PostgreSQL's among them; and the next start has what was stored.
    """
    payload = json.loads(sdk_payload("sdk-1.x-first-report")) | {"sessionId": how}
    with Backend(("--data-dir", data_dir, "--workers", 2)) as backend:
        backend.until_ready()
        stored = backend.post(payload)
        postmaster = postmaster_pid(data_dir)
        children = {child.pid for child in backend.children()}
        if how == "Ctrl-C":
            # The terminal sends it to every process that was started from it.
            os.killpg(backend.process.pid, signal.SIGINT)
            status = backend.process.wait(PATIENCE_S)
        else:
            status = backend.stop(signal.SIGTERM)
        left = backend.left_over()
        err = backend.err
    with Backend(("--data-dir", data_dir)) as backend:
        backend.until_ready()
        found = show(data_dir, how)

    assert (stored, status, left) == (200, 0, [])
    assert children > {postmaster}
    assert "Traceback" not in err
    assert err.splitlines()[-1].endswith("Stopped")
    assert found["deviceModel"] == "Pixel 8"
    assert len(found["timelineEvents"]) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["making its data", "starting workers"])
def test_it_stops_cleanly_before_it_serves(data_dir, number, moment):
    """
    Whatever it is doing when all its processes get the signal: status 0, at once, and nothing goes on running.
    """
    directory = data_dir.with_name(f"stopped-{number}") if moment == "making its data" else data_dir
    with Backend(("--data-dir", directory, "--workers", 2)) as backend:
        if moment == "making its data":
            until(lambda: list(directory.glob("postgresql-16*")), "the directory of the data")
        else:
            until(lambda: backend.workers, "the first worker")
        backend.children()
        started = time.monotonic()
        os.killpg(backend.process.pid, number)
        status = backend.process.wait(PATIENCE_S)
        seconds = time.monotonic() - started
        left = backend.left_over()
        said = backend.out + backend.err

    assert (status, left) == (0, [])
    assert "Traceback" not in said
    assert "is killed" not in said
    assert seconds < 10


def test_nothing_outlives_a_parent_that_is_killed(data_dir):
    """
    SIGKILL of the parent ends the worker and PostgreSQL, and the next start works at once.
    """
    with Backend(("--data-dir", data_dir)) as backend:
        backend.until_ready()
        children = backend.children()
        backend.process.kill()
        backend.process.wait()
        with Backend(("--data-dir", data_dir)) as next_one:
            answer = next_one.until_ready().post(a_payload())
        left = backend.left_over(PATIENCE_S)

    assert len(children) > 2
    assert left == []
    assert answer == 200


def test_its_postgresql_is_started_again_when_it_is_killed(data_dir):
    """
    A request that comes meanwhile waits and is stored: the outage costs none.
    """
    with Backend(("--data-dir", data_dir)) as backend:
        backend.until_ready()
        before = backend.post(a_payload(sessionId="before"))
        backend.children()
        psutil.Process(postmaster_pid(data_dir)).kill()
        meanwhile = backend.post(a_payload(sessionId="meanwhile"))
        restarted = until(lambda: running(data_dir), "PostgreSQL")
        found = show(data_dir, "meanwhile")
        ready = until(lambda: "ready" in json.loads(backend.get("/ready")).values(), "readiness")
        status = backend.stop()
        left = backend.left_over()
        err = backend.err

    assert (before, meanwhile) == (200, 200)
    assert restarted is not None
    assert found["sessionId"] == "meanwhile"
    assert ready
    assert "The embedded PostgreSQL ended by itself; starting it again" in err
    assert (status, left) == (0, [])


def test_commands_work_on_data_that_no_server_uses(data_dir):
    """
    They start the database for themselves, and stop it.
    """
    with Running(("sessions", "tail", "--no-follow", "--data-dir", data_dir)) as tail:
        status = tail.process.wait(PATIENCE_S)
        out = tail.out

    assert status == 0
    assert re.search(r"^\d\d:\d\d:\d\d  before  startup 450 ms", out, re.MULTILINE)
    assert running(data_dir) is None
