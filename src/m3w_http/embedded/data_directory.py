"""
The directory in which an embedded PostgreSQL keeps everything, and who may use it when.

``postgresql-16/`` is PostgreSQL's own; ``postgresql.log``, the lock and the socket's directory lie beside it.
The directory belongs to us, and PostgreSQL's parts of it to the user that runs the server: where we are root,
that is another one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import platformdirs
from attrs import define, field

from m3w_http.embedded.postmaster_pid import pid_exists
from m3w_http.embedded.programs import (
    MAJOR_VERSION,
    Account,
    EmbeddedPostgresError,
    Programs,
    as_account,
    environment,
)

#: Names the socket file, and nothing else: the server does not listen on the network.
PORT = 5432

#: Superuser of the embedded server, and the only user.
USER = "m3w"

# sockaddr_un holds 104 bytes on macOS and 108 on Linux, one of them for the final NUL.
_MAX_SOCKET_PATH_BYTES = 103

#: How long what a killed process has left behind may take to end.
ORPHAN_TIMEOUT_S = 15.0

#: How often a condition is looked at that nobody announces.
POLL_INTERVAL_S = 0.02

_LOG_LINES_SHOWN = 10


def default_data_dir() -> Path:
    """Give the directory that is used where none is asked for: the user's own, for root the machine's."""
    if os.geteuid() == 0:
        # Root's home is closed to the user that runs the server.
        return Path("/var/lib/media3watch")
    return platformdirs.user_data_path("media3watch")


def advice(cause: int | str | None) -> str:
    """
    Say what helps against a directory that does not take our files.

    Args:
        cause: An errno, or the words of a program that ran into it.
    """
    no_space = (errno.ENOSPC, errno.EDQUOT)
    no_access = (errno.EACCES, errno.EPERM, errno.EROFS)
    words = cause if isinstance(cause, str) else ""
    if cause in no_space or any(os.strerror(number) in words for number in no_space):
        return " Free some space on that disk, or give a directory on another one with --data-dir."
    if cause in no_access or any(os.strerror(number) in words for number in no_access):
        return " Give a directory that you can write to with --data-dir."
    return ""


def _resolved(path: Path) -> Path:
    return path.expanduser().resolve()


@define
class DataDirectory:
    """
    One such directory.

    Args:
        path: Where it is or shall be.
    """

    path: Path = field(converter=_resolved)
    _lock: int | None = field(default=None, init=False, repr=False)

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.path / f"postgresql-{MAJOR_VERSION}"

    @property
    def log_file(self) -> Path:
        """What the server has to say."""
        return self.path / "postgresql.log"

    def take(self) -> None:
        """
        Make the directory if it is missing, and keep all others out of it until `release`, or our death.

        Raises:
            EmbeddedPostgresError: If another process has it.
            OSError: If it cannot be made or written to.
        """
        if not self.path.exists():
            self.path.mkdir(parents=True)
            # Root's is passed through by the user that runs the server; what lies in it is closed.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self._lock_exclusively(lock)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _lock_exclusively(self, lock: int) -> None:
        deadline_s = time.monotonic() + ORPHAN_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
                # A holder that was killed may have children left, which share its lock and end soon.
                if not holder.isdecimal() or pid_exists(int(holder)) or time.monotonic() > deadline_s:
                    raise self.in_use(holder or "unknown") from exc
                time.sleep(POLL_INTERVAL_S)
            else:
                return

    def release(self) -> None:
        """Let others use the directory."""
        if self._lock is not None:
            # Not by closing it alone: processes forked from ours have it open too.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = None

    def in_use(self, pid: int | str) -> EmbeddedPostgresError:
        """Make the error of a directory that process *pid* uses."""
        return EmbeddedPostgresError(
            f"{self.path} is already in use by process {pid}."
            " Stop that one first, or give another directory with --data-dir."
        )

    def make_cluster(self, programs: Programs, account: Account | None) -> None:
        """
        Make PostgreSQL's data directory if there is none; all of it or nothing.

        Raises:
            EmbeddedPostgresError: If initdb fails.
            OSError: If the directory does not take it.
        """
        if (self.cluster / "PG_VERSION").exists():
            return
        # initdb writes the version first: cut off in the middle it would look like a finished one.
        unfinished = self.path / f"{self.cluster.name}.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        self._make_private(unfinished, account)
        command = [
            str(programs.initdb),
            f"--pgdata={unfinished}",
            f"--username={USER}",
            "--encoding=UTF8",
            # The same order and the same messages on every machine.
            "--locale=C",
            # Who reaches the socket is decided by its directory.
            "--auth-local=trust",
            "--auth-host=reject",
            "--no-instructions",
        ]
        done = subprocess.run(
            command, check=False, capture_output=True, cwd="/", env=environment(), **as_account(account)
        )
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip()
            shutil.rmtree(unfinished, ignore_errors=True)
            msg = f"PostgreSQL cannot make its data in {self.path}.{advice(words)} It says:\n{words}"
            raise EmbeddedPostgresError(msg)
        unfinished.rename(self.cluster)

    def make_socket_dir(self, account: Account | None) -> Path:
        """
        Give an empty directory for the socket, which only *account*, or we, may enter, and root.

        Raises:
            EmbeddedPostgresError: If somebody else has made one of its name.
        """
        for directory in self._socket_dirs():
            if len(os.fsencode(directory / f".s.PGSQL.{PORT}")) > _MAX_SOCKET_PATH_BYTES:
                continue
            if not directory.is_symlink() and not directory.exists():
                self._make_private(directory, account)
            found = directory.lstat()
            owner = os.geteuid() if account is None else account.uid
            # In a directory that all may write to, another user may have been there first.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
                msg = f"{directory} should be a private directory of user ID {owner}, but is not: remove it"
                raise EmbeddedPostgresError(msg)
            # Of a killed server: its lock on the socket holds as long as any process has its number.
            for leftover in directory.iterdir():
                leftover.unlink()
            return directory
        msg = f"The path of {self.path} is too long for a Unix socket: give a shorter one with --data-dir."
        raise EmbeddedPostgresError(msg)

    def remove_socket_dir(self, directory: Path) -> None:
        """Remove a directory that `make_socket_dir` gave, if it lies outside of ours."""
        if directory.parent != self.path:
            shutil.rmtree(directory, ignore_errors=True)

    def open_log(self) -> int:
        """Open the log for writing at its end; only we may read it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        return os.open(self.log_file, flags, 0o600)

    def log_tail(self, offset_bytes: int) -> str:
        """Read the last lines that were logged since the log was *offset_bytes* long."""
        with self.log_file.open("rb") as log:
            log.seek(offset_bytes)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES_SHOWN:])

    def _socket_dirs(self) -> list[Path]:
        name = f"media3watch-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}"
        # What root has as its own is closed to the user that runs the server.
        ours = [] if os.geteuid() == 0 else [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()]
        elsewhere = [Path(parent, name) for parent in (*ours, "/tmp") if parent and Path(parent).is_dir()]  # noqa: S108
        return [self.path / "run", *elsewhere]

    @staticmethod
    def _make_private(directory: Path, account: Account | None) -> None:
        directory.mkdir(mode=0o700)
        if account is not None:
            os.chown(directory, account.uid, account.gid)
