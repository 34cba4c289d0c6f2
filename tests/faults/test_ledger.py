"""
The comparison that the fault suite rests on: it finds whatever the database has lost, kept or made up.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.factories import TIMESTAMP_MS
from tests.faults.ledger import HEARTBEAT_MS, Entry, Playback, Row, differences

FIRST_MS, SECOND_MS = TIMESTAMP_MS + HEARTBEAT_MS, TIMESTAMP_MS + 2 * HEARTBEAT_MS

FIRST = Row("s-1", FIRST_MS, 15_000, 14_300, {"summaryNumber": 0})
SECOND = Row("s-1", SECOND_MS, 30_000, 29_300, {"summaryNumber": 1})
TIMELINE = [
    Entry("s-1", TIMESTAMP_MS, "BUFFERING", 15_000),
    Entry("s-1", TIMESTAMP_MS + 1, "PLAYING", 15_001),
    Entry("s-1", TIMESTAMP_MS + 2, "PAUSED", 15_002),
]


def two_summaries(acknowledged):
    """A session of which two summaries were sent, the first with a timeline; so many were acknowledged."""
    playback = Playback("s-1")
    for summary in [playback.next_summary(), playback.next_summary()][:acknowledged]:
        summary.acknowledge()
    return {"s-1": playback}


def test_what_is_acknowledged_and_stored_is_right():
    """
    The newest summary, and the timelines of all.
    """
    assert differences(two_summaries(acknowledged=2), [SECOND], TIMELINE) == []


@pytest.mark.parametrize(
    ("rows", "entries"), [([], []), ([FIRST], TIMELINE), ([SECOND], TIMELINE), ([SECOND], [])]
)
def test_what_was_not_acknowledged_may_be_stored_or_not(rows, entries):
    """
    A client that has no answer knows nothing.
    """
    assert differences(two_summaries(acknowledged=0), rows, entries) == []


@pytest.mark.parametrize(
    ("rows", "entries", "word"),
    [
        ([], TIMELINE, "and missing"),
        ([FIRST], TIMELINE, "an older one"),
        ([SECOND, SECOND], TIMELINE, "twice in the database"),
        ([SECOND, evolve(SECOND, session_id="s-2")], TIMELINE, "no client has sent it"),
        ([evolve(SECOND, timestamp_ms=SECOND_MS + 1)], TIMELINE, "no client has sent a summary at"),
        ([evolve(SECOND, duration_ms=15_000)], TIMELINE, "sent was"),
        ([evolve(SECOND, play_time_ms=0)], TIMELINE, "sent was"),
        ([evolve(SECOND, extra=None)], TIMELINE, "sent was"),
        ([SECOND], [], "the timeline of summary 0 was acknowledged, and is missing"),
        ([SECOND], TIMELINE[:2], "the timeline of summary 0 is"),
        ([SECOND], [*TIMELINE, TIMELINE[0]], "the timeline of summary 0 is"),
        ([SECOND], [*TIMELINE[:2], evolve(TIMELINE[2], elapsed_ms=1)], "the timeline of summary 0 is"),
        ([SECOND], [*TIMELINE, Entry("s-1", TIMESTAMP_MS + 10, "PAUSED", 5)], "the timeline of summary 1 is"),
        ([SECOND], [*TIMELINE, evolve(TIMELINE[0], session_id="s-2")], "a timeline without its session"),
    ],
)
def test_a_difference_is_found(rows, entries, word):
    """
    Whatever is missing, older than acknowledged, changed, twice there or never sent.
    """
    found = differences(two_summaries(acknowledged=2), rows, entries)

    assert any(word in what for what in found), found


def test_the_newest_acknowledged_summary_counts_whatever_the_clock_did():
    """
    By its timestamp, as in the database: after a jump back, a later summary is the older one.
    """
    playback = Playback("s-1")
    playback.next_summary().acknowledge()
    playback.clock_ms -= 10 * HEARTBEAT_MS
    playback.next_summary().acknowledge()

    assert differences({"s-1": playback}, [FIRST], TIMELINE) == []
