"""
Retention: what is older than ``RETENTION_DAYS`` is deleted, in batches so small that nobody waits for them.

Age goes by ``event_at``, which no client's clock can put more than 30 days before the arrival. Whole hours (UTC)
go at a time, so the rollup and the sessions that it was made of go together.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from attrs import define, field
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

#: Rows that are looked up at once; finding them may take a look at the whole table.
_LOOKED_UP = 50_000

#: Sessions that one transaction deletes: the number is doubled or halved until it takes about this long.
_FIRST_BATCH, _LARGEST_BATCH = 64, 1024
_QUICK_S, _SLOW_S = 0.05, 0.2

#: Two who wait for each other are parted by the server after a second (deadlock_timeout); we give way before.
_LOCK_TIMEOUT_MS = 100
_LOCKED = ("55P03", "40P01")
#: So many locked sessions are left for the next time. If it is more, it is the table that is locked.
_MOST_LOCKED = 8

#: Sessions whose timelines are looked at for orphans, at once and in a pass of the housekeeper.
_SLICE, _SLICES = 1000, 20

#: How far before its arrival ``event_at`` may lie, see ``m3w_event_at()``.
_LATEST_ARRIVAL_DAYS = 30

_CUTOFF = "SELECT date_trunc('hour', now() - make_interval(hours => 24 * :days), 'UTC')"

_BEGIN = f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}"
# Never by ctid and without FOR UPDATE, which distributed tables do not know.
_DELETE_SESSIONS = (
    "DELETE FROM sessions WHERE session_id = ANY(CAST(:keys AS text[])) AND {expired} RETURNING session_id"
)
_DELETE_TIMELINES = "DELETE FROM session_timeline WHERE session_id = ANY(CAST(:keys AS text[]))"

_DELETE_REJECTED = """
DELETE FROM rejected_payloads WHERE id IN (
    SELECT id FROM rejected_payloads WHERE received_at < :cutoff ORDER BY received_at ASC LIMIT 200
)
"""
_OLDEST_ROLLUP = "SELECT min(starts_at) FROM qoe_hourly"
_DELETE_ROLLUP = "DELETE FROM qoe_hourly WHERE starts_at < :until"

_NEXT_TIMELINES = """
SELECT DISTINCT session_id FROM session_timeline WHERE session_id > :after ORDER BY session_id ASC LIMIT :slice
"""
_KNOWN = "SELECT session_id FROM sessions WHERE session_id = ANY(CAST(:keys AS text[]))"
_ORPHAN = """
created_at < :cutoff
AND NOT EXISTS (SELECT FROM sessions WHERE sessions.session_id = session_timeline.session_id)
"""
_DELETE_ORPHANS = f"{_DELETE_TIMELINES} AND {_ORPHAN}"

_COUNTS = {
    "sessions": "SELECT count(*) FROM sessions WHERE {expired}",
    "session_timeline": f"""
        SELECT count(*) FROM session_timeline
        WHERE session_id IN (SELECT session_id FROM sessions WHERE {{expired}}) OR {_ORPHAN}
    """,
    "rejected_payloads": "SELECT count(*) FROM rejected_payloads WHERE received_at < :cutoff",
    "qoe_hourly": "SELECT count(*) FROM qoe_hourly WHERE starts_at < :cutoff",
}

#: Of which rows are deleted.
TABLES = tuple(_COUNTS)


def cutoff(connection: Connection, days: int) -> datetime:
    """
    Tell, by the database's clock, what goes: everything before a full hour (UTC).

    Args:
        connection: To a database.
        days: To keep, at least 1.
    """
    moment: datetime = connection.run(_CUTOFF, days=days)[0][0]
    return moment


def count_expired(connection: Connection, days: int) -> dict[str, int]:
    """
    Count what `Retention` would delete now, by table.

    Args:
        connection: To a migrated database.
        days: To keep, at least 1.
    """
    before = cutoff(connection, days)
    return {
        table: connection.run(statement.format(expired=_expired(days)), cutoff=before)[0][0]
        for table, statement in _COUNTS.items()
    }


def _expired(days: int) -> str:
    if days > _LATEST_ARRIVAL_DAYS:
        return "event_at < :cutoff"
    # A phone whose clock is weeks behind, or that delivers weeks late: its sessions have just come.
    return "event_at < :cutoff AND received_at < :cutoff"


def _nothing(table: str, rows: int) -> None:
    """Take no notice of what was deleted."""


@define(eq=False)
class Retention:
    """
    Deletes what is too old: sessions with their timelines, rejected payloads, hours of the rollup.

    Beside it a timeline may be left over whose session was deleted by hand; those are looked for a part of the
    table at a time.

    Args:
        days: To keep, at least 1.
        deleted: Is told the table and the number of rows after each transaction.
    """

    days: int
    deleted: Callable[[str, int], None] = _nothing
    _batch: int = field(default=_FIRST_BATCH, init=False)
    _locked: int = field(default=0, init=False)
    # Session IDs of the SDK are UUIDs: wherever a process begins, all of the table has its turn.
    _orphans_after: str = field(factory=lambda: secrets.token_hex(4), init=False)

    def prune(
        self, connection: Connection, *, budget_s: float = math.inf, all_timelines: bool = False
    ) -> bool:
        """
        Delete, for a while.

        Any number of processes may do this at once, and clients may send the same sessions meanwhile: what has
        just come again is kept, and what another has locked is left for the next time.

        Args:
            connection: To a migrated database, in no transaction.
            budget_s: About how long it may take.
            all_timelines: Whether to look for left-over timelines in the whole table.

        Returns:
            Whether all is done; otherwise it is to be called again.

        Raises:
            DatabaseError: If the server refuses, or somebody has locked the table.
        """
        deadline = time.monotonic() + budget_s
        self._locked = 0
        before = cutoff(connection, self.days)
        return (
            self._prune_sessions(connection, before, deadline)
            and self._prune_rejected(connection, before, deadline)
            # After the sessions: an hour is made anew when one of its sessions comes again.
            and self._prune_rollup(connection, before, deadline)
            and self._prune_orphans(connection, before, deadline, all_timelines=all_timelines)
        )

    def _prune_sessions(self, connection: Connection, before: datetime, deadline: float) -> bool:
        find = f"SELECT session_id FROM sessions WHERE {_expired(self.days)} LIMIT {_LOOKED_UP}"
        while True:
            found: list[str] = [row[0] for row in connection.run(find, cutoff=before)]
            locked_before = self._locked
            position = 0
            while position < len(found):
                if time.monotonic() > deadline:
                    return False
                keys = found[position : position + self._batch]
                position += len(keys)
                started = time.monotonic()
                # Two that wait for rows of each other take them in one order, as writers do.
                self._delete_sessions(connection, sorted(keys), before)
                self._adapt(time.monotonic() - started)
            if len(found) < _LOOKED_UP or self._locked > locked_before:
                return True

    def _adapt(self, took_s: float) -> None:
        if took_s > _SLOW_S:
            self._batch = max(self._batch // 2, 1)
        elif took_s < _QUICK_S:
            self._batch = min(self._batch * 2, _LARGEST_BATCH)
        # At most half of the time: the disk is for those who write.
        time.sleep(took_s)

    def _delete_sessions(self, connection: Connection, keys: Sequence[str], before: datetime) -> None:
        waiting = [keys]
        while waiting:
            batch = waiting.pop()
            try:
                sessions, entries = self._delete_batch(connection, batch, before)
            except DatabaseError as error:
                with suppress(DatabaseError):
                    connection.run("ROLLBACK")
                if error.args[0].get("C") not in _LOCKED:
                    raise
                if len(batch) > 1:
                    middle = len(batch) // 2
                    waiting += [batch[middle:], batch[:middle]]
                    continue
                self._locked += 1
                if self._locked > _MOST_LOCKED:
                    raise
                continue
            self.deleted("sessions", sessions)
            self.deleted("session_timeline", entries)

    def _delete_batch(self, connection: Connection, keys: Sequence[str], before: datetime) -> tuple[int, int]:
        connection.run(_BEGIN)
        statement = _DELETE_SESSIONS.format(expired=_expired(self.days))
        gone = [row[0] for row in connection.run(statement, keys=list(keys), cutoff=before)]
        # A statement of its own, after the first has the sessions' locks: a late summary, which adds entries,
        # has either committed before and is seen, or waits for us and then makes the session anew.
        connection.run(_DELETE_TIMELINES, keys=gone)
        entries = connection.row_count
        connection.run("COMMIT")
        return len(gone), entries

    def _prune_rejected(self, connection: Connection, before: datetime, deadline: float) -> bool:
        while time.monotonic() <= deadline:
            connection.run(_DELETE_REJECTED, cutoff=before)
            if not connection.row_count:
                return True
            self.deleted("rejected_payloads", connection.row_count)
        return False

    def _prune_rollup(self, connection: Connection, before: datetime, deadline: float) -> bool:
        while time.monotonic() <= deadline:
            oldest = connection.run(_OLDEST_ROLLUP)[0][0]
            if oldest is None or oldest >= before:
                return True
            connection.run(_DELETE_ROLLUP, until=min(before, oldest + timedelta(days=1)))
            self.deleted("qoe_hourly", connection.row_count)
        return False

    def _prune_orphans(
        self, connection: Connection, before: datetime, deadline: float, *, all_timelines: bool
    ) -> bool:
        if all_timelines:
            self._orphans_after = ""
        slices = 0
        while all_timelines or slices < _SLICES:
            if time.monotonic() > deadline:
                return False
            slices += 1
            found = connection.run(_NEXT_TIMELINES, after=self._orphans_after, slice=_SLICE)
            keys = [row[0] for row in found]
            known = {row[0] for row in connection.run(_KNOWN, keys=keys)}
            orphans = [key for key in keys if key not in known]
            if orphans:
                connection.run(_DELETE_ORPHANS, keys=orphans, cutoff=before)
                self.deleted("session_timeline", connection.row_count)
            if len(keys) < _SLICE:
                self._orphans_after = ""
                break
            self._orphans_after = keys[-1]
        return True
