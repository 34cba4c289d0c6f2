"""
Sessions into the database from NDJSON: what `m3w_core.export` wrote, or summaries as the API takes them.

An import can be repeated, and can run beside a backend that takes sessions: of two summaries of a session the newer
stays, by ``timestamp`` and then by ``received_at``, and an entry of a timeline that is there is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from attrs import define, evolve, field, frozen
from pg8000.native import Connection

from m3w_core import rollup
from m3w_core._convert import decode, refuse_rounded, rounded_integers, session_from_dict
from m3w_core._errors import translating
from m3w_core._problems import invalid_session
from m3w_core._rows import RECEPTION_COLUMNS, encode_timeline, session_row
from m3w_core.database_url import DatabaseSettings
from m3w_core.exceptions import InvalidSessionError, SessionRefusedError
from m3w_core.export import TABLE_COLUMNS, imported_name
from m3w_core.model import MAX_TIMELINE_ENTRIES, Session
from m3w_core.postgres import INSERT_TIMELINE
from m3w_core.startup import connected
from m3w_core.validation import FieldError, Text

_BATCH_LINES, _BATCH_BYTES = 500, 8 * 1024 * 1024

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
#: How far the clock of the machine that exported may be ahead.
_AHEAD = timedelta(days=1)

_TIMES = ("created_at", "received_at", "event_at")

_check_text = Text(max_length=256).check(str | None)

_COLUMNS: Final = ", ".join(TABLE_COLUMNS)
_VALUES: Final = ", ".join(
    "coalesce(r.event_at, m3w_event_at(r.timestamp, r.received_at))" if name == "event_at" else f"r.{name}"
    for name in TABLE_COLUMNS
)
_TYPED: Final = ", ".join(f"{name} {kind}" for name, kind in TABLE_COLUMNS.items())
_CHANGES: Final = ", ".join(
    f"{name} = EXCLUDED.{name}" for name in TABLE_COLUMNS if name not in ("session_id", "created_at")
)

# Of two that are equally old the one that came later is the newer, as it would be if both had come here. So a
# repeated import changes no row.
_UPSERT: Final = f"""
WITH written AS (
    INSERT INTO sessions ({_COLUMNS})
    SELECT {_VALUES} FROM json_to_recordset(CAST(:rows AS json)) AS r({_TYPED})
    ON CONFLICT (session_id) DO UPDATE SET {_CHANGES},
        earlier_event_at_min = least(sessions.earlier_event_at_min, sessions.event_at),
        earlier_event_at_max = greatest(sessions.earlier_event_at_max, sessions.event_at)
    WHERE (sessions.timestamp, sessions.received_at) < (EXCLUDED.timestamp, EXCLUDED.received_at)
    RETURNING event_at, earlier_event_at_min, earlier_event_at_max
)
SELECT count(*), min(least(event_at, earlier_event_at_min)), max(greatest(event_at, earlier_event_at_max))
FROM written
"""


@define
class ImportReport:
    """
    What an import came to.

    Args:
        read: Lines with something on them.
        changed: Sessions that were added, or replaced by a newer summary; of the others there was as new a one.
        broken: Lines that were left out.
        oldest: The earliest ``event_at`` that one of the changed sessions has, or had; None where there are none.
        newest: The latest.
    """

    read: int = 0
    changed: int = 0
    broken: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, changed: int, oldest: datetime | None, newest: datetime | None) -> None:
        """Count sessions that were changed."""
        self.changed += changed
        self.oldest = min(filter(None, (self.oldest, oldest)), default=None)
        self.newest = max(filter(None, (self.newest, newest)), default=None)


def import_sessions(
    database: DatabaseSettings,
    lines: Iterable[bytes],
    *,
    broken: Callable[[int, str], None],
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """
    Store summaries, in transactions of a few hundred, and bring the rollup of their hours up to date in the end.

    What a line says of ``created_at``, ``received_at``, ``event_at`` and ``received_via`` is kept where it becomes the
    row of its session; what it does not say is as if it came now. A session that is there keeps its ``created_at``.

    Args:
        database: Whose migrations are current.
        lines: JSON objects; blank lines are passed over.
        broken: Is told the number of a line that is left out, from 1, and why.
        progress: Called now and then, with how many more bytes have been dealt with.

    Raises:
        StorageUnavailableError: If the database does not answer. The import may be repeated as it is.
    """
    report = ImportReport()
    try:
        with connected(database) as connection:
            ((now,),) = connection.run("SELECT now()")
            batch = _Batch(connection, now, report, broken, progress or (lambda _: None))
            for number, line in enumerate(lines, start=1):
                batch.add(number, line)
            batch.store()
    finally:
        if report.oldest is not None and report.newest is not None:
            # The rollup takes no notice of what came, as it seems, before it got where it is.
            with connected(database) as connection:
                rollup.rebuild(connection, report.oldest, report.newest + timedelta(microseconds=1))
    return report


@frozen(kw_only=True)
class _Line:
    """A summary, and what the backend that exported it says of it."""

    number: int
    session: Session
    created_at: datetime
    received_at: datetime
    event_at: datetime | None
    received_via: str | None

    @property
    def age(self) -> tuple[int, datetime]:
        return self.session.timestamp, self.received_at

    def row(self) -> dict[str, Any]:
        return {**session_row(self.session), **{name: getattr(self, name) for name in RECEPTION_COLUMNS}}


@define(eq=False)
class _Batch:
    """Lines that are stored together as soon as they are enough."""

    connection: Connection
    now: datetime
    report: ImportReport
    broken: Callable[[int, str], None]
    progress: Callable[[int], None]
    _lines: list[_Line] = field(factory=list, init=False)
    _bytes: int = field(default=0, init=False)

    def add(self, number: int, line: bytes) -> None:
        self._bytes += len(line)
        if line.strip():
            self.report.read += 1
            try:
                self._lines.append(_parse(number, line, self.now))
            except InvalidSessionError as error:
                self._leave_out(number, error)
        if len(self._lines) >= _BATCH_LINES or self._bytes >= _BATCH_BYTES:
            self.store()

    def store(self) -> None:
        if self._lines:
            self._store(self._lines)
        self.progress(self._bytes)
        self._bytes, self._lines = 0, []

    def _leave_out(self, number: int, error: Exception) -> None:
        self.report.broken += 1
        self.broken(number, str(error))

    def _store(self, lines: list[_Line]) -> None:
        try:
            with translating():
                self._write(lines)
        except SessionRefusedError as error:
            self.connection.run("ROLLBACK")
            if len(lines) == 1:
                self._leave_out(lines[0].number, error)
                return
            # One of them is at fault; the others are stored all the same.
            middle = len(lines) // 2
            self._store(lines[:middle])
            self._store(lines[middle:])

    def _write(self, lines: list[_Line]) -> None:
        newest: dict[str, _Line] = {}
        for line in lines:
            known = newest.setdefault(line.session.session_id, line)
            if known.age <= line.age:
                newest[line.session.session_id] = line
        # Sorted as those of the backend, so that the two cannot deadlock.
        rows = [newest[session_id].row() for session_id in sorted(newest)]
        entries = encode_timeline(line.session for line in lines)
        run = self.connection.run
        run("BEGIN")
        (written,) = run(_UPSERT, rows=orjson.dumps(rows).decode())
        if entries is not None:
            run(INSERT_TIMELINE, entries=entries)
        run("COMMIT")
        self.report.add(*written)


def _parse(number: int, line: bytes, now: datetime) -> _Line:
    payload = decode(line)
    if type(payload) is not dict:
        raise InvalidSessionError("it must be a JSON object")
    told = {name: payload.pop(name, None) for name in RECEPTION_COLUMNS}
    try:
        via = _check_text(told["received_via"], None)
    except FieldError as error:
        raise invalid_session([("received_via", error)]) from None
    times = {name: _time(name, told[name], now) for name in _TIMES}
    session = _session({imported_name(name): value for name, value in payload.items()})
    if session.extra:
        refuse_rounded(session, rounded_integers(line))
    received_at = times["received_at"] or now
    return _Line(
        number=number,
        session=session,
        created_at=times["created_at"] or received_at,
        received_at=received_at,
        event_at=times["event_at"],
        received_via=via,
    )


def _time(name: str, text: Any, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        # Comparing needs the time zone.
        if _EARLIEST <= moment <= now + _AHEAD:
            return moment
    except (TypeError, ValueError):
        pass
    raise invalid_session(
        [(name, FieldError("must be a time with its zone, 2026-02-15T10:00:00Z, and not in the future"))]
    )


def _session(payload: dict[str, Any]) -> Session:
    """Read a summary whose timeline may be that of many, and so longer than one may be."""
    entries = payload.get("timelineEvents")
    if type(entries) is not list:
        return session_from_dict(payload)
    parts = [
        session_from_dict({**payload, "timelineEvents": entries[start : start + MAX_TIMELINE_ENTRIES]})
        for start in range(0, len(entries) or 1, MAX_TIMELINE_ENTRIES)
    ]
    return evolve(parts[0], timeline_events=tuple(entry for part in parts for entry in part.timeline_events))
