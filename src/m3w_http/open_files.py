"""
How many files, and so connections, a process may have open.

Shells and systemd hand on a limit of 1,024, which is fewer than the clients that a few seconds without the database
let pile up. Whoever comes beyond it is cut off, and the worker itself cannot connect to the database again.
"""

from __future__ import annotations

import resource
from contextlib import suppress

#: For one process: more than it serves in the time that clients wait, and no more than the kernel likes.
WANTED = 65_536


def allow_many() -> None:
    """Raise the limit of this process, and of those that it starts, as far as it is allowed and makes sense."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a lower limit that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
