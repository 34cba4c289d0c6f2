"""
Sessions out of the database, as many as there are, in a memory that does not grow with them.

PostgreSQL streams the rows (``COPY``), from one snapshot. Of the formats only NDJSON is complete: it holds the
timelines, and `m3w_core.importing` reads it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, BinaryIO, Final, Literal, Protocol

import orjson
from attrs import define, field
from pg8000.native import literal

from m3w_core._rows import RECEPTION_COLUMNS, SESSION_COLUMNS, TIMELINE_COLUMNS
from m3w_core.database_url import DatabaseSettings
from m3w_core.exceptions import M3WError
from m3w_core.model import INT64_MAX
from m3w_core.startup import connected
from m3w_core.validation import json_name

ExportFormat = Literal["ndjson", "csv", "parquet"]

#: The columns of a table of sessions, by which CSV and Parquet go.
TABLE_COLUMNS: Final = {**SESSION_COLUMNS, **RECEPTION_COLUMNS}

# No text that PostgreSQL writes as JSON holds a control character, so these never stand inside a value.
_DELIMITER, _QUOTE = "\x02", "\x01"

_RESERVED = re.compile(rf"_*(?:{'|'.join(RECEPTION_COLUMNS)})")

# What makes a field of the app's own differ between jsonb and what is to be imported again.
_UNUSUAL = re.compile(rb'[0-9]{19}|"' + _RESERVED.pattern.encode() + b'"')

_PROGRESS_ROWS = 1000


class ExportError(M3WError):
    """What was read cannot be written."""


class Sink(Protocol):
    """Takes one row at a time, as PostgreSQL sends it."""

    def write(self, row: bytes) -> None:
        """Take a row."""
        ...

    def close(self) -> None:
        """Write what is left; the output itself stays open."""
        ...


def exported_name(name: str) -> str:
    """Give the name of an app's own field in an exported line: one that is the backend's gets an underscore."""
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def imported_name(name: str) -> str:
    """Undo `exported_name`."""
    return name[1:] if name.startswith("_") and _RESERVED.fullmatch(name) else name


def export_sessions(
    database: DatabaseSettings,
    output: BinaryIO,
    *,
    format_: ExportFormat = "ndjson",
    since: datetime | None = None,
    until: datetime | None = None,
    counted: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """
    Write sessions.

    Args:
        database: Whose migrations are current.
        output: Where to; it need not be able to seek.
        format_: ``ndjson``, one JSON object a line: the fields of the API, the app's own, all of the timeline, and
            ``created_at``, ``received_at``, ``event_at`` and ``received_via``. ``csv`` and ``parquet``: the columns of
            the table.
        since: Only those whose ``event_at`` is at this time or later, with a time zone.
        until: Only those whose ``event_at`` is before this time.
        counted: Called once, with how many there will be. Counting takes time, so it is left out without it.
        progress: Called now and then, with how many more have been written.

    Returns:
        How many were written.

    Raises:
        ExportError: If the output does not take it, or the format needs what is not installed.
        StorageUnavailableError: If the database does not answer, or not to the end.
    """
    where = _where(since, until)
    statement, sink = _prepare(format_, where, _Output(output))
    rows = _Rows(sink, progress or (lambda _: None))
    with connected(database) as connection:
        # Until the end of the transaction; and the count is that of the rows.
        connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.run("SET LOCAL TimeZone = 'UTC'; SET LOCAL statement_timeout = 0")
        if counted is not None:
            counted(connection.run(f"SELECT count(*) FROM sessions AS s {where}")[0][0])
        connection.run(statement, stream=rows)
        rows.close()
        connection.run("COMMIT")
    return rows.count


def _where(since: datetime | None, until: datetime | None) -> str:
    bounds = [
        f"s.event_at {operator} CAST({literal(moment.isoformat())} AS timestamptz)"
        for operator, moment in ((">=", since), ("<", until))
        if moment is not None
    ]
    return f"WHERE {' AND '.join(bounds)}" if bounds else ""


def _prepare(format_: ExportFormat, where: str, output: _Output) -> tuple[str, Sink]:
    if format_ == "ndjson":
        query = f"SELECT row_to_json(known), s.extra, timeline.entries {_NDJSON_FROM} {where}"
        options = f"FORMAT csv, DELIMITER '{_DELIMITER}', QUOTE '{_QUOTE}'"
        return f"COPY ({query}) TO STDOUT WITH ({options})", _NdjsonLines(output)
    columns = ", ".join(f"s.{name}" for name in TABLE_COLUMNS)
    statement = f"COPY (SELECT {columns} FROM sessions AS s {where}) TO STDOUT WITH (FORMAT csv)"
    if format_ == "csv":
        output.write(",".join(TABLE_COLUMNS).encode() + b"\n")
        return statement, output
    # Imported here: it looks for a package that is not always installed.
    from m3w_core._parquet import ParquetFile

    return statement, ParquetFile(output, TABLE_COLUMNS)


def _json_names(columns: dict[str, str], table: str) -> str:
    return ", ".join(f'{table}.{name} AS "{json_name(name)}"' for name in columns)


# A join for each session rather than of both tables at once: that would have to sort them first.
_NDJSON_FROM: Final = f"""
FROM sessions AS s
CROSS JOIN LATERAL (
    SELECT {_json_names({name: kind for name, kind in SESSION_COLUMNS.items() if name != "extra"}, "s")},
        {", ".join(f"s.{name}" for name in RECEPTION_COLUMNS)}
) AS known
CROSS JOIN LATERAL (
    SELECT json_agg(row_to_json(entry)) AS entries
    FROM (
        SELECT {_json_names({name: kind for name, kind in TIMELINE_COLUMNS.items() if name != "session_id"}, "t")}
        FROM session_timeline AS t
        WHERE t.session_id = s.session_id
        ORDER BY t.timestamp_ms, t.elapsed_ms, t.playback_state
    ) AS entry
) AS timeline
"""


@define(eq=False)
class _Output:
    """The output, whose errors are not taken for the database's."""

    file: BinaryIO

    def write(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            raise ExportError(f"The output cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        try:
            self.file.flush()
        except OSError as error:
            raise ExportError(f"The output cannot be written: {error.strerror or error}") from error


@define(eq=False)
class _Rows:
    """What the driver writes rows to; counts them."""

    sink: Sink
    progress: Callable[[int], None]
    count: int = field(default=0, init=False)

    def write(self, row: bytes) -> None:
        self.sink.write(row)
        self.count += 1
        if self.count % _PROGRESS_ROWS == 0:
            self.progress(_PROGRESS_ROWS)

    def close(self) -> None:
        self.sink.close()
        self.progress(self.count % _PROGRESS_ROWS)


@define(eq=False)
class _NdjsonLines:
    """Makes a line of what PostgreSQL sends: the known fields, the app's own, the timeline."""

    output: _Output

    def write(self, row: bytes) -> None:
        known, extra, timeline = row.rstrip().split(_DELIMITER.encode())
        if _UNUSUAL.search(extra):
            extra = _importable(extra)
        own = b"," + extra[1:-1] if extra else b""
        self.output.write(b'%b%b,"timelineEvents":%b}\n' % (known[:-1], own, timeline or b"null"))

    def close(self) -> None:
        self.output.close()


def _importable(extra: bytes) -> bytes:
    """Write an app's own fields so that they are read as what they were when they came."""
    fields = orjson.loads(extra)
    return orjson.dumps({exported_name(name): _with_floats(value) for name, value in fields.items()})


def _with_floats(value: Any) -> Any:
    # jsonb writes all digits of 1e19, which then looks like an integer that does not fit in 64 bits.
    if type(value) is dict:
        return {name: _with_floats(item) for name, item in value.items()}
    if type(value) is list:
        return [_with_floats(item) for item in value]
    return float(value) if type(value) is int and value > INT64_MAX else value
