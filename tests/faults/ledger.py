"""
What the clients know: each session, what was sent of it, and what of that was acknowledged.

What a summary holds follows from its session and its number alone, so that a row can be compared in full without
keeping what was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field, frozen

from tests.factories import TIMESTAMP_MS, a_payload, an_entry_payload

#: Between two summaries of a session, by its client's clock.
HEARTBEAT_MS = 15_000

#: A field of the app's own that takes room and is not compared.
PADDING = "padding"

#: Every third summary has a timeline.
_TIMELINE_EVERY = 3
_STATES = ("BUFFERING", "PLAYING", "PAUSED")
_ENTRY_STEP_MS = 10


@define(eq=False)
class Playback:
    """
    One session as its client knows it.

    Args:
        session_id: Its key.
        clock_ms: What the client's clock shows; it may jump.
    """

    session_id: str
    clock_ms: int = TIMESTAMP_MS
    #: Numbers of the summaries that were sent, by timestamp.
    sent: dict[int, int] = field(factory=dict, init=False)
    #: The newest timestamp that was acknowledged; 0 is none.
    acknowledged_ms: int = field(default=0, init=False)
    #: Numbers of the acknowledged summaries that have a timeline.
    acknowledged_timelines: set[int] = field(factory=set, init=False)

    def next_summary(self) -> Summary:
        """Make the next one; from now on it may be in the database."""
        number = len(self.sent)
        self.clock_ms += HEARTBEAT_MS
        while self.clock_ms in self.sent:
            self.clock_ms += 1
        self.sent[self.clock_ms] = number
        return Summary(self, number, self.clock_ms)


@frozen(eq=False)
class Summary:
    """One that was sent."""

    playback: Playback
    number: int
    timestamp_ms: int

    def payload(self) -> dict[str, Any]:
        """Write it as the SDK does."""
        return a_payload(
            sessionId=self.playback.session_id,
            timestamp=self.timestamp_ms,
            sessionDurationMs=_duration_ms(self.number),
            playTimeMs=_play_time_ms(self.number),
            timelineEvents=_timeline(self.number) or None,
            summaryNumber=self.number,
        )

    def acknowledge(self) -> None:
        """Note that the backend says it is durable."""
        playback = self.playback
        playback.acknowledged_ms = max(playback.acknowledged_ms, self.timestamp_ms)
        if has_timeline(self.number):
            playback.acknowledged_timelines.add(self.number)


@frozen
class Row:
    """What the database has of a session."""

    session_id: str
    timestamp_ms: int
    duration_ms: int
    play_time_ms: int
    extra: object


@frozen
class Entry:
    """What the database has of a moment in a session."""

    session_id: str
    timestamp_ms: int
    playback_state: str
    elapsed_ms: int


def has_timeline(number: int) -> bool:
    """Tell whether that summary of a session carries timeline entries."""
    return number % _TIMELINE_EVERY == 0


def _duration_ms(number: int) -> int:
    return HEARTBEAT_MS * (number + 1)


def _play_time_ms(number: int) -> int:
    return _duration_ms(number) - 700


def _timeline(number: int) -> list[dict[str, Any]]:
    if not has_timeline(number):
        return []
    return [
        an_entry_payload(
            # Not by the client's clock: numbers and moments are to belong together however it jumps.
            timestampMs=TIMESTAMP_MS + _ENTRY_STEP_MS * number + place,
            playbackState=state,
            elapsedMs=_duration_ms(number) + place,
        )
        for place, state in enumerate(_STATES)
    ]


def differences(
    playbacks: Mapping[str, Playback], rows: Iterable[Row], entries: Iterable[Entry]
) -> list[str]:
    """
    Compare the database with what the clients know.

    Args:
        playbacks: Every session that a client has ever sent, and that the others are to be compared with.
        rows: All of these sessions that are in the database.
        entries: All of theirs.

    Returns:
        What is wrong, for people; nothing if all is well.
    """
    found: list[str] = []
    stored: dict[str, Row] = {}
    for row in rows:
        if row.session_id in stored:
            found.append(f"{row.session_id}: twice in the database")
        stored[row.session_id] = row
    found += [f"{session_id}: no client has sent it" for session_id in stored.keys() - playbacks.keys()]
    timelines: dict[str, list[Entry]] = {}
    for entry in entries:
        timelines.setdefault(entry.session_id, []).append(entry)
    found += [f"{each}: a timeline without its session" for each in timelines.keys() - stored.keys()]
    for session_id, playback in playbacks.items():
        found += [f"{session_id}: {what}" for what in _of_row(playback, stored.get(session_id))]
        found += [f"{session_id}: {what}" for what in _of_timeline(playback, timelines.get(session_id, []))]
    return found


def _of_row(playback: Playback, row: Row | None) -> Iterable[str]:
    if row is None:
        if playback.acknowledged_ms:
            yield f"acknowledged at {playback.acknowledged_ms}, and missing"
        return
    if row.timestamp_ms < playback.acknowledged_ms:
        yield f"acknowledged at {playback.acknowledged_ms}, and an older one, {row.timestamp_ms}, is stored"
    number = playback.sent.get(row.timestamp_ms)
    if number is None:
        yield f"no client has sent a summary at {row.timestamp_ms}"
        return
    expected = Row(
        playback.session_id,
        row.timestamp_ms,
        _duration_ms(number),
        _play_time_ms(number),
        {"summaryNumber": number},
    )
    if row != expected:
        yield f"stored is {row}, sent was {expected}"


def _of_timeline(playback: Playback, entries: list[Entry]) -> Iterable[str]:
    by_number: dict[int, list[tuple[int, str, int]]] = {}
    for entry in entries:
        number = (entry.timestamp_ms - TIMESTAMP_MS) // _ENTRY_STEP_MS
        by_number.setdefault(number, []).append((entry.timestamp_ms, entry.playback_state, entry.elapsed_ms))
    for number in sorted(playback.acknowledged_timelines - by_number.keys()):
        yield f"the timeline of summary {number} was acknowledged, and is missing"
    for number, stored in by_number.items():
        sent = [(each["timestampMs"], each["playbackState"], each["elapsedMs"]) for each in _timeline(number)]
        # All of a summary's entries are one transaction's: there are all, or none.
        if number >= len(playback.sent) or sorted(stored) != sent:
            yield f"the timeline of summary {number} is {sorted(stored)}, sent was {sent}"
