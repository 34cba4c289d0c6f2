"""
The PostgreSQL of a run, which is killed, stopped, frozen, filled up and started again.

It lies on a tmpfs of its own where mounting is allowed, so that its disk can be full. It listens on a Unix socket
only; `Proxy` is the way in for the backend.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from attrs import define, field
from pg8000.native import Connection, literal

from m3w_core.database_url import DatabaseSettings
from m3w_http.embedded import become_server
from m3w_http.embedded.postmaster_pid import read_postmaster_pid
from m3w_http.embedded.programs import (
    Account,
    as_account,
    environment,
    find_programs,
    server_account,
)
from tests._databases import connect

_START_TIMEOUT_S = 60.0
_POLL_S = 0.02
_PORT = 5432

#: The tables of a long run fit into it several times, beside the write-ahead log.
_DISK_BYTES = 640 * 1024 * 1024

ROLE, DATABASE = "m3w", "media3watch"
PASSWORD = secrets.token_hex(8)

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",
    "port": _PORT,
    "max_connections": 100,
    "max_wal_size": "128MB",
    "min_wal_size": "64MB",
    "log_destination": "stderr",
}

# The superuser is the tests' own; the backend has to know its password.
_ACCESS = f"local all postgres trust\nlocal all {ROLE} scram-sha-256\n"


class PostgresError(Exception):
    """The server does not do what the test needs; the message has its last words."""


@contextmanager
def small_disk(directory: Path) -> Iterator[bool]:
    """
    Put a file system of limited size at *directory*, and take it away in the end.

    Yields:
        Whether that was possible: it needs root, and a container that lets it mount.
    """
    options = ["-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=0711", "m3w-faults", str(directory)]
    mounted = os.geteuid() == 0 and (
        subprocess.run(["mount", *options], check=False, capture_output=True).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(directory)], check=True)


@define(eq=False)
class Postgres:
    """
    A server with a database for the backend.

    Args:
        directory: Empty; others may pass through it.
    """

    directory: Path = field(converter=Path.resolve)
    _process: psutil.Popen | None = field(default=None, init=False)
    _account: Account | None = field(default=None, init=False)

    @property
    def _cluster(self) -> Path:
        return self.directory / "cluster"

    @property
    def socket_file(self) -> Path:
        """Where it listens."""
        return self.directory / f".s.PGSQL.{_PORT}"

    @property
    def log(self) -> str:
        """What it has to say."""
        return self._log_file.read_text(errors="replace")

    @property
    def _log_file(self) -> Path:
        # Not on the disk that is filled up: what is said about that would get lost.
        return self.directory.with_name("postgresql.log")

    async def make(self) -> None:
        """Make the data, start, and add the database and its role."""
        self._account = server_account(self._cluster)
        self._cluster.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(self._cluster, self._account.uid, self._account.gid)
            os.chown(self.directory, self._account.uid, self._account.gid)
        programs = find_programs(self.directory, self._account)
        command = [programs.initdb, "--username=postgres", "--encoding=UTF8", "--locale=C", "--auth=trust"]
        await asyncio.to_thread(
            subprocess.run,
            [*command, f"--pgdata={self._cluster}"],
            check=True,
            capture_output=True,
            cwd="/",
            env=environment(),
            **as_account(self._account),
        )
        (self._cluster / "pg_hba.conf").write_text(_ACCESS)
        await self.start()
        await self.run(f"CREATE ROLE {ROLE} LOGIN PASSWORD {literal(PASSWORD)}", database="postgres")
        await self.run(f"CREATE DATABASE {DATABASE} OWNER {ROLE}", database="postgres")

    async def start(self) -> None:
        """
        Start, and wait until it takes connections.

        Raises:
            PostgresError: If it does not.
        """
        programs = find_programs(self.directory, self._account)
        command = [str(programs.postgres), "-D", str(self._cluster)]
        for name, value in {**_SETTINGS, "unix_socket_directories": self.directory}.items():
            command += ["-c", f"{name}={value}"]
        identity = ("", "") if self._account is None else (str(self._account.uid), str(self._account.gid))
        with self._log_file.open("ab") as log:
            self._process = psutil.Popen(
                [sys.executable, "-I", "-S", become_server.__file__, str(os.getpid()), *identity, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                start_new_session=True,
            )
        async with asyncio.timeout(_START_TIMEOUT_S):
            while not self.ready:
                if not self.running:
                    msg = f"PostgreSQL does not start:\n{self.log[-2000:]}"
                    raise PostgresError(msg)
                await asyncio.sleep(_POLL_S)

    @property
    def running(self) -> bool:
        """Whether there is a server process."""
        return self._process is not None and self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it takes connections."""
        found = read_postmaster_pid(self._cluster)
        return self.running and found is not None and found.pid == self._process.pid and found.ready

    async def end(self, number: signal.Signals, *, everybody: bool = False) -> None:
        """
        Send a signal and wait until the server is gone.

        Args:
            number: SIGINT for a fast stop, SIGQUIT for an immediate one, SIGKILL.
            everybody: Send it to all processes of the server at once, not to the first alone.
        """
        assert self._process is not None
        family = self._family()
        for process in family if everybody else family[:1]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        async with asyncio.timeout(_START_TIMEOUT_S):
            while self.running or any(process.is_running() for process in family[1:]):
                await asyncio.sleep(_POLL_S)

    async def close(self) -> None:
        """Stop it where it runs."""
        if self.running:
            await self.end(signal.SIGQUIT)

    def freeze(self) -> None:
        """Suspend all processes, the server's first so that it makes no more."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let them go on."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            return [self._process, *self._process.children(recursive=True)]
        return [self._process]

    def connect(self, database: str = DATABASE) -> Connection:
        """Open a connection of the tests' own, which no fault but those of the server itself reaches."""
        return connect(
            DatabaseSettings(unix_socket=str(self.socket_file), database=database, user="postgres")
        )

    async def run(self, *statements: str, database: str = DATABASE) -> list[list[Any]]:
        """Run statements over a connection of their own, and give the last one's rows."""

        def run_all() -> list[list[Any]]:
            rows: list[list[Any]] | None = None
            with closing(self.connect(database)) as connection:
                for statement in statements:
                    rows = connection.run(statement)
            return rows or []

        return await asyncio.to_thread(run_all)

    @asynccontextmanager
    async def locked(self, table: str) -> AsyncIterator[None]:
        """Let nobody else read or write a table."""
        with closing(self.connect()) as connection:
            await asyncio.to_thread(connection.run, "BEGIN")
            await asyncio.to_thread(connection.run, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
            await asyncio.to_thread(connection.run, "COMMIT")

    def fill_disk(self) -> None:
        """Leave no room on the disk."""
        file = os.open(self.directory / "ballast", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            size = os.fstat(file).st_size
            # By halves, as an allocation that does not fit takes nothing at all.
            step = 1 << 30
            while step >= 4096:
                try:
                    os.posix_fallocate(file, size, step)
                except OSError:
                    step //= 2
                else:
                    size += step
        finally:
            os.close(file)

    def free_disk(self) -> None:
        """Give it back."""
        (self.directory / "ballast").unlink(missing_ok=True)
