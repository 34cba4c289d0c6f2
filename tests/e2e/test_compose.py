"""
``docker compose`` as README shows it: real containers, built from a copy of the repository.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests._compose import ROOT, Stack, image_size_bytes, why_not

pytestmark = [pytest.mark.compose, pytest.mark.usefixtures("_engine")]

PAYLOADS = sorted((ROOT / "tests" / "data" / "sdk-payloads").glob("*.json"))
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")

#: An .env of the Kotlin backend, as it comes.
KOTLIN = """\
M3W_API_KEY=dev-key

POSTGRES_DB=media3watch
POSTGRES_USER=m3w
POSTGRES_PASSWORD=m3w

DATABASE_URL=jdbc:postgresql://postgres:5432/media3watch
DATABASE_USER=m3w
DATABASE_PASSWORD=m3w

PORT=8080

RATE_LIMIT_REQUESTS=100
RATE_LIMIT_WINDOW_SEC=60
RETENTION_DAYS=90
HIKARI_MAX_POOL_SIZE=20
HIKARI_MIN_IDLE=5
LOG_LEVEL=INFO
ENABLE_METRICS=true
"""

#: A password with all that .env, Compose, SQL, Grafana or a shell could take for their own.
PASSWORD = "pa$$ $HOME ${PORT} \"w\" 'x' %s %% \\e #é"


@pytest.fixture(scope="module")
def _engine() -> None:
    reason = why_not()
    if reason is None:
        return
    if os.environ.get("M3W_TEST_SERVER") == "docker":
        pytest.fail(f"M3W_TEST_SERVER asks for Docker, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def stack(_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """What the quick start gives, on other ports."""
    with Stack(tmp_path_factory.mktemp("compose") / "repository", EXAMPLE) as started:
        started.up("--build")
        yield started


def payload(session_id: str) -> bytes:
    complete = json.loads((ROOT / "tests/data/sdk-payloads/sdk-0.x-complete.json").read_bytes())
    return json.dumps(complete | {"sessionId": session_id}).encode()


def quoted(password: str) -> str:
    """Write it as .env.example says."""
    return "'" + password.replace("'", "\\'") + "'"


def with_passwords_changed(environment: str, changed: dict[str, str]) -> str:
    lines = {line.partition("=")[0]: line for line in environment.splitlines() if line[:1].isalpha()}
    assert set(changed) <= set(lines)
    new = {name: f"{name}={quoted(value)}" for name, value in changed.items()}
    return "\n".join((lines | new).values()) + "\n"


def test_the_quick_start_answers(stack: Stack) -> None:
    """
    The three lines of README, and the answer that is printed there.
    """
    assert stack.ask("/health") == (200, '{"status":"healthy"}')
    assert stack.ask("/ready") == (200, '{"status":"ready"}')


def test_sessions_of_the_sdk_outlive_the_containers(stack: Stack) -> None:
    """
    The data is in a volume: containers may be restarted, or thrown away and made anew.
    """
    answers = {path.name: stack.ask("/v1/sessions", path.read_bytes())[0] for path in PAYLOADS}
    stored = "SELECT session_id, timestamp, received_at FROM sessions ORDER BY 1"
    before = stack.sql(stored)

    stack.compose("restart")
    stack.up()
    restarted = stack.sql(stored)
    stack.compose("down")
    stack.up()

    assert answers == dict.fromkeys(answers, 200)
    assert {row.split("|")[0] for row in before} >= {
        json.loads(path.read_bytes())["sessionId"] for path in PAYLOADS
    }
    assert restarted == before
    assert stack.sql(stored) == before


def test_the_backend_is_not_root_and_writes_nowhere(stack: Stack) -> None:
    """
    Whoever gets in finds no rights, no place for a program of theirs, and no tools.
    """
    assert stack.backend("id", "-u").stdout.strip() == "10001"
    for directory in ("/", "/app", "/usr/bin", "/var"):
        refused = stack.backend("touch", f"{directory}/x", check=False)
        assert "Read-only file system" in refused.stderr, directory
    assert stack.backend("sh", "-c", "command -v cc gcc curl wget", check=False).stdout == ""
    status = stack.backend("cat", "/proc/1/status").stdout
    assert re.search(r"(?m)^CapBnd:\s+0+$", status)
    assert re.search(r"(?m)^NoNewPrivs:\s+1$", status)
    assert stack.state("backend")["HostConfig"]["ReadonlyRootfs"] is True


def test_the_image_adds_little_to_python(stack: Stack) -> None:
    """
    On the real python:3.13-slim, of about 130 MB, it stays under 200 MB.
    """
    added = image_size_bytes(stack.state("backend")["Image"]) - image_size_bytes("python:3.13-slim")

    assert added < 60_000_000


def test_other_commands_run_in_the_same_image(stack: Stack) -> None:
    """
    As README shows it.
    """
    status = stack.compose("run", "--rm", "backend", "m3w", "migrate", "--status").stdout

    assert re.search(r"(?m)^V1 +create_sessions +applied ", status)


def test_sigterm_loses_nothing_that_was_acknowledged(stack: Stack) -> None:
    """
    The container stops within 10 s, of itself, with every acknowledged session in the database.
    """
    acknowledged: list[str] = []

    def post(thread: int) -> None:
        number = 0
        while True:
            session_id = f"sigterm-{thread}-{number}"
            try:
                status, _ = stack.ask("/v1/sessions", payload(session_id))
            except (OSError, http.client.HTTPException):
                return
            if status == 200:
                acknowledged.append(session_id)
            number += 1

    threads = [threading.Thread(target=post, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(acknowledged) < 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    stack.compose("stop", "backend")
    stopped_after_s = time.monotonic() - began
    for thread in threads:
        thread.join()
    exit_code = stack.state("backend")["State"]["ExitCode"]
    stored = set(stack.sql("SELECT session_id FROM sessions WHERE session_id LIKE 'sigterm-%'"))
    stack.up()

    assert len(acknowledged) >= 200
    assert set(acknowledged) <= stored
    assert exit_code == 0
    assert stopped_after_s < 10


@pytest.mark.parametrize(
    "variable",
    [
        "POSTGRES_DB",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "DATABASE_URL",
        "DATABASE_USER",
        "DATABASE_PASSWORD",
    ],
)
def test_a_missing_variable_stops_compose(stack: Stack, tmp_path: Path, variable: str) -> None:
    """
    The message says which it is, and where to set it.
    """
    incomplete = tmp_path / "incomplete.env"
    incomplete.write_text(re.sub(rf"(?m)^{variable}=.*\n", "", KOTLIN))

    refused = stack.compose("--env-file", str(incomplete), "up", "--no-start", check=False)

    assert refused.returncode != 0
    assert f"required variable {variable} is missing a value" in refused.stderr
    assert ".env, see .env.example" in refused.stderr


@pytest.mark.parametrize(
    ("environment", "changed", "grafana_password"),
    [
        pytest.param(
            EXAMPLE,
            {"POSTGRES_PASSWORD": PASSWORD, "GRAFANA_DB_PASSWORD": f"2nd {PASSWORD}", "M3W_API_KEY": "k$e'y"},
            f"2nd {PASSWORD}",
            id="env-example",
        ),
        pytest.param(
            KOTLIN,
            {"POSTGRES_PASSWORD": PASSWORD, "DATABASE_PASSWORD": PASSWORD, "M3W_API_KEY": "k$e'y"},
            PASSWORD,
            id="env-of-the-kotlin-backend",
        ),
    ],
)
def test_passwords_changed_before_the_first_start_count(
    tmp_path: Path, environment: str, changed: dict[str, str], grafana_password: str
) -> None:
    """
    They stand in .env only, work with every character, and show up in no log; `down -v` leaves nothing.
    """
    with Stack(tmp_path / "repository", with_passwords_changed(environment, changed)) as stack:
        stack.up("--build")
        ready = stack.ask("/ready")
        new_key = stack.ask("/v1/sessions", payload("s-1"), key="k$e'y")
        old_key = stack.ask("/v1/sessions", payload("s-1"))
        owner = stack.sql("SELECT count(*) FROM sessions", "m3w", PASSWORD)
        grafana = stack.sql("SELECT count(*) FROM sessions", "m3w_grafana", grafana_password)
        with pytest.raises(AssertionError, match="cannot execute DELETE in a read-only transaction"):
            stack.sql("DELETE FROM sessions", "m3w_grafana", grafana_password)
        logs = stack.compose("logs").stdout
        stack.compose("down", "-v")
        remains = stack.remains()

    assert ready[0] == 200
    assert new_key == (200, '{"status":"success","sessionId":"s-1"}')
    assert old_key[0] == 401
    assert owner == ["1"]
    assert grafana == ["1"]
    assert not [secret for secret in (*changed.values(), "pa$$") if secret in logs]
    assert remains == []
