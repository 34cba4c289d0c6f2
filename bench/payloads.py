"""
Requests as the SDK sends them, made from the same templates as wrk's.

Timestamps only rise, over all sessions, so that every summary is newer than what is stored of its session.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

#: Templates in the syntax that Lua and Python share.
TEMPLATES = Path(__file__).parent / "payloads"


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text().rstrip("\n")


_NEW, _PLAYING, _ENTRY = _template("new.txt"), _template("playing.txt"), _template("entry.txt")


def random_session_id() -> str:
    """Make a random UUID, several times as fast as the standard library does."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def new_session(timestamp_ms: int) -> str:
    """Make the summary of a new session, as JSON."""
    return _NEW % (random_session_id(), timestamp_ms, 45000)


@define
class Requests:
    """
    Makes requests, each with a newer timestamp, and counts them.

    Args:
        port: Of the contestant, on 127.0.0.1.
        api_key: It knows.
        timestamp_ms: The last timestamp that is taken already.
        session_ids: Of the sessions that are playing.
    """

    port: int
    api_key: str
    timestamp_ms: int
    session_ids: Sequence[str]
    created: int = field(default=0, init=False)
    updated: int = field(default=0, init=False)
    entries: int = field(default=0, init=False)
    _head: str = field(init=False)
    _order: list[str] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._head = (
            f"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            "Content-Type: application/json; charset=utf-8\r\n"
            f"X-API-Key: {self.api_key}\r\nContent-Length: "
        )

    def insert(self) -> bytes:
        """Make the summary of a new session."""
        self.created += 1
        return self._request(new_session(self._next_ms()))

    def heartbeat(self) -> bytes:
        """Make the next summary of a playing session, with one or two new entries of its timeline."""
        self.updated += 1
        at_ms, elapsed_ms = self._next_ms(), 15000 + self.updated
        timeline = _ENTRY % (at_ms, elapsed_ms, "PLAYING")
        if self.updated % 2 == 0:
            timeline = _ENTRY % (at_ms - 1, elapsed_ms - 1, "BUFFERING") + "," + timeline
        self.entries += 2 - self.updated % 2
        if not self._order:
            self._order = random.sample(self.session_ids, len(self.session_ids))
        return self._request(_PLAYING % (self._order.pop(), at_ms, elapsed_ms, timeline))

    def _next_ms(self) -> int:
        self.timestamp_ms += 2
        return self.timestamp_ms

    def _request(self, body: str) -> bytes:
        return f"{self._head}{len(body)}\r\n\r\n{body}".encode()
