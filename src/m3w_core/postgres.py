"""
Sessions in PostgreSQL, through pg8000.

The driver blocks and a connection belongs to one thread at a time, so does a repository. It connects when first
used, and again after an error: whatever went wrong on a connection, its state is not trusted any further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

import orjson
from attrs import define, field
from pg8000.native import Connection, PreparedStatement

from m3w_core._connect import open_connection
from m3w_core._errors import DRIVER_ERRORS, translate
from m3w_core._rows import (
    RECEPTION_COLUMNS,
    SESSION_COLUMNS,
    TIMELINE_COLUMNS,
    encode_sessions,
    encode_timeline,
    stored_session,
)
from m3w_core.database_url import DatabaseSettings
from m3w_core.model import Session, StoredSession

_T = TypeVar("_T")

_JSONB_OID = 3802


def _names(columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{name}" for name in columns)


def _typed(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


_SENT = SESSION_COLUMNS | {"received_via": "text"}
_CHANGED = [name for name in (*_SENT, "received_at", "event_at") if name != "session_id"]


def _earlier(function: str, column: str) -> str:
    # The rollup must find the hours that the row was counted in before. One that is replaced within 45 s, as
    # heartbeats are, never was: see migrations/V4. Both functions pass over nulls.
    return f"""CASE
        WHEN EXCLUDED.received_at - sessions.received_at BETWEEN interval '0' AND interval '45 seconds'
        THEN sessions.{column}
        ELSE {function}(sessions.{column}, sessions.event_at)
    END"""


# What Citus allows in DO UPDATE is immutable expressions: now() reaches it as EXCLUDED's column default.
_NEWEST_WINS = f"""
ON CONFLICT (session_id) DO UPDATE SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _CHANGED)},
    earlier_event_at_min = {_earlier("least", "earlier_event_at_min")},
    earlier_event_at_max = {_earlier("greatest", "earlier_event_at_max")}
