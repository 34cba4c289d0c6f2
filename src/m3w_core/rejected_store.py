"""
The table ``rejected_payloads``: written, bounded, read, emptied.

It is bounded by fairness, not by age alone: where there is too much, what came most often goes first, so that a
flood of one mistake (or of one key) leaves samples of all others.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import orjson
from attrs import field, frozen
from pg8000.native import Connection

from m3w_core._errors import translating
from m3w_core.rejected import OVERHEAD_BYTES, RejectedPayload, printable

#: How much the table may hold, payloads and `OVERHEAD_BYTES` for each.
MAX_STORED_BYTES: Final = 64 * 1024 * 1024

_COLUMNS = "received_via, route, media_type, code, reason, message, payload_bytes, batch_index"

_INSERT: Final = f"""
INSERT INTO rejected_payloads ({_COLUMNS}, received_at, payload)
SELECT {_COLUMNS}, now() - make_interval(secs => age_s), decode(payload, 'base64')
FROM json_to_recordset(CAST(:rows AS json)) AS r(
    received_via text, route text, media_type text, code text, reason text, message text,
    payload_bytes bigint, batch_index integer, age_s float8, payload text
)
"""

# Depth is how much lies above a payload among those of its key and reason, newest first. What lies deepest goes.
_PRUNE: Final = """
DELETE FROM rejected_payloads WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(size) OVER (ORDER BY depth, received_at DESC, id) AS total FROM (
            SELECT id, received_at, size, sum(size) OVER (
                PARTITION BY received_via, reason ORDER BY received_at DESC, id
            ) AS depth
            FROM (
                SELECT id, received_at, received_via, reason, octet_length(payload) + :overhead AS size
                FROM rejected_payloads
            ) AS sizes
        ) AS depths
    ) AS totals
    WHERE total > :limit
)
"""

_SIZE: Final = "SELECT coalesce(sum(octet_length(payload) + :overhead), 0) FROM rejected_payloads"

_FIND: Final = f"""
SELECT id, received_at, {_COLUMNS} FROM rejected_payloads
WHERE (CAST(:reason AS text) IS NULL OR reason = :reason)
    AND (CAST(:since AS timestamptz) IS NULL OR received_at >= :since)
    AND (CAST(:ids AS text[]) IS NULL OR id = ANY(CAST(:ids AS text[])))
ORDER BY received_at DESC, id LIMIT :limit
"""

_COUNT: Final = """
SELECT code, reason, received_via, count(*), min(received_at), max(received_at) FROM rejected_payloads
WHERE (CAST(:since AS timestamptz) IS NULL OR received_at >= :since)
    AND (CAST(:reason AS text) IS NULL OR reason = :reason)
GROUP BY code, reason, received_via ORDER BY count(*) DESC, code, reason, received_via
"""

_PAYLOAD: Final = "SELECT payload FROM rejected_payloads WHERE id = :id"
_DELETE: Final = "DELETE FROM rejected_payloads WHERE id = ANY(CAST(:ids AS text[]))"


@frozen(kw_only=True)
class StoredRejection:
    """
    A row of the table without its payload, see `RejectedPayload`.

    Args:
        id: A UUID.
        received_at: When it came, by the clock of the database.
    """

    id: str
    received_at: datetime
    received_via: str
    route: str
    media_type: str
    code: str
    reason: str
    message: str = field(repr=False)
    payload_bytes: int
    batch_index: int | None


@frozen
class RejectionCount:
    """How many payloads of one code, reason and key there are, and from when."""

    code: str
    reason: str
    received_via: str
    count: int
    oldest: datetime
    newest: datetime


def store_rejected(connection: Connection, rejected: Sequence[RejectedPayload]) -> None:
    """
    Write payloads, all or none.

    Raises:
        SessionRefusedError: If the database refuses one of them.
        StorageUnavailableError: If it does not answer.
    """
    now_s = time.monotonic()
    rows = [
        {
            "received_via": each.received_via,
            "route": each.route,
            "media_type": each.media_type,
            "code": each.code,
            "reason": each.reason,
            "message": printable(each.message),
            "payload_bytes": each.payload_bytes,
            "batch_index": each.batch_index,
            "age_s": now_s - each.arrived_s,
            "payload": b64encode(each.payload).decode(),
        }
        for each in rejected
    ]
    with translating():
        connection.run(_INSERT, rows=orjson.dumps(rows).decode())


def prune_rejected(connection: Connection, max_bytes: int = MAX_STORED_BYTES) -> int:
    """
    Where there is too much, delete an eighth of what there may be: it takes long, so it is done rarely.

    Returns:
        How many payloads were deleted.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    with translating():
        ((size,),) = connection.run(_SIZE, overhead=OVERHEAD_BYTES)
        if size <= max_bytes:
            return 0
        connection.run(_PRUNE, overhead=OVERHEAD_BYTES, limit=max_bytes * 7 // 8)
    return int(connection.row_count)


def find_rejected(
    connection: Connection,
    *,
    reason: str | None = None,
    since: datetime | None = None,
    ids: Sequence[str] | None = None,
    limit: int = 1_000_000,
) -> list[StoredRejection]:
    """
    Find payloads, newest first.

    Args:
        connection: To a migrated database.
        reason: Of this reason only.
        since: That came at this time or later; with a time zone.
        ids: Of these only.
        limit: At most so many.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    names = ("id", "received_at", *_COLUMNS.split(", "))
    with translating():
        rows = connection.run(_FIND, reason=reason, since=since, ids=ids, limit=limit)
    return [StoredRejection(**dict(zip(names, row, strict=True))) for row in rows]


def count_rejected(
    connection: Connection, *, reason: str | None = None, since: datetime | None = None
) -> list[RejectionCount]:
    """
    Count payloads by code, reason and key, the most frequent first; see `find_rejected` for which.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    with translating():
        return [RejectionCount(*row) for row in connection.run(_COUNT, reason=reason, since=since)]


def read_payload(connection: Connection, rejection_id: str) -> bytes | None:
    """
    Read the bytes that are kept of a payload; None where it is there no more.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    with translating():
        rows = connection.run(_PAYLOAD, id=rejection_id)
    return rows[0][0] if rows else None


def delete_rejected(connection: Connection, ids: Sequence[str]) -> None:
    """
    Delete payloads by their IDs.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    with translating():
        connection.run(_DELETE, ids=list(ids))
