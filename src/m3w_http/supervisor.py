"""
The parent process: it starts the workers and the housekeeper, replaces those that die, and stops them all.

It forks: the workers share the memory of what is imported, and inherit the listening socket. Nothing in the parent
may start a thread or an event loop.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

from attrs import define, field

from m3w_core import M3WError
from m3w_http.worker import GRACE_S

logger = logging.getLogger(__name__)

_fork = multiprocessing.get_context("fork")

#: How long a worker may take from its start to its first connection.
_START_S = 30.0

#: A worker that dies is replaced at once; those that die as soon as this again and again, later and later.
_SHORT_LIFE_S, _FIRST_PAUSE_S, _LAST_PAUSE_S = 10.0, 1.0, 30.0

_KILL_AFTER_S = GRACE_S + 5

_STOPPING = (signal.SIGTERM, signal.SIGINT)

#: What a child process is.
WORKER, HOUSEKEEPER = "worker", "housekeeper"

Work = Callable[[int, Callable[[], None]], None]
"""Runs in the child: takes the lifeline's file descriptor, and what to call when it serves."""


class WorkerFailedError(M3WError):
    """A worker could not even start; its own log lines say why."""


@define(eq=False)
class _Child:
    kind: str
    process: ForkProcess
    ready: Connection
    started_at: float = field(factory=time.monotonic)

    def forget(self) -> None:
        self.ready.close()
        self.process.close()


@define(eq=False)
class _Pauses:
    """When those of one kind may be started again."""

    next_start_at: float = 0.0
    _pause_s: float = 0.0

    def one_died(self, started_at: float) -> None:
        now = time.monotonic()
        if now - started_at >= _SHORT_LIFE_S:
            self._pause_s = 0.0
        self.next_start_at = now + self._pause_s
        self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LAST_PAUSE_S)


@define(eq=False)
class Supervisor:
    """
    Keeps a number of workers running until it is told to stop.

    Args:
        workers: How many.
        work: What each of them does.
        watch: Called every second, to look after what else must keep running.
        replaced: Called when a child has died and another is started, with its process ID and what it was.
        stopping: Called once, before the workers are told to stop.
        housekeep: What one more process does, as soon as the workers serve; None where there shall be none.
    """

    workers: int
    work: Work
    watch: Callable[[], None]
    replaced: Callable[[int, str], None]
    stopping: Callable[[], None]
    housekeep: Work | None = None
    _running: dict[int, _Child] = field(factory=dict, init=False)
    _lifeline: tuple[int, int] = field(factory=os.pipe, init=False)
    _stopping: bool = field(default=False, init=False)
    _pauses: dict[str, _Pauses] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pauses = {WORKER: _Pauses(), HOUSEKEEPER: _Pauses()}

    def run(self, on_ready: Callable[[], None]) -> None:
        """
        Serve until SIGTERM or SIGINT.

        Args:
            on_ready: Called once, when every worker takes connections.

        Raises:
            WorkerFailedError: If one of the first workers does not come up.
        """
        with self._signals() as wakeup:
            try:
                for _ in range(self.workers):
                    self._start(WORKER, self.work)
                self._await_first(wakeup)
                if not self._stopping:
                    self._start_missing()
                    on_ready()
                while not self._stopping:
                    wait([wakeup, *self._running], timeout=1)
                    self._drain(wakeup)
                    if not self._stopping:
                        self._replace_dead()
                        self.watch()
            finally:
                self._stop_all()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Turn the signals that stop us into something `wait` returns for."""
        wakeup, wake = socket.socketpair()
        wake.setblocking(False)
        wakeup.setblocking(False)

        def stop(number: int, _: object) -> None:
            if self._stopping:
                return
            self._stopping = True
            logger.info("%s: finishing what is under way, then stopping", signal.Signals(number).name)

        before = {number: signal.signal(number, stop) for number in _STOPPING}
        previous = signal.set_wakeup_fd(wake.fileno())
        try:
            yield wakeup
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in before.items():
                signal.signal(number, handler)
            wakeup.close()
            wake.close()

    @staticmethod
    def _drain(wakeup: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            wakeup.recv(4096)

    def _start_missing(self) -> None:
        wanted = [(WORKER, self.work, self.workers)]
        if self.housekeep is not None:
            wanted.append((HOUSEKEEPER, self.housekeep, 1))
        for kind, work, count in wanted:
            running = sum(child.kind == kind for child in self._running.values())
            if running < count and time.monotonic() >= self._pauses[kind].next_start_at:
                for _ in range(count - running):
                    self._start(kind, work)

    def _start(self, kind: str, work: Work) -> None:
        receiver, sender = _fork.Pipe(duplex=False)
        process = _fork.Process(target=self._become_child, args=(work, sender), name=f"m3w-{kind}")
        # Held back until the child has let go of our handlers, in which a signal to it would be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        sender.close()
        self._running[process.sentinel] = _Child(kind, process, receiver)

    def _become_child(self, work: Work, sender: Connection) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Ctrl-C reaches every process of the terminal; the parent passes it on when it has understood it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        os.close(self._lifeline[1])
        for child in self._running.values():
            child.ready.close()
        work(self._lifeline[0], lambda: sender.send(True))

    def _await_first(self, wakeup: socket.socket) -> None:
        deadline = time.monotonic() + _START_S
        waiting = [child.ready for child in self._running.values()]
        while waiting and not self._stopping:
            heard = wait([wakeup, *waiting], timeout=max(0.0, deadline - time.monotonic()))
            self._drain(wakeup)
            for ready in [ready for ready in waiting if ready in heard]:
                waiting.remove(ready)
                try:
                    ready.recv()
                except EOFError:
                    if not self._stopping:
                        raise WorkerFailedError(
                            "a worker ended before it served; see the lines above"
                        ) from None
            if waiting and time.monotonic() > deadline:
                raise WorkerFailedError(f"a worker does not serve {_START_S:g} s after its start")

    def _replace_dead(self) -> None:
        for sentinel, child in list(self._running.items()):
            if child.process.is_alive():
                continue
            pid = child.process.pid or 0
            logger.error("%s %d ended with status %s", child.kind.capitalize(), pid, child.process.exitcode)
            self._pauses[child.kind].one_died(child.started_at)
            del self._running[sentinel]
            child.forget()
            self.replaced(pid, child.kind)
        self._start_missing()

    def _stop_all(self) -> None:
        self.stopping()
        for child in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        deadline = time.monotonic() + _KILL_AFTER_S
        for child in self._running.values():
            child.process.join(max(0.0, deadline - time.monotonic()))
            if child.process.is_alive():
                kind = child.kind.capitalize()
                logger.error("%s %d does not stop and is killed", kind, child.process.pid)
                child.process.kill()
                child.process.join()
            child.forget()
        self._running.clear()
        for end in self._lifeline:
            os.close(end)
