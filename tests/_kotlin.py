"""
Databases of the Kotlin backend, as its own migrations leave them behind.

Times and numbers are fixed, so that tests can say what becomes of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pg8000.native import Connection

from m3w_core import migrations

KOTLIN = Path(__file__).parent / "data" / "kotlin"

#: 2026-02-15T10:00:45.500Z
CREATED_AT = datetime(2026, 2, 15, 10, 0, 45, 500_000, tzinfo=UTC)
CREATED_AT_MS = 1_771_149_645_500

SESSION: dict[str, Any] = {
    "session_id": "550e8400-e29b-41d4-a716-446655440000",
    "timestamp": 1_771_149_645_000,
    "session_start_date_iso": "2026-02-15T10:00:00.000Z",
    "session_duration_ms": 45_000,
    "startup_time_ms": 450,
    "rebuffer_time_ms": 1_200,
    "rebuffer_count": 2,
    "play_time_ms": 42_000,
    "rebuffer_ratio": 0.028,
    "total_dropped_frames": 12,
    "total_seek_count": 1,
    "total_seek_time_ms": 300,
    "mean_video_format_bitrate": 2_500_000,
    "error_count": 3,
    "created_at": CREATED_AT,
}
DEVICE: dict[str, Any] = {
    "device_model": "Pixel 8",
    "os_version": 34,
    "sdk_version": "1.0.1",
    "connection_type": "WIFI",
}
ENTRY: dict[str, Any] = {
    "session_id": "550e8400-e29b-41d4-a716-446655440000",
    "timestamp_ms": 1_771_149_640_000,
    "elapsed_ms": 40_000,
    "playback_state": "PLAYING",
    "current_bitrate": 2_500_000,
    "network_type": "WIFI",
    "total_dropped_frames": 4,
    "buffered_duration_ms": 18_000,
    "rebuffer_count": 1,
    "rebuffer_time_ms": 600,
    "created_at": CREATED_AT,
}

SCHEMA = """
    SELECT 'relation', relname, relkind::text, coalesce(reloptions::text, ''), relowner::regrole::text
        FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'column', table_name || '.' || column_name, ordinal_position::text,
        data_type || ' ' || is_nullable, coalesce(column_default, '') || coalesce(collation_name, '')
        FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT 'index', indexname, tablename, indexdef, '' FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'constraint', conname, conrelid::regclass::text, pg_get_constraintdef(oid), ''
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'function', proname, pg_get_functiondef(oid), '', ''
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'comment', relname, objsubid::text, description, ''
        FROM pg_description JOIN pg_class ON pg_class.oid = objoid
        WHERE relnamespace = 'public'::regnamespace
"""


def make_kotlin_database(connection: Connection, version: int) -> None:
    """Make what that version of the Kotlin backend leaves behind when it starts on an empty database."""
    connection.run((KOTLIN / "flyway_schema_history.sql").read_text(encoding="utf-8"))
    for step in range(1, version + 1):
        connection.run((KOTLIN / f"V{step}.sql").read_text(encoding="utf-8"))
        record_in_flyway(connection, str(step))


def record_in_flyway(connection: Connection, version: str | None, *, success: bool = True) -> None:
    """Add a step to Flyway's history; a repeatable one has no version."""
    connection.run(
        "INSERT INTO flyway_schema_history (installed_rank, version, description, type, script, installed_by,"
        " execution_time, success)"
        " SELECT count(*) + 1, :version, 'step', 'SQL', 'V__step.sql', 'kotlin', 5, :success"
        " FROM flyway_schema_history",
        version=version,
        success=success,
    )


def insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    """Add one row: values by the names of their columns."""
    names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.run(f"INSERT INTO {table} ({names}) VALUES ({places})", **row)


def migrate(connection: Connection) -> list[str]:
    """Apply all migrations and return what was logged."""
    lines: list[str] = []
    migrations.apply(connection, log=lines.append)
    return lines


def read(connection: Connection, table: str, order: str = "session_id") -> list[dict[str, Any]]:
    """Read all rows of a table: values by the names of their columns."""
    rows = connection.run(f"SELECT * FROM {table} ORDER BY {order}")
    names = [column["name"] for column in connection.columns]
    return [dict(zip(names, row, strict=True)) for row in rows]


def schema(connection: Connection) -> set[tuple[str, ...]]:
    """Describe everything there is in the schema, so that two databases can be compared."""
    return {tuple(row) for row in connection.run(SCHEMA)}
