"""
Payloads that came with a right key and did not validate: what is kept of them, and how much at most.

On a 400 the SDK deletes the only copy it has, so what a fix or an upgrade could still make a session of lies here.
Nothing of a request without a right key is kept, and neither addresses nor user agents.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Final, Literal

from attrs import define, field, frozen

from m3w_core._convert import KNOWN_FIELDS
from m3w_core.exceptions import InvalidSessionError, Problem, SessionRefusedError

#: So much of one payload is kept: the largest summary that is taken, where nothing else is configured.
MAX_PAYLOAD_BYTES: Final = 1024 * 1024

#: What a payload costs beside its bytes: a guess on the safe side.
OVERHEAD_BYTES: Final = 1024

_MAX_MESSAGE_CHARACTERS = 1000

_INDEX = re.compile(r"\[\d+\]")

#: Why a payload was not kept: more came than may be written, or than may wait.
Dropped = Literal["rate", "full"]


def _cut(payload: bytes) -> bytes:
    return payload[:MAX_PAYLOAD_BYTES]


@frozen(kw_only=True)
class RejectedPayload:
    """
    A payload that was answered 400.

    Args:
        received_via: Name of the API key.
        route: Path that it was sent to.
        media_type: Of *payload*; ``application/gzip`` where it could not be unpacked.
        code: Of the answer.
        reason: What to count by, see `reason_of`.
        message: Of the answer.
        payload: The body, unpacked; of a batch that could be read, one item. At most `MAX_PAYLOAD_BYTES` of it.
        payload_bytes: How long it was.
        batch_index: Its place in its batch; None where it is a whole body.
        arrived_s: When it came, by `time.monotonic`.
    """

    received_via: str
    route: str
    media_type: str
    code: str
    reason: str
    message: str
    payload: bytes = field(converter=_cut, repr=False)
    payload_bytes: int
    batch_index: int | None = None
    arrived_s: float = field(factory=time.monotonic)

    @property
    def size(self) -> int:
        """What it counts against limits, in bytes."""
        return len(self.payload) + OVERHEAD_BYTES


def bad_field_names(problems: Iterable[Problem]) -> set[str]:
    """Give the bad fields without indexes, ``timelineEvents[].playbackState``; names of an app's own are ``other``."""
    names = {_INDEX.sub("[]", bad.field) for bad in problems}
    return {name if name in KNOWN_FIELDS else "other" for name in names}


def reason_of(error: Exception) -> str:
    """
    Say in few words, of which there is a limited number, why a payload was rejected.

    Returns:
        The bad fields with commas between them, or ``unreadable``, or ``refused by the database``.
    """
    if isinstance(error, SessionRefusedError):
        return "refused by the database"
    problems = error.problems if isinstance(error, InvalidSessionError) else ()
    return ", ".join(sorted(bad_field_names(problems))) or "unreadable"


def printable(message: str) -> str:
    """Cut a message, and take out the one character that PostgreSQL cannot hold."""
    return message.replace("\0", "\\0")[:_MAX_MESSAGE_CHARACTERS]


@define(eq=False)
class RejectedQueue:
    """
    Rejected payloads that wait to be written, within bounds of memory and of bytes a second.

    A client with a right key can have as much rejected as it likes; what is too much is counted and forgotten.
    It may be used by two threads, one that adds and one that takes.

    Args:
        bytes_per_s: How much is taken in the long run; this wears out the table, and the disk, no faster.
        max_bytes: How much may come at once, and wait.
    """

    bytes_per_s: int = 64 * 1024
    max_bytes: int = 8 * 1024 * 1024
    _dropped: Counter[Dropped] = field(factory=Counter, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _waiting: deque[RejectedPayload] = field(factory=deque, init=False)
    _waiting_bytes: int = field(default=0, init=False)
    _allowance: float = field(init=False)
    _counted_at: float = field(factory=time.monotonic, init=False)

    def __attrs_post_init__(self) -> None:
        self._allowance = float(self.max_bytes)

    def add(self, rejected: RejectedPayload) -> None:
        """Take a payload, or count it as dropped."""
        with self._lock:
            passed_s = max(0.0, rejected.arrived_s - self._counted_at)
            self._counted_at += passed_s
            self._allowance = min(self.max_bytes, self._allowance + self.bytes_per_s * passed_s)
            if self._allowance < rejected.size:
                self._dropped["rate"] += 1
            elif self._waiting_bytes + rejected.size > self.max_bytes:
                self._dropped["full"] += 1
            else:
                self._allowance -= rejected.size
                self._waiting_bytes += rejected.size
                self._waiting.append(rejected)

    def take(self, max_bytes: int) -> list[RejectedPayload]:
        """Hand over the oldest payloads, so many that they are no larger together, but one at least."""
        taken: list[RejectedPayload] = []
        with self._lock:
            while self._waiting and (not taken or self._waiting[0].size <= max_bytes):
                rejected = self._waiting.popleft()
                max_bytes -= rejected.size
                self._waiting_bytes -= rejected.size
                taken.append(rejected)
        return taken

    def take_dropped(self) -> Counter[Dropped]:
        """Give how many were dropped, and why, since this was asked last."""
        with self._lock:
            dropped, self._dropped = self._dropped, Counter()
        return dropped
