"""
The embedded PostgreSQL server as a child process.

It has a session of its own: a Ctrl-C in the terminal reaches us and not the server, so that what was accepted
can still be written before the server is stopped.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from attrs import define, field
from pg8000.native import Connection

from m3w_core._errors import DRIVER_ERRORS, translate
from m3w_core.database_url import DatabaseSettings
from m3w_http.embedded import become_server
from m3w_http.embedded.data_directory import (
    ORPHAN_TIMEOUT_S,
    POLL_INTERVAL_S,
    PORT,
    USER,
    DataDirectory,
    advice,
    default_data_dir,
)
from m3w_http.embedded.postmaster_pid import pid_exists, read_postmaster_pid
from m3w_http.embedded.programs import (
    Account,
    EmbeddedPostgresError,
    Programs,
    environment,
    find_programs,
    server_account,
)

_log = logging.getLogger(__name__)

_DATABASE = "media3watch"

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_QUIT_TIMEOUT_S = 10.0
_MESSAGE_INTERVAL_S = 5.0


def running(data_dir: Path) -> DatabaseSettings | None:
    """
    Find the server that another process runs on *data_dir*.

    Returns:
        How to connect to it, or None if there is none that takes connections.

    Raises:
        EmbeddedPostgresError: If the directory belongs to another user.
    """
    try:
        found = read_postmaster_pid(DataDirectory(data_dir).cluster)
    except PermissionError as exc:
        msg = f"{data_dir} belongs to another user: run this as the user that runs the server."
        raise EmbeddedPostgresError(msg) from exc
    if found is None or found.socket_file is None or not (found.ready and found.alive and found.accepts()):
        return None
    return _settings(found.socket_file)


@define
class EmbeddedPostgres:
    """
    The server of one data directory; a context manager.

    Args:
        data_dir: Where everything lies; made if it is missing.
    """

    _directory: DataDirectory = field(alias="data_dir", converter=DataDirectory)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _socket_dir: Path | None = field(default=None, init=False)

    @property
    def data_dir(self) -> Path:
        """Where everything lies."""
        return self._directory.path

    @property
    def pid(self) -> int | None:
        """Process ID of the server, None where it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> DatabaseSettings:
        """
        Start the server, make its data first if there is none, and wait until it takes connections.

        After a crash it recovers first, for up to a minute. Once it has died it may be started again.
        Call this from a thread that lives as long as the server shall: on Linux it ends with that thread.

        Returns:
            How to connect to it.

        Raises:
            EmbeddedPostgresError: If it cannot run; the message says what to do.
        """
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        try:
            self._directory.take()
            try:
                return self._start()
            except BaseException:
                self.stop()
                raise
        except OSError as exc:
            # The error of copying many files has no number, but a list of (from, to, words).
            words = exc.args[0][0][2] if isinstance(exc, shutil.Error) else exc.strerror or str(exc)
            msg = f"PostgreSQL cannot use {self.data_dir}: {words}.{advice(exc.errno or words)}"
            raise EmbeddedPostgresError(msg) from exc

    def stop(self) -> None:
        """
        Stop the server and wait until it is gone; does nothing where it does not run.

        Connections are cut, and transactions that are not committed are rolled back.
        """
        try:
            if self._process is not None:
                _end(self._process)
        finally:
            self._process = None
            if self._socket_dir is not None:
                self._directory.remove_socket_dir(self._socket_dir)
                self._socket_dir = None
            self._directory.release()

    def __enter__(self) -> DatabaseSettings:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> DatabaseSettings:
        account = server_account(self._directory.cluster)
        if account is not None and not account.can_enter(self.data_dir):
            msg = (
                f"PostgreSQL refuses to run as root, so it runs as {account.name},"
                f" who cannot enter {self.data_dir}. Let others pass through that directory and all above it"
                " (chmod o+x), or give another one with --data-dir;"
                f" without --data-dir it is {default_data_dir()}."
            )
            raise EmbeddedPostgresError(msg)
        self._wait_for_orphan()
        programs = find_programs(self.data_dir, account)
        self._directory.make_cluster(programs, account)
        self._socket_dir = self._directory.make_socket_dir(account)
        self._run(programs, account, self._socket_dir)
        settings = _settings(self._socket_dir / f".s.PGSQL.{PORT}")
        _make_database(settings)
        return settings

    def _wait_for_orphan(self) -> None:
        """Wait for a server whose parent was killed: it is being stopped, but may take a while."""
        started_s = time.monotonic()
        while (found := read_postmaster_pid(self._directory.cluster)) is not None and pid_exists(found.pid):
            if not found.alive:
                # PostgreSQL would take whoever has the number now for a server, and not start.
                (self._directory.cluster / "postmaster.pid").unlink()
                return
            if time.monotonic() - started_s > ORPHAN_TIMEOUT_S:
                raise self._directory.in_use(found.pid)
            time.sleep(POLL_INTERVAL_S)

    def _run(self, programs: Programs, account: Account | None, socket_dir: Path) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while True:
            log = self._directory.open_log()
            try:
                offset_bytes = os.lseek(log, 0, os.SEEK_END)
                self._process = self._spawn(programs, account, socket_dir, log)
            finally:
                os.close(log)
            if self._becomes_ready(self._process, deadline_s):
                return
            words = self._directory.log_tail(offset_bytes)
            # Processes of a killed server need a moment to notice.
            if "is still in use" not in words or time.monotonic() > deadline_s:
                log_file = self._directory.log_file
                msg = f"PostgreSQL does not start.{advice(words)} The end of {log_file}:\n{words}"
                raise EmbeddedPostgresError(msg)
            time.sleep(POLL_INTERVAL_S)

    def _spawn(
        self, programs: Programs, account: Account | None, socket_dir: Path, log: int
    ) -> subprocess.Popen[bytes]:
        quoted = str(socket_dir).replace('"', '""')
        settings = {
            # The socket is the only way in.
            "listen_addresses": "",
            # A list of names, so a name with a comma or a space needs its quotes.
            "unix_socket_directories": f'"{quoted}"',
            # As closed as its directory; root comes in regardless.
            "unix_socket_permissions": "0700",
            # Part of the socket's name, which others find by it.
            "port": str(PORT),
            # One for each of our workers, and more than enough for psql and Grafana beside them.
            "max_connections": "50",
            # initdb writes down less where memory was short at the time.
            "shared_buffers": "128MB",
            # To the file that the server is started with, and to no other.
            "logging_collector": "off",
            "log_destination": "stderr",
        }
        command = [str(programs.postgres), "-D", str(self._directory.cluster)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        identity = ("", "") if account is None else (str(account.uid), str(account.gid))
        return subprocess.Popen(
            # Isolated from what the environment and the working directory could make Python import.
            [sys.executable, "-I", "-S", become_server.__file__, str(os.getpid()), *identity, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment(),
            start_new_session=True,
        )

    def _becomes_ready(self, process: subprocess.Popen[bytes], deadline_s: float) -> bool:
        """Wait until the server takes connections; False if it ends instead."""
        message_s = time.monotonic() + _MESSAGE_INTERVAL_S
        while process.poll() is None:
            found = read_postmaster_pid(self._directory.cluster)
            # The file of a server before this one may still be there.
            if found is not None and found.pid == process.pid and found.ready:
                return True
            now_s = time.monotonic()
            if now_s > deadline_s:
                msg = (
                    f"PostgreSQL took no connections within {_START_TIMEOUT_S:.0f} s. After a crash it"
                    " recovers first, and goes on with that when started again;"
                    f" see {self._directory.log_file}."
                )
                raise EmbeddedPostgresError(msg)
            if now_s > message_s:
                _log.info("waiting for PostgreSQL: after a crash it recovers first")
                message_s = now_s + _MESSAGE_INTERVAL_S
            time.sleep(POLL_INTERVAL_S)
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _log.warning("PostgreSQL takes too long to stop: ending it now, it recovers when it is started again")
    else:
        return
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(_QUIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _settings(socket_file: Path) -> DatabaseSettings:
    return DatabaseSettings(
        port=PORT, unix_socket=str(socket_file), database=_DATABASE, user=USER, sslmode="disable"
    )


def _make_database(settings: DatabaseSettings) -> None:
    """Make our database if the server has none; a start that was cut off may have left it without."""
    try:
        connection = Connection(settings.user, unix_sock=settings.unix_socket, database="postgres")
        try:
            if not connection.run("SELECT FROM pg_database WHERE datname = :name", name=settings.database):
                connection.run(f"CREATE DATABASE {settings.database}")
        finally:
            connection.close()
    except DRIVER_ERRORS as exc:
        words = str(translate(exc))
        msg = f"PostgreSQL cannot make its database.{advice(words)} It says:\n{words}"
        raise EmbeddedPostgresError(msg) from exc
