"""
Group commit: many requests, one transaction.

While one batch is being written, the sessions that arrive form the next one. There is no timer: an idle writer
writes a session at once, and the busier it is, the larger its batches and the cheaper each of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

from attrs import define, field, frozen

from m3w_core.exceptions import (
    SessionRefusedError,
    StorageOverloadedError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from m3w_core.model import Session
from m3w_core.ports import SessionRepository

logger = logging.getLogger(__name__)

#: What a waiting session costs beside its payload: a guess on the safe side, in bytes.
_OVERHEAD_BYTES = 4096

#: PostgreSQL takes a statement's JSON in one piece; larger pieces gain nothing and block the server longer.
_MAX_BATCH_BYTES = 8 * 1024 * 1024

#: How long those that are done may stay among the deadlines.
_CLOCK_S = 0.5

_FIRST_RETRY_S, _LAST_RETRY_S = 0.05, 0.5


class WriterObserver(Protocol):
    """Is told what the writer does; its methods run in the event loop and should be quick."""

    def batch_written(self, sessions: int, seconds: float) -> None:
        """Hear that a batch was committed, and how long the repository took."""
        ...

    def batch_failed(self, error: StorageUnavailableError) -> None:
        """Hear that a batch could not be written this time; it is tried again."""
        ...


@frozen(eq=False)
class _Waiting:
    """Sessions of one caller, who is told when all of them are durable or refused."""

    sessions: Sequence[Session]
    received_via: str | None
    size: int
    done: asyncio.Future[None]
    refused: dict[int, SessionRefusedError] = field(factory=dict)


_Item = tuple[_Waiting, int]
"""One session of a caller's, by its index."""


