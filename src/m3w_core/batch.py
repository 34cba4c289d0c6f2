"""
Many session summaries in one body: a JSON array, or one JSON object a line (NDJSON).

A bad summary is reported and never fails its neighbours; only a body that is no list at all is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from attrs import Factory, define, field, frozen

from m3w_core._convert import (
    decode,
    parse_session,
    refuse_rounded,
    rounded_integers,
    session_from_json,
)
from m3w_core.exceptions import BatchTooLargeError, InvalidSessionError
from m3w_core.model import Session

_T = TypeVar("_T")

#: How many summaries one body may hold.
MAX_BATCH_SESSIONS = 1000


@frozen
class RejectedSummary:
    """
    A summary that is not valid.

    Args:
        index: Its place in the body, from 0.
        session_id: What it gives as its ``sessionId``, if that is a string.
        error: What is wrong with it.
        item: What stands there: a line as it came, or an item of an array decoded.
    """

    index: int
    session_id: str | None
    error: InvalidSessionError
    item: Any = field(default=None, repr=False)


@define
class Batch:
    """
    What a body holds.

    Args:
        sessions: The valid summaries, in their order.
        indexes: The place of each in the body, from 0.
        rejected: The summaries that are not valid.
    """

    sessions: list[Session] = Factory(list)
    indexes: list[int] = Factory(list)
    rejected: list[RejectedSummary] = Factory(list)


def parse_array(body: bytes) -> Batch:
    """
    Read a JSON array of summaries.

    Raises:
        InvalidSessionError: If it is no JSON array.
        BatchTooLargeError: If it holds too many.
    """
    payloads = decode(body)
    if type(payloads) is not list:
        raise InvalidSessionError("Invalid request body: must be a JSON array")

    @cache
    def rounded() -> frozenset[float]:
        return rounded_integers(body)

    def parse(payload: Any) -> Session:
        session = session_from_json(payload)
        if session.extra:
            refuse_rounded(session, rounded())
        return session

    return _batch(payloads, parse, lambda payload: payload)


def parse_lines(body: bytes) -> Batch:
    """
    Read one summary a line; blank lines are passed over.

    Raises:
        InvalidSessionError: If no line of it is JSON.
        BatchTooLargeError: If there are too many.
    """
    lines = [line for line in body.split(b"\n") if line.strip()]
    batch = _batch(lines, parse_session, _payload_of)
    if lines and all(_payload_of(line) is None for line in lines):
        raise InvalidSessionError("Invalid request body: must hold a JSON object on each line")
    return batch


def _batch(items: Sequence[_T], parse: Callable[[_T], Session], payload_of: Callable[[_T], Any]) -> Batch:
    if len(items) > MAX_BATCH_SESSIONS:
        raise BatchTooLargeError(f"{len(items)} sessions are too many: at most {MAX_BATCH_SESSIONS} at once")
    batch = Batch()
    for index, item in enumerate(items):
        try:
            batch.sessions.append(parse(item))
            batch.indexes.append(index)
        except InvalidSessionError as error:
            payload = payload_of(item)
            session_id = payload.get("sessionId") if isinstance(payload, dict) else None
            batch.rejected.append(
                RejectedSummary(index, session_id if isinstance(session_id, str) else None, error, item)
            )
    return batch


def _payload_of(line: bytes) -> Any:
    try:
        return decode(line)
    except InvalidSessionError:
        return None
