"""
`Session` <-> the rows of ``sessions`` and ``session_timeline``.

Rows travel to PostgreSQL as one JSON array, a single parameter however many there are: with this driver ten times
cheaper than a parameter for each value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any

import orjson
from cattrs import Converter
from cattrs.fns import identity
from cattrs.gen import make_dict_unstructure_fn, override

from m3w_core._convert import has_rule
from m3w_core.model import Session, StoredSession, TimelineEntry
from m3w_core.validation import float32

#: Columns and types of what a summary carries; the names are the attributes'.
SESSION_COLUMNS = {
    "session_id": "text",
    "timestamp": "bigint",
    "session_start_date_iso": "text",
    "session_duration_ms": "bigint",
    "startup_time_ms": "bigint",
    "rebuffer_time_ms": "bigint",
    "rebuffer_count": "integer",
    "play_time_ms": "bigint",
    "rebuffer_ratio": "real",
    "total_dropped_frames": "bigint",
    "total_seek_count": "integer",
    "total_seek_time_ms": "bigint",
    "mean_video_format_bitrate": "bigint",
    "error_count": "integer",
    "device_model": "text",
    "os_version": "integer",
    "sdk_version": "text",
    "connection_type": "text",
    "extra": "jsonb",
}
#: What the server adds; the names are the attributes' of `StoredSession`.
RECEPTION_COLUMNS = {
    "created_at": "timestamptz",
    "received_at": "timestamptz",
    "event_at": "timestamptz",
    "received_via": "text",
}
TIMELINE_COLUMNS = {
    "session_id": "text",
    "timestamp_ms": "bigint",
    "elapsed_ms": "bigint",
    "playback_state": "text",
    "current_bitrate": "bigint",
    "network_type": "text",
    "total_dropped_frames": "bigint",
    "buffered_duration_ms": "bigint",
    "rebuffer_count": "integer",
    "rebuffer_time_ms": "bigint",
}

_converter = Converter()
# Numbers and text go as they are; otherwise each would cost a call.
_converter.register_unstructure_hook_func(has_rule, identity)
session_row = make_dict_unstructure_fn(
    Session,
    _converter,
    timeline_events=override(omit=True),
    # An object without fields is kept as SQL's null, which takes no room in a row.
    extra=override(unstruct_hook=lambda extra: extra or None),
)
_entry_row = make_dict_unstructure_fn(TimelineEntry, _converter)


def encode_sessions(
    sessions: Iterable[Session],
    received_via: Iterable[str | None] | None = None,
    received_at: Iterable[datetime | None] | None = None,
) -> str:
    """
    Encode the rows of one upsert: of each session the newest summary, sorted by session ID.

    One statement cannot update a row twice; and writers that lock rows in one order cannot deadlock.

    Args:
        sessions: In the order of arrival.
        received_via: The name of the key that each came with.
        received_at: When each came, where that is not now.
    """
    newest: dict[str, tuple[Session, str | None, datetime | None]] = {}
    for arrived in zip(sessions, received_via or repeat(None), received_at or repeat(None), strict=False):
        session = arrived[0]
        known = newest.get(session.session_id)
        if known is None or known[0].timestamp <= session.timestamp:
            newest[session.session_id] = arrived
    rows = []
    for session_id in sorted(newest):
        session, via, at = newest[session_id]
        row = session_row(session)
        row["received_via"] = via
        if at is not None:
            row["received_at"] = at
        rows.append(row)
    return _encode(rows)


def encode_timeline(sessions: Iterable[Session]) -> str | None:
    """Encode the timeline entries of every summary, sorted by their key; ``None`` where there are none."""
    rows = [
        {"session_id": session.session_id, **_entry_row(entry)}
        for session in sessions
        for entry in session.timeline_events
    ]
    rows.sort(key=lambda row: (row["session_id"], row["timestamp_ms"], row["playback_state"]))
    return _encode(rows) if rows else None


def _encode(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


def stored_session(row: Sequence[Any], timeline: Iterable[Sequence[Any]]) -> StoredSession:
    """
    Make a session of its row and the rows of its timeline.

    Args:
        row: The values of `SESSION_COLUMNS`, then those of `RECEPTION_COLUMNS`.
        timeline: The values of `TIMELINE_COLUMNS` for each entry, oldest first.
    """
    values = dict(zip(SESSION_COLUMNS, row, strict=False))
    if values["rebuffer_ratio"] is not None:
        # PostgreSQL prints the shortest digits that are the same 32-bit float; as a 64-bit one they are another.
        values["rebuffer_ratio"] = float32(values["rebuffer_ratio"])
    values["extra"] = values["extra"] or {}
    entries = (dict(zip(TIMELINE_COLUMNS, entry, strict=True)) for entry in timeline)
    session = Session(
        **values,
        timeline_events=tuple(
            TimelineEntry(**{name: value for name, value in entry.items() if name != "session_id"})
            for entry in entries
        ),
    )
    reception = dict(zip(RECEPTION_COLUMNS, row[len(SESSION_COLUMNS) :], strict=True))
    return StoredSession(session=session, **reception)
