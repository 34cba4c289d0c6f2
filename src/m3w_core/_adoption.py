"""
Taking over a database of the Kotlin backend: its rows are copied into the tables of our first migration.

Flyway numbers that backend's schema, and its numbers are not ours: its versions 2 to 4 all become our version
1. Everything happens in the transaction of that migration, so a refusal leaves the database as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources.abc import Traversable

from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from m3w_core.exceptions import MigrationError

#: How long to wait for whoever else uses the tables.
LOCK_TIMEOUT_S = 60

_HISTORY, _SESSIONS, _TIMELINE = "flyway_schema_history", "sessions", "session_timeline"

# The first version whose rows hold what ours hold, and the last that there is.
_OLDEST_VERSION, _NEWEST_VERSION = 2, 4

COLUMNS = {
    _SESSIONS: (
        "id session_id timestamp session_start_date_iso session_duration_ms startup_time_ms rebuffer_time_ms "
        "rebuffer_count play_time_ms rebuffer_ratio total_dropped_frames total_seek_count total_seek_time_ms "
        "mean_video_format_bitrate error_count created_at device_model os_version sdk_version connection_type"
    ),
    _TIMELINE: (
        "id session_id timestamp_ms elapsed_ms playback_state current_bitrate network_type "
        "total_dropped_frames buffered_duration_ms rebuffer_count rebuffer_time_ms created_at"
    ),
}

# Not by search path: a table of that name in a later schema is somebody else's and in nobody's way.
_EXISTING_TABLES = """
    SELECT relname::text FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace
        AND relname IN ('flyway_schema_history', 'sessions', 'session_timeline')
"""

# As numeric, since Flyway's versions may be dates of 14 digits.
_KOTLIN_VERSION = """
    SELECT max(version::numeric) FROM flyway_schema_history WHERE success AND version ~ '^[0-9]+$'
"""

_COUNTS = "SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM session_timeline)"

_ACTUAL_COLUMNS = """
    SELECT attname::text FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped
"""
_TRIGGERS = "SELECT tgname::text FROM pg_trigger WHERE tgrelid = to_regclass(:table) AND NOT tgisinternal"

_ELSEWHERE = "use an empty database (DATABASE_URL)"

_LOCK_NOT_AVAILABLE = "55P03"
_DEPENDENT_OBJECTS_STILL_EXIST = "2BP01"


def find_kotlin_version(connection: Connection) -> int | None:
    """
    Tell which version of the Kotlin backend's tables this schema holds.

    From here to the end of the transaction nothing else can use those tables.

    Returns:
        2 to 4, or None where the names of our tables are free.

    Raises:
        MigrationError: If there are tables of our names that cannot be adopted.
    """
    existing = {name for (name,) in connection.run(_EXISTING_TABLES)}
    ours = sorted(existing - {_HISTORY})
    if not ours:
        return None
    if not {_HISTORY, _SESSIONS} <= existing:
        raise MigrationError(
            f"There is a table {ours[0]} here already that neither this backend nor the Kotlin backend made: "
            f"their other tables are missing. Rename it, or {_ELSEWHERE}."
        )
    _lock(connection, [_HISTORY, *ours])
    number = connection.run(_KOTLIN_VERSION)[0][0]
    if number is None:
        raise MigrationError(
            f"There is a table {_SESSIONS} here already, and {_HISTORY} does not say which version it is. "
            f"Rename it, or {_ELSEWHERE}."
        )
    version = int(number)
    if version < _OLDEST_VERSION:
        raise MigrationError(
            f"The tables here are version {version} of the Kotlin backend's, whose rows hold other values "
            f"and cannot be adopted. Either {_ELSEWHERE}, or start a newer Kotlin backend once (its version "
            "2 drops those rows) and then this one."
        )
    if version > _NEWEST_VERSION:
        raise MigrationError(
            f"{_HISTORY} says that the tables here are version {version}; only {_OLDEST_VERSION} to "
            f"{_NEWEST_VERSION} can be adopted. Either {_ELSEWHERE}, or start a newer release of this "
            "backend."
        )
    return version


def adopt(
    connection: Connection,
    version: int,
    create_tables: str,
    directory: Traversable,
    log: Callable[[str], None],
) -> None:
    """
    Make our tables in place of the Kotlin backend's, with its rows.

    Args:
        connection: In the transaction in which `find_kotlin_version` was called.
        version: What it returned.
        create_tables: The SQL of our first migration.
        directory: Where ``adopt_kotlin_prepare.sql`` and ``adopt_kotlin_copy.sql`` lie.
        log: Takes a line before and a line after.

    Raises:
        MigrationError: If something of the owner's would be lost: what it is and what to do.
    """
    log(f"adopting version {version} of the Kotlin backend's tables")
    _refuse_dependents(connection)
    connection.run(directory.joinpath("adopt_kotlin_prepare.sql").read_text(encoding="utf-8"))
    for table in COLUMNS:
        _refuse_other_shape(connection, table)
    connection.run(create_tables)
    connection.run(directory.joinpath("adopt_kotlin_copy.sql").read_text(encoding="utf-8"))
    [[sessions, entries]] = connection.run(_COUNTS)
    log(f"copied {sessions} sessions and {entries} timeline entries; timeline duplicates were left out")


def _lock(connection: Connection, tables: list[str]) -> None:
    try:
        connection.run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
        connection.run(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        connection.run("SET LOCAL lock_timeout = 0")
    except DatabaseError as exc:
        if exc.args[0]["C"] != _LOCK_NOT_AVAILABLE:
            raise
        raise MigrationError(
            f"Something else kept the tables in use for {LOCK_TIMEOUT_S} s. Stop the Kotlin backend and "
            "whatever else has them open, and migrate again."
        ) from exc


def _refuse_dependents(connection: Connection) -> None:
    # Dropping the old tables comes last; what forbids it should be known before millions of rows are copied.
    connection.run("SAVEPOINT drop_tried")
    try:
        connection.run(f"DROP TABLE IF EXISTS {_SESSIONS}, {_TIMELINE}")
    except DatabaseError as exc:
        if exc.args[0]["C"] != _DEPENDENT_OBJECTS_STILL_EXIST:
            raise
        raise MigrationError(
            "The tables of the Kotlin backend cannot be replaced while other objects depend on them:\n"
            f"{exc.args[0]['D']}\n"
            "Drop these, migrate, and make them again."
        ) from exc
    connection.run("ROLLBACK TO SAVEPOINT drop_tried")


def _refuse_other_shape(connection: Connection, table: str) -> None:
    put_aside = f"kotlin_{table}"
    actual = {name for (name,) in connection.run(_ACTUAL_COLUMNS, table=put_aside)}
    expected = set(COLUMNS[table].split())
    missing, added = sorted(expected - actual), sorted(actual - expected)
    if missing:
        raise MigrationError(
            f"The table {table} is not the Kotlin backend's: it has no {', '.join(missing)}. Rename it, or "
            f"{_ELSEWHERE}."
        )
    if added:
        raise MigrationError(
            f"The table {table} has columns that the Kotlin backend does not know: {', '.join(added)}. Their "
            "values would be lost. Copy them to a table of your own, drop the columns, and migrate again."
        )
    triggers = sorted(name for (name,) in connection.run(_TRIGGERS, table=put_aside))
    if triggers:
        raise MigrationError(
            f"The table {table} has triggers, which would be lost: {', '.join(triggers)}. Drop them and "
            "migrate again."
        )