@define(eq=False)
class GroupCommitWriter:
    """
    Writes sessions in batches, and tells each caller when its own is durable.

    Use it as an asynchronous context manager; on leaving, what it accepted is written.

    Args:
        repositories: One for each batch that may be under way at a time; each gets a thread of its own.
        patience_s: How long a session may wait to be stored, retries included.
        max_batch: How many sessions are written at once at most.
        max_waiting_bytes: How much may wait; beyond it new sessions are turned away at once.
        observer: Is told of batches.
    """

    repositories: Sequence[SessionRepository]
    patience_s: float = field(default=8.0, kw_only=True)
    max_batch: int = field(default=500, kw_only=True)
    max_waiting_bytes: int = field(default=64 * 1024 * 1024, kw_only=True)
    observer: WriterObserver | None = field(default=None, kw_only=True)

    _queue: deque[_Waiting] = field(factory=deque, init=False)
    _arrived: asyncio.Event = field(factory=asyncio.Event, init=False)
    _waiting: int = field(default=0, init=False)
    _waiting_bytes: int = field(default=0, init=False)
    _closing: bool = field(default=False, init=False)
    _available: bool = field(default=True, init=False)
    # In the order of time, as all have the same patience.
    _deadlines: deque[tuple[float, asyncio.Future[None]]] = field(factory=deque, init=False)
    _clock: asyncio.TimerHandle | None = field(default=None, init=False)
    _workers: list[asyncio.Task[None]] = field(factory=list, init=False)

    @property
    def waiting(self) -> int:
        """How many sessions wait to be stored or are being stored."""
        return self._waiting

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._work(repository)) for repository in self.repositories]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing = True
        self._arrived.set()
        await asyncio.gather(*self._workers)

    async def write(self, session: Session, *, size: int = 0, received_via: str | None = None) -> None:
        """
        Store one session; when this returns, it is durable.

        Args:
            session: What to store.
            size: Bytes of its payload, which count against ``max_waiting_bytes``.
            received_via: Name of the API key that it came with.

        Raises:
            SessionRefusedError: If the database refuses this very session.
            StorageOverloadedError: If too much is waiting already, or the writer is closing.
            StorageTimeoutError: If it was not stored within ``patience_s``. It may yet be.
        """
        refused = await self.write_all([session], size=size, received_via=received_via)
        if refused:
            raise refused[0]

    async def write_all(
        self, sessions: Sequence[Session], *, size: int = 0, received_via: str | None = None
    ) -> Mapping[int, SessionRefusedError]:
        """
        Store sessions; when this returns, they are durable but for those that the database refuses.

        Args:
            sessions: What to store, in the order of arrival.
            size: Bytes of their payloads, which count against ``max_waiting_bytes``.
            received_via: Name of the API key that they came with.

        Returns:
            Why a session was refused, by its index in *sessions*.

        Raises:
            StorageOverloadedError: If too much is waiting already, or the writer is closing.
            StorageTimeoutError: If they were not stored within ``patience_s``. Some, or all, may yet be.
        """
        if not sessions:
            return {}
        size += _OVERHEAD_BYTES * len(sessions)
        if self._closing:
            raise StorageOverloadedError("the writer is closing")
        if self._waiting_bytes + size > self.max_waiting_bytes:
            raise StorageOverloadedError(f"{self._waiting} sessions are waiting for the database already")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(sessions, received_via, size, loop.create_future())
        self._deadlines.append((loop.time() + self.patience_s, waiting.done))
        if self._clock is None:
            self._look_at_clock(loop)
        self._waiting += len(sessions)
        self._waiting_bytes += size
        self._queue.append(waiting)
        self._arrived.set()
        try:
            await waiting.done
        finally:
            self._waiting -= len(sessions)
            self._waiting_bytes -= size
        return waiting.refused

    def _look_at_clock(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up what has waited too long. One timer for all: one for each would cost more than their queue."""
        now = loop.time()
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or deadlines[0][1].done()):
            done = deadlines.popleft()[1]
            if not done.done():
                done.set_exception(StorageTimeoutError(f"not stored within {self.patience_s:g} s"))
        self._clock = None
        if deadlines:
            self._clock = loop.call_at(min(deadlines[0][0], now + _CLOCK_S), self._look_at_clock, loop)

    async def _work(self, repository: SessionRepository) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="m3w-writer") as thread:
            while await self._something_to_do():
                await self._write(self._next_batch(), repository, thread)
            await asyncio.get_running_loop().run_in_executor(thread, repository.close)

    async def _something_to_do(self) -> bool:
        """Wait for a session; false where none will come any more."""
        while not self._queue:
            if self._closing:
                return False
            self._arrived.clear()
            await self._arrived.wait()
        return True

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        sessions = size = 0
        while self._queue and sessions < self.max_batch and size < _MAX_BATCH_BYTES:
            waiting = self._queue.popleft()
            if not waiting.done.done():
                batch.append(waiting)
                sessions += len(waiting.sessions)
                size += waiting.size
        return batch

    async def _write(
        self, batch: list[_Waiting], repository: SessionRepository, thread: ThreadPoolExecutor
    ) -> None:
        """Store a batch, and tell its callers."""
        try:
            items = [(waiting, index) for waiting in batch for index in range(len(waiting.sessions))]
            await self._store(items, repository, thread)
        except Exception as error:  # a bug; its callers have to hear of it, and the next ones be served
            logger.exception("A batch of %d could not be stored", len(batch))
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)
        else:
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_result(None)

    async def _store(
        self, items: list[_Item], repository: SessionRepository, thread: ThreadPoolExecutor
    ) -> None:
        """Store sessions; find those that the database refuses by halving, so that all others are stored."""
        loop = asyncio.get_running_loop()
        retry_s = 0.0
        while items:
            sessions = [waiting.sessions[index] for waiting, index in items]
            received_via = [waiting.received_via for waiting, _ in items]
            started = time.perf_counter()
            try:
                await loop.run_in_executor(thread, repository.upsert, sessions, received_via)
            except SessionRefusedError as error:
                if len(items) == 1:
                    waiting, index = items[0]
                    waiting.refused[index] = error
                    return
                middle = len(items) // 2
                await self._store(items[:middle], repository, thread)
                items = items[middle:]
            except StorageUnavailableError as error:
                self._unavailable(error)
                await asyncio.sleep(retry_s)
                retry_s = min(max(2 * retry_s, _FIRST_RETRY_S), _LAST_RETRY_S)
                items = [(waiting, index) for waiting, index in items if not waiting.done.done()]
            else:
                self._written(len(items), time.perf_counter() - started)
                return

    def _written(self, sessions: int, seconds: float) -> None:
        if not self._available:
            self._available = True
            logger.warning("The database takes sessions again")
        if self.observer is not None:
            self.observer.batch_written(sessions, seconds)

    def _unavailable(self, error: StorageUnavailableError) -> None:
        if self._available:
            self._available = False
            logger.error("The database takes no sessions: %s. Trying again; requests wait or get 503", error)
        if self.observer is not None:
            self.observer.batch_failed(error)
