"""From a 400 to what is kept of its payload. The answer never waits for that, and never depends on it."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from m3w_core import Batch, SessionRefusedError, session_to_dict
from m3w_core.rejected import RejectedPayload, RejectedQueue, reason_of
from m3w_http.body import NotUnpackedError
from m3w_http.errors import answer_for

_JSON = "application/json"


def keep_body(
    queue: RejectedQueue, error: Exception, body: bytes, *, key_name: str, route: str, media_type: str = _JSON
) -> None:
    """
    Keep a body that is answered 400 as a whole.

    Args:
        queue: Where to.
        error: What the answer is made of.
        body: After decompression.
        key_name: Of the request's API key.
        route: Path of the request.
        media_type: Of the body.
    """
    if isinstance(error, NotUnpackedError):
        body, media_type = error.packed, "application/gzip"
    _keep(queue, error, body, key_name, route, media_type)


def keep_items(
    queue: RejectedQueue,
    batch: Batch,
    refused: Mapping[int, SessionRefusedError],
    *,
    key_name: str,
    route: str,
) -> None:
    """
    Keep the summaries of a batch that were rejected.

    Args:
        queue: Where to.
        batch: What was read from the body.
        refused: Why the database does not take a session, by its place among the valid ones.
        key_name: Of the request's API key.
        route: Path of the request.
    """
    for bad in batch.rejected:
        _keep(queue, bad.error, bad.text, key_name, route, _JSON, bad.index)
    for place, error in refused.items():
        text = orjson.dumps(session_to_dict(batch.sessions[place]))
        _keep(queue, error, text, key_name, route, _JSON, batch.indexes[place])


def _keep(
    queue: RejectedQueue,
    error: Exception,
    payload: bytes,
    key_name: str,
    route: str,
    media_type: str,
    batch_index: int | None = None,
) -> None:
    answer = answer_for(error)
    queue.add(
        RejectedPayload(
            received_via=key_name,
            route=route,
            media_type=media_type,
            code=answer.code,
            reason=reason_of(error),
            message=answer.message,
            payload=payload,
            payload_bytes=len(payload),
            batch_index=batch_index,
        )
    )