WHERE sessions.timestamp <= EXCLUDED.timestamp
"""

UPSERT_SESSIONS = f"""
INSERT INTO sessions ({_names(_SENT)}, event_at)
SELECT {_names(_SENT, "r.")}, m3w_event_at(r.timestamp, now())
FROM json_to_recordset(CAST(:rows AS json)) AS r({_typed(_SENT)})
{_NEWEST_WINS}
"""

#: The same for summaries that came at another time than now, which each row tells.
UPSERT_EARLIER_SESSIONS = f"""
INSERT INTO sessions ({_names(_SENT)}, received_at, created_at, event_at)
SELECT {_names(_SENT, "r.")}, r.received_at, r.received_at, m3w_event_at(r.timestamp, r.received_at)
FROM json_to_recordset(CAST(:rows AS json)) AS r({_typed(_SENT)}, received_at timestamptz)
{_NEWEST_WINS}
"""

INSERT_TIMELINE = f"""
INSERT INTO session_timeline ({_names(TIMELINE_COLUMNS)})
SELECT {_names(TIMELINE_COLUMNS)}
FROM json_to_recordset(CAST(:entries AS json)) AS r({_typed(TIMELINE_COLUMNS)})
ON CONFLICT DO NOTHING
"""

# One statement is one transaction and one round trip; with BEGIN and COMMIT there were four, at each of which the
# thread gives up the interpreter. PostgreSQL runs the main statement first, so that rows are locked in the order that
# everybody else keeps. RETURNING is for Citus, whose own tests of such a WITH always have it.
_UPSERT_WITH_TIMELINE = f"WITH timeline AS ({INSERT_TIMELINE} RETURNING session_id) {UPSERT_SESSIONS}"

_SELECT_SESSIONS = f"SELECT {_names(SESSION_COLUMNS)}, {_names(RECEPTION_COLUMNS)} FROM sessions"
_SELECT_SESSION = f"{_SELECT_SESSIONS} WHERE session_id = :session_id"
_SELECT_RECEIVED_SINCE = f"""
{_SELECT_SESSIONS} WHERE received_at >= :moment ORDER BY received_at DESC, session_id DESC LIMIT :limit
"""

_SELECT_TIMELINE = f"""
SELECT {_names(TIMELINE_COLUMNS)} FROM session_timeline
WHERE session_id = :session_id ORDER BY timestamp_ms, elapsed_ms, playback_state
"""

# A server set to acknowledge before the disk has it would make a 200 a lie; stronger settings are kept.
_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


@define
class _Prepared:
    """A connection with the statements of the hot path, parsed once."""

    connection: Connection
    upsert: PreparedStatement
    upsert_with_timeline: PreparedStatement


@define
class PostgresSessionRepository:
    """
    Sessions in a PostgreSQL database whose migrations are current.

    Args:
        database: Where it is.
        connect_timeout_s: How long to wait for a connection.
        statement_timeout_s: How long one statement may take, on the server; a server that does not even
            say so is given up two seconds later.
    """

    database: DatabaseSettings
    connect_timeout_s: float = field(default=2.0, kw_only=True)
    statement_timeout_s: float = field(default=5.0, kw_only=True)
    _prepared: _Prepared | None = field(default=None, init=False, repr=False)

    def upsert(self, sessions: Sequence[Session], received_via: Sequence[str | None] | None = None) -> None:
        """Store summaries in one transaction, see `SessionRepository.upsert`."""
        rows = encode_sessions(sessions, received_via)
        entries = encode_timeline(sessions)

        def store(prepared: _Prepared) -> None:
            if entries is None:
                prepared.upsert.run(rows=rows)
            else:
                prepared.upsert_with_timeline.run(rows=rows, entries=entries)

        self._run(store)

    def get(self, session_id: str) -> StoredSession | None:
        """Read one session back, see `SessionRepository.get`."""

        def read(prepared: _Prepared) -> StoredSession | None:
            run = prepared.connection.run
            rows = run(_SELECT_SESSION, session_id=session_id)
            if not rows:
                return None
            return stored_session(rows[0], run(_SELECT_TIMELINE, session_id=session_id))

        return self._run(read)

    def received_since(self, moment: datetime, *, limit: int = 1000) -> list[StoredSession]:
        """
        Read the sessions whose stored summary came at *moment* or later, oldest first, without their timelines.

        Args:
            moment: With a time zone; by the database's clock.
            limit: At most so many, the latest of them.
        """

        def read(prepared: _Prepared) -> list[StoredSession]:
            rows = prepared.connection.run(_SELECT_RECEIVED_SINCE, moment=moment, limit=limit)
            return [stored_session(row, ()) for row in reversed(rows)]

        return self._run(read)

    def now(self) -> datetime:
        """Tell the database's time, which shows that it answers."""
        moment: datetime = self._run(lambda prepared: prepared.connection.run("SELECT now()"))[0][0]
        return moment

    def close(self) -> None:
        """Close the connection, see `SessionRepository.close`."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            with suppress(*DRIVER_ERRORS):  # it may be broken already
                prepared.connection.close()

    def _run(self, work: Callable[[_Prepared], _T]) -> _T:
        try:
            if self._prepared is None:
                self._prepared = self._connect()
            return work(self._prepared)
        except DRIVER_ERRORS as error:
            self.close()
            raise translate(error) from error
        except BaseException:
            # Whoever interrupted a statement left its answer on the wire.
            self.close()
            raise

    def _connect(self) -> _Prepared:
        connection = open_connection(
            self.database,
            connect_timeout_s=self.connect_timeout_s,
            statement_timeout_s=self.statement_timeout_s,
            application_name="media3watch-backend",
        )
        try:
            connection.register_in_adapter(_JSONB_OID, orjson.loads)
            connection.run(_DURABLE)
            return _Prepared(
                connection, connection.prepare(UPSERT_SESSIONS), connection.prepare(_UPSERT_WITH_TIMELINE)
            )
        except BaseException:
            connection.close()
            raise
