"""
The hourly rollup of sessions, ``qoe_hourly``, and how it is kept current.

It holds exactly the sessions whose summary was received before ``rolled_until``, which stays minutes behind the
clock; the SQL functions read all others from the sessions themselves. So nothing waits for the rollup: it makes
answers fast, not right. Each transaction leaves it consistent, and takes a lock, so that any number of processes
may refresh and rebuild it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

from attrs import frozen
from pg8000.native import Connection

from m3w_core._errors import translating

#: Taken by every transaction that writes the rollup: "m3w_roll" in ASCII.
LOCK_KEY: Final = int.from_bytes(b"m3w_roll")

# A summary must be visible by then, that is its transaction over; and it must have been the newest for longer
# than the 45 s after which the upsert notes the hour that it leaves.
_LAG = "5 minutes"

# Seven days: where there is much to do, no transaction takes long.
_NEXT = """
WITH begin AS (
    SELECT state.rolled_until, CASE
        WHEN state.rolled_until > '-infinity' THEN state.rolled_until
        ELSE (SELECT min(received_at) FROM sessions)
    END AS moment
    FROM qoe_rollup_state AS state
)
SELECT
    CAST(rolled_until AS text),
    CAST(least(now() - CAST(:lag AS interval), moment + interval '7 days') AS text),
    now() - CAST(:lag AS interval) <= moment + interval '7 days' IS NOT FALSE
FROM begin
WHERE rolled_until < now() - CAST(:lag AS interval)
"""

# The hours to do, as ranges without a gap: those that sessions came into, and those that they may have left.
_TOUCHED = """
WITH touched (hour) AS (
    SELECT m3w_slot(interval '1 hour', event_at) FROM sessions
    WHERE received_at >= CAST(:rolled_until AS timestamptz) AND received_at < CAST(:next AS timestamptz)
    UNION
    SELECT generate_series(
        m3w_slot(interval '1 hour', earlier_event_at_min),
        m3w_slot(interval '1 hour', earlier_event_at_max),
        interval '1 hour'
    )
    FROM sessions
    WHERE received_at >= CAST(:rolled_until AS timestamptz) AND earlier_event_at_min IS NOT NULL
),
islands AS (
    SELECT hour, hour - row_number() OVER (ORDER BY hour) * interval '1 hour' AS island FROM touched
)
SELECT CAST(min(hour) AS text), CAST(max(hour) + interval '1 hour' AS text)
FROM islands GROUP BY island ORDER BY min(hour)
"""

_ADVANCE = "UPDATE qoe_rollup_state SET rolled_until = CAST(:next AS timestamptz)"

# By days, as there may be years without a session between two of them.
_DAYS = """
WITH asked AS (
    SELECT
        m3w_slot(interval '1 hour', CAST(:since AS timestamptz)) AS since,
        m3w_next_slot(interval '1 hour', CAST(:until AS timestamptz)) AS until
),
days (day) AS (
    SELECT m3w_slot(interval '24 hours', event_at) FROM sessions, asked WHERE event_at >= since AND event_at < until
    UNION
    SELECT m3w_slot(interval '24 hours', starts_at) FROM qoe_hourly, asked
    WHERE starts_at >= since AND starts_at < until
)
SELECT CAST(greatest(day, since) AS text), CAST(least(day + interval '24 hours', until) AS text)
FROM days, asked ORDER BY day
"""

_STATE = "SELECT CAST(rolled_until AS text) FROM qoe_rollup_state"

_DELETE = """
DELETE FROM qoe_hourly WHERE starts_at >= CAST(:since AS timestamptz) AND starts_at < CAST(:until AS timestamptz)
"""

_INSERT = """
INSERT INTO qoe_hourly SELECT * FROM qoe_hourly_rows(
    CAST(:since AS timestamptz), CAST(:until AS timestamptz), CAST(:rolled_until AS timestamptz)
)
"""


@frozen(kw_only=True)
class RollupReport:
    """
    What was done.

    Args:
        ranges: How many ranges of hours were summed up again.
        rows: How many rows they now have.
    """

    ranges: int = 0
    rows: int = 0


def refresh(connection: Connection) -> RollupReport:
    """
    Bring the rollup up to five minutes ago: sum up every hour again that sessions came into or left.

    Args:
        connection: To a migrated database; in no transaction, and without a time-out that a few seconds of
            work would break.

    Raises:
        StorageError: If the database does not answer or refuses. The rollup is as some step left it, and the
            call may be repeated.
    """
    ranges = rows = 0
    last = False
    while not last:
        with _transaction(connection):
            step = connection.run(_NEXT, lag=_LAG)
            if not step:
                break
            rolled_until, next_until, last = step[0]
            for since, until in connection.run(_TOUCHED, rolled_until=rolled_until, next=next_until):
                rows += _sum_up(connection, since, until, next_until)
                ranges += 1
            connection.run(_ADVANCE, next=next_until)
    return RollupReport(ranges=ranges, rows=rows)


def rebuild(
    connection: Connection,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> RollupReport:
    """
    Sum up hours again from the sessions that are there, a day in each transaction.

    It is for what `refresh` cannot see: sessions that were deleted, or written with a time of arrival in the past.

    Args:
        connection: As for `refresh`.
        since: The first ``event_at``; None for the earliest there is. It is rounded to a whole hour, outwards.
        until: The ``event_at`` before which to end; None for no end. Rounded outwards too.
        progress: Is told how many days are done, and of how many.

    Raises:
        StorageError: If the database does not answer or refuses. Each day is as before or done.
    """
    rows = 0
    with translating():
        days = connection.run(_DAYS, since=since or "-infinity", until=until or "infinity")
    for done, (day_since, day_until) in enumerate(days, 1):
        with _transaction(connection):
            rolled_until = connection.run(_STATE)[0][0]
            rows += _sum_up(connection, day_since, day_until, rolled_until)
        if progress is not None:
            progress(done, len(days))
    return RollupReport(ranges=len(days), rows=rows)


def _sum_up(connection: Connection, since: str, until: str, rolled_until: str) -> int:
    connection.run(_DELETE, since=since, until=until)
    connection.run(_INSERT, since=since, until=until, rolled_until=rolled_until)
    rows: int = connection.row_count
    return rows


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    with translating():
        # Read committed: what is read after waiting for the lock must be the newest.
        connection.run("BEGIN ISOLATION LEVEL READ COMMITTED")
        try:
            # Sums of a day's groups fit; compiling them would take longer than running them.
            connection.run("SET LOCAL work_mem = '64MB'; SET LOCAL jit = off")
            connection.run(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
            yield
        except BaseException:
            with suppress(Exception):  # the error that counts is the one under way
                connection.run("ROLLBACK")
            raise
        connection.run("COMMIT")
