"""
The housekeeper beside the workers: what `/metrics` says of it, who does the work, and that no end of it hurts.
"""

from __future__ import annotations

import math
import time
from contextlib import closing

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from m3w_core import PostgresSessionRepository
from m3w_http.housekeeper import PROCESS_NAME
from tests._databases import connect
from tests._serve import PATIENCE_S, Backend, on, until
from tests.factories import TIMESTAMP_MS, a_session, an_entry

ENDED = {"startup_time_ms": 2000, "play_time_ms": 8000, "rebuffer_time_ms": 1000, "rebuffer_ratio": 0.1}
# Neither startup nor play time.
LEFT: dict[str, int] = {}


def values(backend):
    """Give every sample of the housekeeper, by its name and the value of its label."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(backend.get("/metrics"))
        for sample in family.samples
        if sample.name.startswith(("m3w_qoe", "m3w_housekeeping", "m3w_retention"))
    }


def housekeeper(backend):
    (found,) = [child for child in backend.children() if child.name() == PROCESS_NAME]
    return found


def leading(backend):
    """Wait until it leads and has done everything once."""

    def did_everything():
        now = values(backend)
        times = [now.get(f"m3w_housekeeping_last_success_timestamp_seconds {task}") for task in TASKS]
        return now if all(moment and moment > 0 for moment in times) else None

    return until(did_everything, "the housekeeping")


TASKS = ("leadership", "rollup", "gauges", "retention")


@pytest.fixture
def filled_database(migrated_database):
    """Ten sessions of this hour: four failed, two left; and an old one with two entries of its timeline."""
    sessions = [
        a_session(f"s-{number}", **(LEFT if number < 2 else ENDED), error_count=1 if number > 5 else 0)
        for number in range(10)
    ]
    old = [an_entry(TIMESTAMP_MS), an_entry(TIMESTAMP_MS + 1)]
    with (
        closing(PostgresSessionRepository(migrated_database)) as repository,
        closing(connect(migrated_database)) as connection,
    ):
        repository.upsert([*sessions, a_session("old", timeline_events=tuple(old))])
        connection.run("UPDATE sessions SET received_at = now() - interval '10 minutes'")
        connection.run("UPDATE sessions SET event_at = received_at")
        connection.run("UPDATE sessions SET event_at = now() - interval '91 days' WHERE session_id = 'old'")
    return migrated_database


def test_one_backend_of_two_does_the_housekeeping_and_the_other_takes_over(filled_database):
    """
    Only the one that computes them shows numbers; retention has run; nobody shows the numbers of another time.
    """
    with Backend((), on(filled_database)) as first:
        found = leading(first.until_ready())
        with Backend((), on(filled_database)) as second:
            second.until_ready()
            until(lambda: values(second).keys() == found.keys(), "the other's metrics")
            other = values(second)
            status = first.stop()
            after = leading(second)

    assert {name: value for name, value in found.items() if "timestamp" not in name} == {
        "m3w_qoe_sessions": 10,
        "m3w_qoe_rebuffer_ratio": pytest.approx(0.1),
        "m3w_qoe_playback_failure_ratio": 0.4,
        "m3w_qoe_exit_before_video_start_ratio": 0.2,
        "m3w_qoe_startup_p95_seconds": pytest.approx(2, rel=0.05),
        "m3w_housekeeping_leader": 1,
        "m3w_housekeeping_failures_total leadership": 0,
        "m3w_housekeeping_failures_total rollup": 0,
        "m3w_housekeeping_failures_total gauges": 0,
        "m3w_housekeeping_failures_total retention": 0,
        "m3w_retention_deleted_rows_total sessions": 1,
        "m3w_retention_deleted_rows_total session_timeline": 2,
        "m3w_retention_deleted_rows_total rejected_payloads": 0,
        "m3w_retention_deleted_rows_total qoe_hourly": 2,
    }
    assert time.time() - found["m3w_housekeeping_last_success_timestamp_seconds gauges"] < PATIENCE_S
    assert other["m3w_housekeeping_leader"] == 0
    assert all(math.isnan(value) for name, value in other.items() if name.startswith("m3w_qoe"))
    assert status == 0
    assert after["m3w_housekeeping_leader"] == 1
    assert after["m3w_qoe_sessions"] == 10


def test_a_housekeeper_that_is_killed_is_replaced(filled_database):
    """
    What it counted stays, its numbers go with it, and it is no worker that died.
    """
    with Backend((), on(filled_database)) as backend:
        leading(backend.until_ready())
        victim = housekeeper(backend)
        victim.kill()
        until(lambda: f"Housekeeper {victim.pid} ended with status -9" in backend.err, "the log line")
        until(lambda: not psutil.pid_exists(victim.pid), "its end")
        after = leading(backend)
        newcomer = housekeeper(backend)
        restarts = backend.metrics()["m3w_worker_restarts_total"]
        status = backend.stop()
        left = backend.left_over()

    assert newcomer != victim
    assert after["m3w_retention_deleted_rows_total sessions"] == 1
    assert restarts == 0
    assert (status, left) == (0, [])


def test_it_stops_at_once_in_the_middle_of_a_task(filled_database):
    """
    SIGTERM does not wait for the database.
    """
    with closing(connect(filled_database)) as blocker, Backend((), on(filled_database)) as backend:
        blocker.run("BEGIN; LOCK TABLE qoe_rollup_state IN ACCESS EXCLUSIVE MODE")
        backend.until_ready()
        until(lambda: blocker.run("SELECT 1 FROM pg_locks WHERE NOT granted"), "the task to wait")
        process = housekeeper(backend)
        started = time.monotonic()
        status = backend.stop()
        seconds = time.monotonic() - started
        err = backend.err

    assert not process.is_running()
    assert status == 0
    assert seconds < 10
    assert "is killed" not in err
    assert "Traceback" not in err
