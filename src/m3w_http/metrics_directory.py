"""
The directory in which the processes of one `m3w serve` keep their metrics.

It is removed at the end. A process that is killed leaves its own behind, and the next start removes it: a lock
tells that nobody uses it any more, where a process ID could be another container's or given out again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "m3w-metrics-"


@contextmanager
def metrics_directory() -> Iterator[Path]:
    """Make a directory, locked for as long as this process or one that it has forked lives."""
    remove_abandoned()
    # It gets its name when it is locked, else another start could take it for abandoned.
    hidden = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}"))
    path = hidden.with_name(hidden.name.removeprefix("."))
    lock = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hidden.rename(path)
        yield path
    finally:
        for directory in (hidden, path):
            shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def remove_abandoned() -> None:
    """Remove the directories of those that were killed, as far as they are ours."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another's; gone meanwhile; or locked
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
