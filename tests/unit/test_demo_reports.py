"""
What the demo's summaries say of a playback that was written by hand.
"""

from __future__ import annotations

import pytest

from m3w_http.demo.playback import Phase, Playback
from m3w_http.demo.reports import summary, timeline, totals

START_MS = 1_771_150_000_000

# Half a second to the first frame, a better stream after ten seconds, a stall, a seek and a pause.
PLAYBACK = Playback(
    phases=(
        Phase("joining", 100, 600, 0),
        Phase("playing", 600, 10_600, 1_500),
        Phase("playing", 10_600, 30_600, 4_500),
        Phase("stalled", 30_600, 33_100, 4_500),
        Phase("playing", 33_100, 43_100, 4_500),
        Phase("seeking", 43_100, 43_600, 4_500),
        Phase("paused", 43_600, 63_600, 4_500),
        Phase("playing", 63_600, 143_600, 4_500),
    ),
    ending="completed",
    dropped_per_minute=3.0,
)


def entry(at_ms, state, *, kbps=4_500, dropped=0, buffered_ms=2_000, stalls=0, stall_ms=0):
    return {
        "timestampMs": START_MS + at_ms,
        "elapsedMs": at_ms,
        "playbackState": state,
        "currentBitrate": kbps * 1000 or None,
        "networkType": "Wi-Fi",
        "totalDroppedFrames": dropped,
        "bufferedDurationMs": buffered_ms,
        "rebufferCount": stalls,
        "rebufferTimeMs": stall_ms,
    }


def entries(since_ms, until_ms):
    return timeline(PLAYBACK, start_ms=START_MS, since_ms=since_ms, until_ms=until_ms, network_type="Wi-Fi")


def test_a_summary_adds_up_what_happened():
    """
    120 s of playing, of which 10 s at 1.5 Mbit/s; 2.5 s of stalls in 123.5 s of play and wait time.
    """
    made = summary(PLAYBACK, start_ms=START_MS, at_ms=143_600)

    assert made == {
        "timestamp": START_MS + 143_600,
        "sessionStartDateIso": "2026-02-15T10:06:40.000Z",
        "sessionDurationMs": 143_600,
        "startupTimeMs": 500,
        "rebufferTimeMs": 2_500,
        "rebufferCount": 1,
        "playTimeMs": 120_000,
        "rebufferRatio": pytest.approx(2_500 / 123_500, abs=1e-9),
        "totalDroppedFrames": 6,
        "totalSeekCount": 1,
        "totalSeekTimeMs": 500,
        "meanVideoFormatBitrate": 4_250_000,
        "errorCount": 0,
    }


def test_a_summary_in_the_middle_knows_only_what_was():
    """
    One second into the stall.
    """
    made = summary(PLAYBACK, start_ms=START_MS, at_ms=31_600)

    assert (made["playTimeMs"], made["rebufferTimeMs"], made["rebufferCount"]) == (30_000, 1_000, 1)
    assert made["rebufferRatio"] == pytest.approx(1_000 / 31_500, abs=1e-9)
    assert (made["totalSeekCount"], made["meanVideoFormatBitrate"]) == (0, 3_500_000)


def test_before_the_first_frame_there_is_no_startup_time_and_no_bitrate():
    """
    A viewer who leaves while the player joins.
    """
    made = summary(PLAYBACK, start_ms=START_MS, at_ms=400)

    assert (made["startupTimeMs"], made["playTimeMs"], made["meanVideoFormatBitrate"]) == (None, 0, -1)
    assert (made["rebufferRatio"], made["errorCount"]) == (0.0, 0)


def test_a_fatal_error_counts_at_the_end_only():
    """
    A report from before it cannot know.
    """
    failed = Playback(PLAYBACK.phases, "failed", 0.0)

    counts = [summary(failed, start_ms=START_MS, at_ms=at_ms)["errorCount"] for at_ms in (143_599, 143_600)]

    assert counts == [0, 1]


def test_a_timeline_has_every_change_and_the_time_between():
    """
    Each entry holds the sums of its moment; the last one those of the summary.
    """
    assert entries(0, 143_600) == [
        entry(100, "BUFFERING", kbps=0, buffered_ms=0),
        entry(600, "PLAYING", kbps=1_500),
        entry(10_600, "PLAYING"),
        entry(30_600, "BUFFERING", dropped=1, buffered_ms=0),
        entry(33_100, "PLAYING", dropped=1, stalls=1, stall_ms=2_500),
        entry(43_100, "BUFFERING", dropped=2, buffered_ms=0, stalls=1, stall_ms=2_500),
        entry(43_600, "PAUSED", dropped=2, buffered_ms=50_000, stalls=1, stall_ms=2_500),
        entry(63_600, "PLAYING", dropped=2, stalls=1, stall_ms=2_500),
        entry(123_600, "PLAYING", dropped=5, buffered_ms=32_000, stalls=1, stall_ms=2_500),
        entry(143_600, "ENDED", dropped=6, buffered_ms=42_000, stalls=1, stall_ms=2_500),
    ]


def test_reports_share_a_timeline_without_overlap():
    """
    What one report has drained is not in the next; each ends with the moment it was made.
    """
    first, second = entries(0, 31_600), entries(31_600, 143_600)

    assert first[-1] == entry(31_600, "BUFFERING", dropped=1, buffered_ms=0, stalls=1, stall_ms=1_000)
    assert [each["elapsedMs"] for each in first[:-1] + second] == [
        each["elapsedMs"] for each in entries(0, 143_600)
    ]


@pytest.mark.parametrize(
    ("ending", "state"), [("completed", "ENDED"), ("failed", "IDLE"), ("left", "PAUSED")]
)
def test_the_last_entry_tells_how_it_ended(ending, state):
    """
    A player that failed is idle; who leaves has paused.
    """
    playback = Playback(PLAYBACK.phases, ending, 0.0)

    last = timeline(playback, start_ms=START_MS, since_ms=63_600, until_ms=143_600, network_type="Wi-Fi")[-1]

    assert last["playbackState"] == state


def test_a_stall_that_has_just_begun_is_counted():
    """
    From its first millisecond on, in the totals and in the timeline alike.
    """
    assert [totals(PLAYBACK, at_ms).stalls for at_ms in (30_600, 30_601)] == [0, 1]
    assert [entries(30_599, at_ms)[-1]["rebufferCount"] for at_ms in (30_600, 30_601)] == [0, 1]
