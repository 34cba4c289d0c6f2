"""
A copy of the repository under Docker Compose: what its users do by hand, with a project name and ports of its own.

A variable of the shell wins over .env, so Compose is given none of ours.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import define, field

ROOT = Path(__file__).parents[1]

#: What is started: for the others there may be no image.
SERVICES = ("postgres", "backend")

_BASE_IMAGES = ("python:3.13-slim", "postgres:16-alpine")
_PASSED_ON = (
    "PATH",
    "HOME",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
)
# Building it the first time downloads packages.
_TIMEOUT_S = 600


def why_not() -> str | None:
    """Tell why this machine cannot do it; None where it can."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    for arguments, complaint in (
        (("info",), "no Docker engine answers"),
        (("compose", "version"), "Docker has no Compose"),
        *((("image", "inspect", image), f"the engine has no image {image}") for image in _BASE_IMAGES),
    ):
        if _docker(*arguments).returncode:
            return complaint
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@define(eq=False)
class Stack:
    """
    PostgreSQL and the backend, from nothing to ``up``; a context manager that leaves nothing behind.

    Args:
        directory: Does not exist yet; the repository is copied there.
        environment: The text of .env. Its PORT is replaced by a free one.
    """

    directory: Path
    environment: str
    project: str = field(factory=lambda: f"m3w-test-{secrets.token_hex(4)}", init=False)
    port: int = field(factory=_free_port, init=False)
    _database_port: int = field(factory=_free_port, init=False)

    def __enter__(self) -> Self:
        _copy_repository(self.directory)
        own, replaced = re.subn(r"(?m)^PORT=.*$", f"PORT={self.port}", self.environment)
        assert replaced == 1
        own += f"\nPOSTGRES_PUBLISH=127.0.0.1:{self._database_port}\n"
        (self.directory / ".env").write_text(own, encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exc is not None:
            exc.add_note(self.compose("logs", "--no-color", check=False).stdout)
        self.compose("down", "--volumes", "--rmi", "local", "--remove-orphans")

    def compose(
        self, *arguments: str, check: bool = True, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``docker compose`` with *arguments*."""
        done = _docker(
            "compose", "--project-name", self.project, *arguments, cwd=self.directory, environ=environ
        )
        if check and done.returncode:
            raise AssertionError(f"docker compose {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done

    def up(self, *options: str) -> None:
        """Start both services, and wait until they are healthy."""
        self.compose("up", "--detach", "--pull", "never", "--wait", *options, *SERVICES)

    def backend(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the backend's container."""
        return self.compose("exec", "-T", "backend", *command, check=check)

    def sql(self, statement: str, user: str = "m3w", password: str | None = None) -> list[str]:
        """Run a statement in the database; with a password by TCP, where it is asked for."""
        host = () if password is None else ("--host", "127.0.0.1")
        psql = ("psql", *host, "-U", user, "-d", "media3watch", "-v", "ON_ERROR_STOP=1", "-Atc", statement)
        environ = {} if password is None else {"PGPASSWORD": password}
        done = self.compose(
            "exec", "-T", *(f"--env={name}" for name in environ), "postgres", *psql, **environ
        )
        return done.stdout.splitlines()

    def state(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container, as ``docker inspect`` shows it."""
        container = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        state: dict[str, Any]
        (state,) = json.loads(_docker("inspect", container).stdout)
        return state

    def ask(self, path: str, body: bytes | None = None, key: str = "dev-key") -> tuple[int, str]:
        """GET *path*, or POST *body* as the SDK does; gives the status and the answer's text."""
        headers = (
            {} if body is None else {"X-API-Key": key, "Content-Type": "application/json; charset=utf-8"}
        )
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        with closing(connection):
            connection.request("GET" if body is None else "POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def remains(self) -> list[str]:
        """Containers, volumes and networks of the project."""
        mine = ("--filter", f"label=com.docker.compose.project={self.project}", "--quiet")
        listings = [("ps", "--all"), ("volume", "ls"), ("network", "ls")]
        return [line for listing in listings for line in _docker(*listing, *mine).stdout.splitlines()]


def image_size_bytes(image: str) -> int:
    """How much room an image takes, with what it is made from."""
    return int(_docker("image", "inspect", "--format", "{{.Size}}", image).stdout)


def _copy_repository(directory: Path) -> None:
    # What git knows or will know, as a clone has no more.
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        source, target = ROOT / name, directory / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def _docker(
    *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return subprocess.run(
        ["docker", *arguments],
        cwd=cwd,
        env=passed_on | dict(environ or {}),
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
