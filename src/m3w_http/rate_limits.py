"""
How often a client may come.

Counts are kept in this process, so that with several workers a client can have up to as many times its limit.
"""

from __future__ import annotations

import math
import time

from attrs import define, field
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from m3w_http.errors import rate_limit_exceeded

#: Behind one address sit many viewers; an app with an old key must not lock out those with the right one at once.
WRONG_KEYS_PER_MINUTE = 100


@define(eq=False)
class RequestLimit:
    """
    So many requests in a window for each pair of key and client address.

    One key is a whole fleet, so there is never a limit for the key alone.

    Args:
        requests: How many; 0 is no limit.
        window_s: Length of the window.
    """

    requests: int
    window_s: int
    _limiter: FixedWindowRateLimiter = field(
        init=False, factory=lambda: FixedWindowRateLimiter(MemoryStorage())
    )

    def check(self, key_name: str, address: str) -> None:
        """
        Count one request.

        Raises:
            RequestError: 429, if it is one too many.
        """
        if self.requests == 0:
            return
        item = RateLimitItemPerSecond(self.requests, self.window_s)
        if not self._limiter.hit(item, key_name, address):
            reset = self._limiter.get_window_stats(item, key_name, address).reset_time
            raise rate_limit_exceeded("Too many requests", _seconds_until(reset))


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
