"""
Stand-ins for what lies outside the core; they pass the contract tests that the real ones pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, evolve, field

from m3w_core import Session, StoredSession, TimelineEntry


@define
class FakeSessionRepository:
    """Keeps sessions in memory; *before_upsert* may raise, or wait, before a batch is taken."""

    before_upsert: Any = None
    batches: list[list[Session]] = field(factory=list)
    closed: int = 0
    _stored: dict[str, StoredSession] = field(factory=dict)
    _timelines: dict[str, dict[tuple[int, str], TimelineEntry]] = field(factory=dict)

    def upsert(self, sessions: Sequence[Session], received_via: Sequence[str | None] | None = None) -> None:
        if self.before_upsert is not None:
            self.before_upsert(sessions)
        self.batches.append(list(sessions))
        now = datetime.now(UTC)
        for session, via in zip(sessions, received_via or [None] * len(sessions), strict=True):
            timeline = self._timelines.setdefault(session.session_id, {})
            for entry in session.timeline_events:
                timeline.setdefault((entry.timestamp_ms, entry.playback_state), entry)
            known = self._stored.get(session.session_id)
            if known is None or known.session.timestamp <= session.timestamp:
                self._stored[session.session_id] = StoredSession(
                    session=evolve(session, timeline_events=()),
                    created_at=known.created_at if known else now,
                    received_at=now,
                    event_at=_event_at(session.timestamp, now),
                    received_via=via,
                )

    def get(self, session_id: str) -> StoredSession | None:
        stored = self._stored.get(session_id)
        if stored is None:
            return None
        entries = sorted(
            self._timelines[session_id].values(),
            key=lambda entry: (entry.timestamp_ms, entry.elapsed_ms, entry.playback_state),
        )
        return evolve(stored, session=evolve(stored.session, timeline_events=tuple(entries)))

    def close(self) -> None:
        self.closed += 1


def _event_at(timestamp_ms: int, received_at: datetime) -> datetime:
    claimed = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms)
    plausible = -timedelta(days=30) <= claimed - received_at <= timedelta(minutes=5)
    return claimed if plausible else received_at
