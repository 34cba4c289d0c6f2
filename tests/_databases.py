"""
The PostgreSQL that the tests run against, and databases in it.

Every run has names of its own on the server, so that runs may share one: `M3W_TEST_DATABASE_URL` may name the
database of a whole team, and tox runs several interpreters.
"""

from __future__ import annotations

import gc
import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Literal

import docker
from attrs import evolve, frozen
from docker.errors import DockerException
from pg8000.native import Connection

from m3w_core._connect import open_connection
from m3w_core.database_url import DatabaseSettings, parse_database_url
from m3w_http.embedded import EmbeddedPostgres

try:
    from testcontainers.community.postgres import PostgresContainer
except ModuleNotFoundError:  # testcontainers 4.14; 4.15 has moved it, and warns at the old place
    from testcontainers.postgres import PostgresContainer

IMAGE = "postgres:16-alpine"

_DOCKER_TIMEOUT_S = 5


@frozen
class Choice:
    """
    Which server it is.

    Args:
        kind: Where it comes from.
        reason: Why that one, for people.
        forced: Whether there is no other way if it does not start.
        url: Of the server that is there already.
    """

    kind: Literal["url", "docker", "embedded"]
    reason: str
    forced: bool = True
    url: str = ""

    def __str__(self) -> str:
        names = {
            "url": "a server that is running",
            "docker": f"{IMAGE} by testcontainers",
            "embedded": "the embedded PostgreSQL",
        }
        return f"{names[self.kind]} ({self.reason})"


def choose_server(environ: Mapping[str, str]) -> Choice:
    """
    Decide on a server: the one that is asked for, else Docker where it answers, else the embedded one.

    Raises:
        ValueError: If what is asked for does not exist.
    """
    if url := environ.get("M3W_TEST_DATABASE_URL"):
        return Choice("url", "M3W_TEST_DATABASE_URL is set", url=url)
    forced = environ.get("M3W_TEST_SERVER")
    if forced in ("docker", "embedded"):
        return Choice(forced, "M3W_TEST_SERVER asks for it")
    if forced:
        msg = f"M3W_TEST_SERVER is {forced!r}: expected docker or embedded"
        raise ValueError(msg)
    if _docker_answers():
        return Choice("docker", "a Docker engine answers", forced=False)
    return Choice("embedded", "no Docker engine answers")


def _docker_answers() -> bool:
    with warnings.catch_warnings():
        # Where it may not connect, Docker's client leaves the socket to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with closing(docker.from_env(timeout=_DOCKER_TIMEOUT_S)) as client:
                client.ping()
        except DockerException:
            answers = False
        else:
            answers = True
        gc.collect()
    return answers


@contextmanager
def run_server(choice: Choice) -> Iterator[tuple[DatabaseSettings, Choice]]:
    """
    Start the server, and stop it in the end.

    Yields:
        A database of it, as a role that may create others; and which server it became.
    """
    with ExitStack() as stack:
        if choice.kind == "docker":
            try:
                settings = stack.enter_context(_container())
            except DockerException as exc:
                if choice.forced:
                    raise
                # Without access to a registry an engine may answer and still have no image.
                choice = Choice("embedded", f"Docker cannot start {IMAGE}: {exc}")
        if choice.kind == "url":
            settings = parse_database_url(choice.url)
        elif choice.kind == "embedded":
            directory = stack.enter_context(open_temporary_directory())
            settings = stack.enter_context(EmbeddedPostgres(directory / "data"))
        yield settings, choice


@contextmanager
def _container() -> Iterator[DatabaseSettings]:
    password = secrets.token_hex(8)
    with PostgresContainer(IMAGE, username="m3w", password=password, dbname="m3w") as container:
        yield DatabaseSettings(
            host=container.get_container_host_ip(),
            port=int(container.get_exposed_port(5432)),
            database="m3w",
            user="m3w",
            password=password,
        )


@contextmanager
def open_temporary_directory() -> Iterator[Path]:
    """Make a directory that another user can pass through, as the one who runs PostgreSQL for root has to."""
    with tempfile.TemporaryDirectory(prefix="m3w-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


@contextmanager
def new_database(server: DatabaseSettings, *, template: str | None = None) -> Iterator[DatabaseSettings]:
    """
    Create a database of a name of its own, and drop it in the end with all who are still connected.

    Args:
        server: A database of the same server.
        template: Name of the database to copy; None makes an empty one, the same on every server.
    """
    name = f"m3w_test_{os.getpid()}_{secrets.token_hex(4)}"
    origin = f"TEMPLATE {template}" if template else "TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
    _run(server, f"CREATE DATABASE {name} {origin}")
    try:
        yield evolve(server, database=name)
    finally:
        _run(server, f"DROP DATABASE {name} WITH (FORCE)")


def _run(server: DatabaseSettings, statement: str) -> None:
    with closing(connect(server)) as connection:
        connection.run(statement)


def connect(database: DatabaseSettings) -> Connection:
    """Open a connection as the program does, with time enough for a busy machine."""
    return open_connection(
        database, connect_timeout_s=10, statement_timeout_s=60, application_name="media3watch tests"
    )
