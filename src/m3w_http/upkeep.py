"""
What a worker does beside its requests: it reads the stored keys, and writes the payloads that were rejected.

Both happen in a thread with a connection of its own, so that they delay no answer. While the database is away the
keys known last stay valid, and rejected payloads wait as long as there is room for them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from attrs import define, field
from pg8000.native import Connection

from m3w_core import ApiKeys, DatabaseSettings, SessionRefusedError, Settings, StorageError, connected
from m3w_core.auth import StoredKey
from m3w_core.keys import stored_keys
from m3w_core.rejected import RejectedPayload, RejectedQueue
from m3w_core.rejected_store import prune_rejected, store_rejected

if TYPE_CHECKING:
    # The m3w command imports this module, long before prometheus-client may be imported.
    from m3w_http.metrics import Metrics

logger = logging.getLogger(__name__)

#: So long it takes at most until a key that was made or revoked is known to be.
EVERY_S = 2.0

#: Pruning is the slowest, a second on a small machine.
_STATEMENT_TIMEOUT_S = 5.0

_WRITTEN_AT_ONCE_BYTES = 4 * 1024 * 1024

#: Whether the table holds too much is looked up when so much has been added to it.
_PRUNED_EVERY_BYTES = 1024 * 1024


@define(eq=False)
class Upkeep:
    """
    Keeps the keys of a worker current and empties its queue of rejected payloads.

    Args:
        settings: Whose keys are valid beside the stored ones.
        database: Where keys and rejected payloads are.
        rejected: Is emptied.
        use_keys: Is given the keys, in the thread, whenever they have changed.
        metrics: Is told what became of rejected payloads.
    """

    settings: Settings
    database: DatabaseSettings
    rejected: RejectedQueue
    use_keys: Callable[[ApiKeys], None]
    metrics: Metrics
    _stopping: threading.Event = field(factory=threading.Event, init=False)
    _tried: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread = field(init=False)
    _open: ExitStack = field(factory=ExitStack, init=False)
    _connection: Connection | None = field(default=None, init=False)
    _known: list[StoredKey] | None = field(default=None, init=False)
    _unwritten: list[RejectedPayload] = field(factory=list, init=False)
    _added_bytes: int = field(default=_PRUNED_EVERY_BYTES + 1, init=False)
    _trouble: str | None = field(default=None, init=False)

    async def start(self) -> None:
        """Begin; when this returns the keys are known, unless the database does not answer."""
        self._thread = threading.Thread(target=self._run, name="m3w-upkeep", daemon=True)
        self._thread.start()
        await asyncio.to_thread(self._tried.wait)

    async def stop(self) -> None:
        """End; what was rejected is written, unless the database does not answer."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        last = False
        while not last:
            # Looked at before the work is done: what was rejected before the end was announced is written.
            last = self._stopping.is_set()
            try:
                self._work([self._write_rejected] if last else [self._read_keys, self._write_rejected])
            except Exception:  # a bug; it must not end the thread, and with it the revoking of keys
                logger.exception("Upkeep failed unexpectedly; it goes on")
                self._disconnect()
            self._tried.set()
            if not last:
                self._stopping.wait(EVERY_S)
        self._disconnect()

    def _work(self, tasks: Sequence[Callable[[], None]]) -> None:
        troubles = []
        for task in tasks:
            try:
                task()
            except StorageError as error:
                # The other one is tried all the same: what is refused may be the privilege on one table.
                self._disconnect()
                troubles.append(error.message)
        for cause, count in self.rejected.take_dropped().items():
            self.metrics.rejected_dropped(cause, count)
        self._tell(troubles[0] if troubles else None)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._open.enter_context(
                connected(self.database, statement_timeout_s=_STATEMENT_TIMEOUT_S)
            )
        return self._connection

    def _disconnect(self) -> None:
        self._connection = None
        self._open.close()

    def _read_keys(self) -> None:
        found = stored_keys(self._connected())
        if found != self._known:
            self._known = found
            self.use_keys(ApiKeys.from_settings(self.settings, found))

    def _write_rejected(self) -> None:
        while batch := self._unwritten or self.rejected.take(_WRITTEN_AT_ONCE_BYTES):
            self._unwritten = batch
            if self._added_bytes > _PRUNED_EVERY_BYTES:
                # Before more is written: a table that cannot be pruned does not grow.
                self.metrics.rejected_dropped("displaced", prune_rejected(self._connected()))
                self._added_bytes = 0
            try:
                store_rejected(self._connected(), batch)
            except SessionRefusedError as error:
                # Without the driver's error, which quotes the row.
                logger.error(  # noqa: TRY400
                    "The database refuses %d rejected payloads, they are lost: %s", len(batch), error.message
                )
                self.metrics.rejected_dropped("refused", len(batch))
            else:
                self.metrics.rejected_kept(len(batch))
                self._added_bytes += sum(rejected.size for rejected in batch)
            self._unwritten = []

    def _tell(self, trouble: str | None) -> None:
        if (trouble is None) != (self._trouble is None):
            if trouble is None:
                logger.warning("Stored keys and rejected payloads are looked after again")
            else:
                logger.error(
                    "Stored keys cannot be read or rejected payloads not be written: %s. Keys stay as they were;"
                    " the backend needs SELECT on api_keys, and SELECT, INSERT and DELETE on rejected_payloads",
                    trouble,
                )
        self._trouble = trouble
