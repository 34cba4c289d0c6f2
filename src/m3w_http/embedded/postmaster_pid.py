"""
What a PostgreSQL server writes about itself into ``postmaster.pid``.

The file outlives a server that was killed, and its process ID may by then be another process's.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from attrs import frozen

_CONNECT_TIMEOUT_S = 2.0


def pid_exists(pid: int) -> bool:
    """Tell whether there is a process of this ID, whosever it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@frozen
class PostmasterPid:
    """
    One reading of the file.

    Args:
        cluster: The data directory.
        pid: Of the server that wrote it.
        socket_file: Where it listens, None while it has not got so far.
        ready: Whether it takes connections, by its own account.
    """

    cluster: Path
    pid: int
    socket_file: Path | None
    ready: bool

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        if not pid_exists(self.pid):
            return False
        if sys.platform != "linux":
            return True
        try:
            # A server works in its data directory; a zombie, or who got the number after a reboot, does not.
            return Path(f"/proc/{self.pid}/cwd").readlink() == self.cluster
        except FileNotFoundError:
            return False
        except PermissionError:
            return True

    def accepts(self) -> bool:
        """Tell whether something takes connections at the socket, by connecting."""
        if self.socket_file is None:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_CONNECT_TIMEOUT_S)
            try:
                client.connect(str(self.socket_file))
            except OSError:
                return False
        return True


def read_postmaster_pid(cluster: Path) -> PostmasterPid | None:
    """
    Read the file of the data directory *cluster*, an absolute path without links.

    Returns:
        None if there is none, or if it is still being written.

    Raises:
        OSError: If it cannot be read.
    """
    try:
        lines = (cluster / "postmaster.pid").read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    # Process ID, data directory, start time, port, socket directory, address, shared memory, state.
    if not lines or not lines[0].isdecimal():
        return None
    socket_file = Path(lines[4]) / f".s.PGSQL.{lines[3]}" if len(lines) > 4 and lines[4] else None
    ready = len(lines) > 7 and lines[7].strip() == "ready"
    return PostmasterPid(cluster, int(lines[0]), socket_file, ready)
