"""
Takes the demo's sessions out of the database again.

They are found by the mark in `extra`, never by their IDs, so that nothing else can be meant.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import orjson
from attrs import frozen

from m3w_core import DatabaseSettings, connected, rollup
from m3w_http.demo.generator import MARK

_MARKED = orjson.dumps({MARK: True}).decode()

# With the range of hours that the rollup may count the session in.
_FIND = """
SELECT session_id, least(event_at, earlier_event_at_min), greatest(event_at, earlier_event_at_max)
FROM sessions WHERE extra @> CAST(:marked AS jsonb) ORDER BY session_id
"""

# Looked at once more: an app may have sent a session of this ID in between.
_DELETE_SESSIONS = """
DELETE FROM sessions
WHERE session_id = ANY(CAST(:ids AS text[])) AND extra @> CAST(:marked AS jsonb)
RETURNING session_id
"""
_DELETE_TIMELINES = "DELETE FROM session_timeline WHERE session_id = ANY(CAST(:ids AS text[]))"

_BATCH_SESSIONS = 1000


@frozen
class Removed:
    """
    What is gone.

    Args:
        sessions: Number of sessions.
        timeline_entries: Number of entries of their timelines.
    """

    sessions: int
    timeline_entries: int


def remove(database: DatabaseSettings) -> Removed:
    """
    Delete the sessions of the demo with their timelines, and put the rollup right.

    Args:
        database: Whose migrations are current.

    Returns:
        How much was deleted.

    Raises:
        StorageError: If the database does not answer.
    """
    with connected(database) as connection:
        found: list[tuple[str, datetime, datetime]] = connection.run(_FIND, marked=_MARKED)
    if not found:
        return Removed(0, 0)
    try:
        return _delete(database, [session_id for session_id, _, _ in found])
    finally:
        # Also after Ctrl-C half-way, which leaves a connection unusable: what is gone would be counted for ever.
        with connected(database) as connection:
            since, until = min(row[1] for row in found), max(row[2] for row in found)
            rollup.rebuild(connection, since, until + timedelta(microseconds=1))


def _delete(database: DatabaseSettings, session_ids: list[str]) -> Removed:
    sessions = timeline_entries = 0
    with connected(database) as connection:
        # Short transactions, so that nobody who writes has to wait.
        for first in range(0, len(session_ids), _BATCH_SESSIONS):
            connection.run("BEGIN")
            rows = connection.run(
                _DELETE_SESSIONS, ids=session_ids[first : first + _BATCH_SESSIONS], marked=_MARKED
            )
            connection.run(_DELETE_TIMELINES, ids=[session_id for (session_id,) in rows])
            timeline_entries += connection.row_count
            connection.run("COMMIT")
            sessions += len(rows)
    return Removed(sessions, timeline_entries)
