"""
How often a client may come.

Counts are kept in this process, so that with several workers a client can have up to as many times its limit; unless
they are shared, in a Redis that can be away without a session being turned away for it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Any

from attrs import define, field
from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.aio.strategies import FixedWindowRateLimiter as SharedRateLimiter
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from m3w_core import M3WError
from m3w_http.errors import rate_limit_exceeded

logger = logging.getLogger(__name__)

#: Behind one address sit many viewers; an app with an old key must not lock out those with the right one at once.
WRONG_KEYS_PER_MINUTE = 100

#: How long the shared counts may take, and how long they are left alone after they did not answer.
_SHARED_PATIENCE_S, _SHARED_PAUSE_S = 0.5, 5.0

_SHARED_CONNECTIONS = 20


class SharedCountsError(M3WError):
    """RATE_LIMIT_STORAGE_URI cannot be used here."""


class SharedCounts:
    """
    Counts of requests in a Redis.

    Args:
        uri: ``redis://…`` or ``rediss://…``; nothing is connected before the first request.

    Raises:
        SharedCountsError: If the client of Redis is not installed.
    """

    def __init__(self, uri: str) -> None:
        try:
            from redis.asyncio import BlockingConnectionPool
        except ImportError as error:
            raise SharedCountsError(
                "RATE_LIMIT_STORAGE_URI needs the client of Redis: pip install 'media3watch-backend[redis]'"
            ) from error
        # By default there would be a connection for every request under way.
        self._pool: Any = BlockingConnectionPool.from_url(
            uri, max_connections=_SHARED_CONNECTIONS, timeout=_SHARED_PATIENCE_S
        )
        options: dict[str, Any] = {
            "implementation": "redispy",
            "connection_pool": self._pool,
            "wrap_exceptions": True,
        }
        storage: Any = storage_from_string(f"async+{uri}", **options)
        self._limiter = SharedRateLimiter(storage)
        self._away = False
        self._again_at = 0.0

    async def count(self, item: RateLimitItem, who: tuple[str, str], cost: int) -> float | None:
        """
        Count requests.

        Args:
            item: The limit.
            who: Whose requests.
            cost: How many.

        Returns:
            The end of the window, Unix epoch seconds, where they are too many; 0 where they are not, and None where
            Redis does not answer.
        """
        now = time.monotonic()
        if now < self._again_at:
            return None
        if self._away:
            # One request tries whether it is back; the others need not wait for the answer.
            self._again_at = now + _SHARED_PAUSE_S
        try:
            async with asyncio.timeout(_SHARED_PATIENCE_S):
                allowed = await self._limiter.hit(item, *who, cost=cost)
                reset = 0.0 if allowed else (await self._limiter.get_window_stats(item, *who)).reset_time
        except (StorageError, OSError) as error:
            self._lost(error)
            return None
        if self._away:
            self._away, self._again_at = False, 0.0
            logger.warning("The Redis of RATE_LIMIT_STORAGE_URI answers again; requests are counted there")
        return reset

    def _lost(self, error: Exception) -> None:
        self._again_at = time.monotonic() + _SHARED_PAUSE_S
        if not self._away:
            self._away = True
            logger.warning(
                "The Redis of RATE_LIMIT_STORAGE_URI does not answer (%s). Until it does, each process counts "
                "requests for itself",
                error if isinstance(error, StorageError) else type(error).__name__,
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.disconnect()


@define(eq=False)
class RequestLimit:
    """
    So many requests in a window for each pair of key and client address.

    One key is a whole fleet, so there is never a limit for the key alone.

    Args:
        requests: How many.
        window_s: Length of the window.
        shared: Where they are counted, together with other processes; None for in this process.
    """

    requests: int
    window_s: int
    shared: SharedCounts | None = None
    _item: RateLimitItem = field(init=False)
    _limiter: FixedWindowRateLimiter = field(
        init=False, factory=lambda: FixedWindowRateLimiter(MemoryStorage())
    )

    def __attrs_post_init__(self) -> None:
        self._item = RateLimitItemPerSecond(self.requests, self.window_s)

    async def check(self, key_name: str, address: str) -> None:
        """
        Count one request.

        Raises:
            RequestError: 429, if it is one too many.
        """
        reset = await self._count((key_name, address), 1)
        if reset:
            raise rate_limit_exceeded("Too many requests", _seconds_until(reset))

    async def count(self, key_name: str, address: str, requests: int) -> None:
        """
        Count requests that are let in: the items of a batch.

        A batch may go over the limit, else one larger than the limit could never come; nothing more comes after it
        before the window ends.
        """
        if requests > 0:
            await self._count((key_name, address), requests)

    async def _count(self, who: tuple[str, str], cost: int) -> float:
        if self.shared is not None:
            reset = await self.shared.count(self._item, who, cost)
            if reset is not None:
                return reset
        if self._limiter.hit(self._item, *who, cost=cost):
            return 0.0
        return self._limiter.get_window_stats(self._item, *who).reset_time

    async def process_shutdown(self, scope: Any, event: Any) -> None:  # noqa: ARG002 - the signature of ASGI's lifespan
        """Close what is open; Falcon calls it where the limit is among its middleware."""
        if self.shared is not None:
            await self.shared.close()


@define(eq=False)
class WrongKeyLimit:
    """So many wrong keys a minute from one address; after that nothing from it is looked at until the minute ends."""

    _item: RateLimitItemPerMinute = field(
        init=False, factory=lambda: RateLimitItemPerMinute(WRONG_KEYS_PER_MINUTE)
    )
    _limiter: FixedWindowRateLimiter = field(
        init=False, factory=lambda: FixedWindowRateLimiter(MemoryStorage())
    )
    _blocked_until: dict[str, float] = field(init=False, factory=dict)

    def check(self, address: str) -> None:
        """
        Let a request pass unless too many wrong keys came from its address.

        Raises:
            RequestError: 429, if they did.
        """
        # Nearly always empty: the look-up is all that a request with the right key pays.
        until = self._blocked_until.get(address)
        if until is None:
            return
        if until > time.time():
            raise rate_limit_exceeded("Too many requests with a wrong API key", _seconds_until(until))
        del self._blocked_until[address]

    def count(self, address: str) -> None:
        """Count one wrong key."""
        self._limiter.hit(self._item, address)
        window = self._limiter.get_window_stats(self._item, address)
        if window.remaining == 0:
            now = time.time()
            self._blocked_until = {who: until for who, until in self._blocked_until.items() if until > now}
            self._blocked_until[address] = window.reset_time


def _seconds_until(moment: float) -> int:
    return max(1, math.ceil(moment - time.time()))
