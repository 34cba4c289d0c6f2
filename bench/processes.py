"""
Child processes: started in a session of their own, measured with all their descendants, ended by process ID.

CPU time counts descendants that have ended too, because the parent inherits their times when it collects them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from attrs import frozen

_STOP_TIMEOUT_S = 20.0
_POLL_INTERVAL_S = 0.05
_LOG_LINES_SHOWN = 15


class BenchError(Exception):
    """The benchmark cannot go on; the message says why."""


@frozen(kw_only=True)
class ProcessMemory:
    """
    What one process holds.

    Args:
        pid: Of the process.
        rss_bytes: Resident, shared pages included.
        uss_bytes: Resident and its own alone.
    """

    pid: int
    rss_bytes: int
    uss_bytes: int


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """
    Wait for *condition*.

    Raises:
        BenchError: If it does not come true within *timeout_s*; *what* says what was waited for.
    """
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise BenchError(f"Waited {timeout_s:g} s for {what}.")
        time.sleep(_POLL_INTERVAL_S)


def family(pid: int) -> list[psutil.Process]:
    """Give the process and its descendants."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def cpu_s(pid: int) -> float:
    """Give the CPU time that the process and its descendants have used, in seconds."""
    total = 0.0
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(pid: int) -> list[ProcessMemory]:
    """Give the memory of the process and of each descendant."""
    found = []
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            info = process.memory_full_info()
            found.append(ProcessMemory(pid=process.pid, rss_bytes=info.rss, uss_bytes=info.uss))
    return found


def machine_cpu_s() -> float:
    """Give the CPU time that the machine has used for anything at all, in seconds, and that its host took away."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


@contextmanager
def running(
    command: Sequence[str | os.PathLike[str]], *, environment: Mapping[str, str], log_file: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a server for the length of a ``with`` block, with its output in *log_file*.

    It gets SIGTERM at the end, and what is left of its family after that is killed.

    Raises:
        BenchError: If it ends by itself inside the block.
    """
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
            # Ctrl-C in the terminal reaches us alone, and we stop everything in order.
            start_new_session=True,
        )
    try:
        yield process
        if process.poll() is not None:
            raise BenchError(f"{command[0]} ended by itself. The end of its log:\n{tail(log_file)}")
    finally:
        _end(process)


def tail(log_file: Path) -> str:
    """Give the last lines of a log."""
    lines = log_file.read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES_SHOWN:])


def _end(process: subprocess.Popen[bytes]) -> None:
    members = []
    with suppress(psutil.NoSuchProcess):
        members = family(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # psutil compares times of creation too, so a number that somebody else has now is left alone.
    for member in psutil.wait_procs(members, timeout=_STOP_TIMEOUT_S)[1]:
        with suppress(psutil.NoSuchProcess):
            member.kill()
