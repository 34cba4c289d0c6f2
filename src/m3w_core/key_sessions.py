"""
The sessions that came by one API key: counted, and deleted where the key has leaked.

A session counts as that of the key of its newest summary. So one that a stranger has overwritten with a leaked key
goes too: what it was before is known no more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from pg8000.native import Connection

from m3w_core import rollup
from m3w_core._errors import translating

#: A transaction's; short, so that nobody who writes has to wait.
_AT_ONCE: Final = 1000

_COUNT: Final = "SELECT count(*), min(created_at), max(received_at) FROM sessions WHERE received_via = :name"

# In the order of the key, so that the table is gone through once; with the times at which the rollup may count them.
_FIND: Final = """
SELECT session_id, least(event_at, earlier_event_at_min), greatest(event_at, earlier_event_at_max)
FROM sessions WHERE received_via = :name AND session_id > :after ORDER BY session_id LIMIT :at_once
"""

# Looked at once more: another key's summary may have come in between.
_DELETE_SESSIONS: Final = """
DELETE FROM sessions WHERE session_id = ANY(CAST(:ids AS text[])) AND received_via = :name RETURNING session_id
"""
_DELETE_TIMELINES: Final = "DELETE FROM session_timeline WHERE session_id = ANY(CAST(:ids AS text[]))"


def count_sessions(connection: Connection, name: str) -> tuple[int, datetime | None, datetime | None]:
    """
    Count the sessions whose stored summary came by a key.

    Returns:
        How many; when the first was first seen; when the last summary came.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    with translating():
        ((count, first, last),) = connection.run(_COUNT, name=name)
    return count, first, last


def delete_sessions(
    connection: Connection, name: str, *, progress: Callable[[int], None] = lambda _: None
) -> int:
    """
    Delete the sessions whose stored summary came by a key, with their timelines, and put the rollup right.

    It can be repeated, and should be where the key was valid until just now.

    Args:
        connection: To a migrated database, in no transaction.
        name: Of the key.
        progress: Called now and then, with how many more are gone.

    Returns:
        How many sessions were deleted.

    Raises:
        StorageUnavailableError: If the database does not answer.
    """
    deleted, after = 0, ""
    times: list[datetime] = []
    try:
        with translating():
            while found := connection.run(_FIND, name=name, after=after, at_once=_AT_ONCE):
                after = found[-1][0]
                times = [min(times + [row[1] for row in found]), max(times + [row[2] for row in found])]
                gone = _delete(connection, name, [row[0] for row in found])
                deleted += gone
                progress(gone)
    finally:
        if times:
            rollup.rebuild(connection, times[0], times[1] + timedelta(microseconds=1))
    return deleted


def _delete(connection: Connection, name: str, ids: list[str]) -> int:
    connection.run("BEGIN")
    gone = [session_id for (session_id,) in connection.run(_DELETE_SESSIONS, ids=ids, name=name)]
    connection.run(_DELETE_TIMELINES, ids=gone)
    connection.run("COMMIT")
    return len(gone)
