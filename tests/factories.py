"""
Sessions for tests: complete ones, in which a test names what it is about.
"""

from __future__ import annotations

from typing import Any

from m3w_core import Session, TimelineEntry

TIMESTAMP_MS = 1_771_150_045_000


def a_payload(**changes: Any) -> dict[str, Any]:
    """Make the JSON object of a complete summary, as SDK 1.x sends it."""
    return {
        "sessionId": "550e8400-e29b-41d4-a716-446655440000",
        "timestamp": TIMESTAMP_MS,
        "sessionStartDateIso": "2026-02-15T10:00:00.000Z",
        "sessionDurationMs": 45_000,
        "startupTimeMs": 450,
        "rebufferTimeMs": 1_200,
        "rebufferCount": 2,
        "playTimeMs": 42_000,
        "rebufferRatio": 0.25,
        "totalDroppedFrames": 12,
        "totalSeekCount": 1,
        "totalSeekTimeMs": 300,
        "meanVideoFormatBitrate": 2_500_000,
        "errorCount": 0,
        "deviceModel": "Pixel 8",
        "osVersion": 34,
        "sdkVersion": "1.0.1",
        "connectionType": "WIFI",
        "timelineEvents": None,
        **changes,
    }


def an_entry_payload(**changes: Any) -> dict[str, Any]:
    """Make the JSON object of a complete timeline entry."""
    return {
        "timestampMs": TIMESTAMP_MS,
        "elapsedMs": 15_000,
        "playbackState": "PLAYING",
        "currentBitrate": 2_500_000,
        "networkType": "WIFI",
        "totalDroppedFrames": 4,
        "bufferedDurationMs": 18_000,
        "rebufferCount": 1,
        "rebufferTimeMs": 600,
        **changes,
    }


def a_session(session_id: str = "s-1", timestamp: int = TIMESTAMP_MS, **changes: Any) -> Session:
    """Make a session."""
    return Session(
        session_id=session_id,
        timestamp=timestamp,
        **{
            "session_start_date_iso": "2026-02-15T10:00:00.000Z",
            "session_duration_ms": 45_000,
            **changes,
        },
    )


def an_entry(timestamp_ms: int = TIMESTAMP_MS, **changes: Any) -> TimelineEntry:
    """Make a timeline entry."""
    return TimelineEntry(
        timestamp_ms=timestamp_ms,
        **{
            "elapsed_ms": 15_000,
            "playback_state": "PLAYING",
            "total_dropped_frames": 4,
            "rebuffer_count": 1,
            "rebuffer_time_ms": 600,
            **changes,
        },
    )
