"""
Whether the backend can take sessions now.

Anyone may ask, as often as they like, so the database is asked once a second at most, however many do.
"""

from __future__ import annotations

import asyncio
import time

from attrs import define, field

from m3w_core import DatabaseSettings, M3WError, verify

_FRESH_S = 1.0


@define(eq=False)
class Readiness:
    """
    Knows whether the database answers and its migrations are current.

    Args:
        database: Which one.
    """

    database: DatabaseSettings
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _asked_at: float = field(default=-_FRESH_S, init=False)
    _trouble: M3WError | None = field(default=None, init=False)

    async def check(self) -> None:
        """
        Ask the database, unless it was asked just now.

        Raises:
            StorageUnavailableError: If it does not answer.
            MigrationError: If its migrations are not current.
        """
        async with self._lock:
            if time.monotonic() - self._asked_at >= _FRESH_S:
                try:
                    await asyncio.to_thread(verify, self.database)
                    self._trouble = None
                except M3WError as error:
                    self._trouble = error
                self._asked_at = time.monotonic()
            trouble = self._trouble
        if trouble is not None:
            raise trouble
