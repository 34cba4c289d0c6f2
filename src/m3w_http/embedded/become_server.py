"""
The moment before PostgreSQL: a script that `m3w_http.embedded` starts and that becomes the server.

It is a program of its own, not a function run between fork and exec, because Python cannot run code there
safely in a process with threads. Nothing of it is called by an import.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent_pid: str, uid: str, gid: str, *command: str) -> None:
    """
    Change to the server's user, tie its life to the parent's, and become the server.

    Args:
        parent_pid: Of the process that started this one.
        uid: User ID to run as, or an empty string to stay.
        gid: Group ID to run as, or an empty string to stay.
        command: Program and arguments of the server.
    """
    if uid:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform == "linux":
        # After the change of user, at which the kernel forgets it. SIGINT is PostgreSQL's fast shutdown.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT))
        # A parent that died before the line above sends no signal any more.
        if os.getppid() != int(parent_pid):
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the arguments are a list, so no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
