"""
Many session summaries in one body: a JSON array, or one JSON object a line (NDJSON).

A bad summary is reported and never fails its neighbours; only a body that is no list at all is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import Factory, define, field, frozen

from m3w_core._convert import decode, parse_session
from m3w_core._typed import array_items
from m3w_core.exceptions import BatchTooLargeError, InvalidSessionError
from m3w_core.model import Session

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
        text: What stands there, as it came.
    """

    index: int
    session_id: str | None
    error: InvalidSessionError
    text: bytes = field(repr=False)


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
    items = array_items(body)
    # Before the copies: a small body can hold millions.
    _check_count(items)
    return _batch([bytes(item) for item in items])


def parse_lines(body: bytes) -> Batch:
    """
    Read one summary a line; blank lines are passed over.

    Raises:
        InvalidSessionError: If no line of it is JSON.
        BatchTooLargeError: If there are too many.
    """
    lines = [line for line in body.split(b"\n") if line.strip()]
    _check_count(lines)
    batch = _batch(lines)
    if lines and all(_payload_of(line) is None for line in lines):
        raise InvalidSessionError("Invalid request body: must hold a JSON object on each line")
    return batch


def _check_count(items: Sequence[object]) -> None:
    if len(items) > MAX_BATCH_SESSIONS:
        raise BatchTooLargeError(f"{len(items)} sessions are too many: at most {MAX_BATCH_SESSIONS} at once")


def _batch(texts: Sequence[bytes]) -> Batch:
    batch = Batch()
    for index, text in enumerate(texts):
        try:
            batch.sessions.append(parse_session(text))
            batch.indexes.append(index)
        except InvalidSessionError as error:
            payload = _payload_of(text)
            session_id = payload.get("sessionId") if isinstance(payload, dict) else None
            batch.rejected.append(
                RejectedSummary(index, session_id if isinstance(session_id, str) else None, error, text)
            )
    return batch


def _payload_of(text: bytes) -> Any:
    try:
        return decode(text)
    except InvalidSessionError:
        return None
