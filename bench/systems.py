"""
The contestants: how each is started, and what it needs that may not be there.

All serve on 127.0.0.1, know the same API key and reach the same database. None writes a log line a request but ours,
which runs as ``m3w serve`` does by default.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen

from bench import processes
from bench.database import Database
from bench.load import API_KEY
from bench.processes import BenchError, wait_until

PEERS = Path(__file__).parent / "peers"

#: Two processes, as there are two CPUs in the machine that the targets are for.
PEER_WORKERS = 2

_START_TIMEOUT_S = 60.0

# A server has come up when its processes have nothing to do any more.
_IDLE_S = 0.15

_GO_LIBRARIES = Path("/usr/share/gocode")
_PGX = _GO_LIBRARIES / "src/github.com/jackc/pgx/v4"


@frozen(kw_only=True)
class System:
    """
    One contestant.

    Args:
        name: Short, without spaces.
        description: What it is.
        command: Makes its command line, of the port and the run's directory.
        prepare: Installs or builds what it needs into the run's directory; says what is missing, or None.
        environment: Beside the API key and where the database is.
        warm_up_s: How long it is loaded before it is measured.
    """

    name: str
    description: str
    command: Callable[[int, Path], list[str]]
    prepare: Callable[[Path], str | None] = lambda _: None
    environment: Mapping[str, str] = field(factory=dict)
    warm_up_s: int = 1


def _ours(workers: int) -> System:
    return System(
        name=f"m3w-{workers}",
        description=f"this backend, {workers} worker{'s' if workers > 1 else ''}",
        command=lambda port, _: [
            str(Path(sys.executable).with_name("m3w")),
            "serve",
            f"--port={port}",
            f"--workers={workers}",
        ],
    )


def _uvicorn(application: str) -> Callable[[int, Path], list[str]]:
    return lambda port, _: [
        sys.executable,
        "-m",
        "uvicorn",
        f"bench.peers.{application}:app",
        f"--port={port}",
        f"--workers={PEER_WORKERS}",
        "--loop=uvloop",
        "--http=httptools",
        "--no-access-log",
        "--log-level=warning",
    ]


def _prepare_fastify(_: Path) -> str | None:
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} not there"
    directory = PEERS / "fastify"
    installed = directory / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime > (directory / "package.json").stat().st_mtime:
        return None
    options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    return _build(["npm", "install", *options], directory, {})


def _prepare_go(run_dir: Path) -> str | None:
    if shutil.which("go") is None:
        return "go not there; on Debian: apt install golang"
    if not _PGX.exists():
        return "pgx not there; on Debian: apt install golang-github-jackc-pgx-v4-dev"
    environment = {"GO111MODULE": "off", "GOPATH": str(_GO_LIBRARIES), "GOFLAGS": ""}
    return _build(["go", "build", "-o", str(run_dir / "go-pgx"), "main.go"], PEERS / "go", environment)


def _build(command: list[str], directory: Path, environment: dict[str, str]) -> str | None:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, **environment},
        timeout=600,
    )
    if done.returncode == 0:
        return None
    words = f"{done.stdout}{done.stderr}".strip().splitlines()
    return f"{' '.join(command[:2])} failed: {words[-1] if words else f'status {done.returncode}'}"


SYSTEMS = (
    _ours(1),
    _ours(2),
    System(
        name="falcon-threads",
        description="Falcon, pg8000 row by row in a thread pool, 2 workers",
        command=_uvicorn("falcon_threads"),
    ),
    System(
        name="fastapi-asyncpg",
        description="FastAPI, asyncpg pool, 2 workers",
        command=_uvicorn("fastapi_asyncpg"),
    ),
    System(
        name="fastify-pg",
        description="Fastify, node-postgres pool, cluster of 2",
        command=lambda port, _: ["node", str(PEERS / "fastify" / "server.js"), str(port), str(PEER_WORKERS)],
        prepare=_prepare_fastify,
        environment={"NODE_ENV": "production"},
        # V8 compiles while it runs: only after 10,000 requests and more did one take a quarter of the first ones' time.
        warm_up_s=5,
    ),
    System(
        name="go-pgx",
        description="Go net/http, pgx pool",
        command=lambda port, run_dir: [str(run_dir / "go-pgx"), str(port)],
        prepare=_prepare_go,
    ),
)


@frozen(kw_only=True)
class Serving:
    """A contestant that serves: its port, and the process ID of its first process."""

    port: int
    pid: int


@contextmanager
def serving(system: System, database: Database, run_dir: Path) -> Iterator[Serving]:
    """
    Run a contestant for the length of a ``with`` block, which begins when all of it has come up.

    Raises:
        BenchError: If it does not come up, or ends by itself.
    """
    port = _free_port()
    log_file = run_dir / f"{system.name}.log"
    environment = {**database.environment, **system.environment, "M3W_API_KEY": API_KEY}
    command = system.command(port, run_dir)
    with processes.running(command, environment=environment, log_file=log_file) as process:
        try:
            wait_until(
                lambda: process.poll() is not None or _answers(port),
                timeout_s=_START_TIMEOUT_S,
                what=f"{system.name} to answer",
            )
        except BenchError as error:
            raise BenchError(f"{error} The end of its log:\n{processes.tail(log_file)}") from None
        if process.poll() is None:
            _wait_until_idle(process.pid)
            yield Serving(port=port, pid=process.pid)
        # What is to be said of a process that has ended, `running` says.


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait_until_idle(pid: int) -> None:
    """Wait until all processes have come up: the first one answers while others are still starting."""
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    used_s, since_s = processes.cpu_s(pid), time.monotonic()
    while time.monotonic() - since_s < _IDLE_S:
        if time.monotonic() > deadline_s:
            raise BenchError("A server that nobody asks anything does not come to rest.")
        time.sleep(0.02)
        now_used_s = processes.cpu_s(pid)
        if now_used_s != used_s:
            used_s, since_s = now_used_s, time.monotonic()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
