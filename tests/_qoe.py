"""
Sessions for the tests of QoE, straight into the table, and what the functions make of them.

Nothing is in progress unless it is asked for: a session came a second after its event, on a day in the past.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from pg8000.native import Connection

DAY = datetime(2026, 2, 15, tzinfo=UTC)
NEXT_DAY = DAY + timedelta(days=1)

#: Adds a session.
Add = Callable[..., str]


def empty(connection: Connection) -> None:
    """Leave no session, and no trace of one in the rollup."""
    connection.run(
        "DELETE FROM sessions; DELETE FROM session_timeline; DELETE FROM qoe_hourly;"
        "UPDATE qoe_rollup_state SET rolled_until = '-infinity'"
    )


def add_session(connection: Connection, **columns: Any) -> str:
    """Add a session of 10:10 on that day; *columns* are those of the table. Returns its ID."""
    event_at = columns.pop("event_at", DAY + timedelta(hours=10, minutes=10))
    received_at = columns.pop("received_at", event_at + timedelta(seconds=1))
    if "extra" in columns:
        columns["extra"] = orjson.dumps(columns["extra"]).decode()
    row = {
        "session_id": str(uuid.uuid4()),
        "timestamp": round(event_at.timestamp() * 1000),
        "session_start_date_iso": "2026-02-15T10:00:00.000Z",
        "session_duration_ms": 1,
        "event_at": event_at,
        "received_at": received_at,
        "created_at": received_at,
        **columns,
    }
    names = ", ".join(row)
    connection.run(
        f"INSERT INTO sessions ({names}) VALUES ({', '.join(f':{name}' for name in row)})",
        **row,
    )
    return str(row["session_id"])


def add_played(connection: Connection, **columns: Any) -> str:
    """Add a session that measured everything and went well: 70 s of watch time."""
    measured = {
        "session_duration_ms": 80_000,
        "startup_time_ms": 500,
        "rebuffer_time_ms": 0,
        "rebuffer_count": 0,
        "play_time_ms": 69_500,
        "rebuffer_ratio": 0.0,
        "total_dropped_frames": 0,
        "total_seek_time_ms": 0,
        "mean_video_format_bitrate": 2_000_000,
        "error_count": 0,
    }
    return add_session(connection, **(measured | columns))


def view(connection: Connection, column: str) -> Any:
    """Give a column of session_qoe, of the only session."""
    ((value,),) = connection.run(f"SELECT {column} FROM session_qoe")
    return value


def metrics(
    connection: Connection, since: datetime = DAY, until: datetime = NEXT_DAY, **filters: Any
) -> dict[str, dict[str, Any]]:
    """Give what qoe_totals says, by metric."""
    arguments = "".join(f", {name} => :{name}" for name in filters)
    rows = connection.run(
        "SELECT * FROM qoe_totals(CAST(:since AS timestamptz), CAST(:until AS timestamptz)" + arguments + ")",
        since=since,
        until=until,
        **filters,
    )
    return {row[0]: dict(zip(_COLUMNS, row[1:], strict=True)) for row in rows}


_COLUMNS = ("value", "numerator", "denominator", "sessions", "left_out", "left_out_because")


def from_sessions_alone(connection: Connection, query: str, **parameters: Any) -> list[Any]:
    """Run a query as if there were no rollup."""
    connection.run("BEGIN")
    try:
        connection.run("DELETE FROM qoe_hourly; UPDATE qoe_rollup_state SET rolled_until = '-infinity'")
        rows: list[Any] = connection.run(query, **parameters)
        return rows
    finally:
        connection.run("ROLLBACK")
