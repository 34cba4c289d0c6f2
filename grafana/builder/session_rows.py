"""
What the numbers of single sessions mean, in the list and on the page of one session.

Durations are those that the SDK has sent; an implausible one is shown here, while no sum has it.
"""

from __future__ import annotations

from typing import Final

from grafana.builder.definition import Definition, Thresholds


def _of_session(
    name: str, title: str, formula: str, query: str, unit: str, thresholds: Thresholds | None = None
) -> Definition:
    return Definition(
        name=name,
        title=title,
        formula=formula,
        source="this backend",
        query=query,
        unit=unit,
        thresholds=thresholds,
    )


SESSION_LIST: Final = _of_session(
    "session_list",
    "Session list",
    "Sessions of the range, newest first, at most 500; the filters above narrow it down. A session leads to its page.",
    "session_qoe",
    "string",
)
MATCHING: Final = _of_session(
    "matching_sessions",
    "Matching sessions",
    "Sessions of the range that the filters above let through, by outcome.",
    "session_qoe",
    "short",
)
ITS_OUTCOME: Final = _of_session(
    "outcome",
    "Outcome",
    "How the session ended; failed is one with a fatal error.",
    "session_qoe",
    "string",
)
ITS_STARTUP: Final = _of_session(
    "startup_time_ms",
    "Startup time",
    "From play requested to the first frame rendered; nothing where it was not measured.",
    "session_qoe",
    "ms",
    Thresholds(4_000, 8_000),
)
ITS_REBUFFERING: Final = _of_session(
    "rebuffer_ratio",
    "Rebuffer percentage",
    "Rebuffer time ÷ watch time of the session, as Media3 computed it.",
    "session_qoe",
    "percent",
    Thresholds(1, 2),
)
ITS_WATCH_TIME: Final = _of_session(
    "watch_time_ms",
    "Watch time",
    "Wall time in which the viewer wanted playback: stalls count, pauses do not.",
    "session_qoe",
    "ms",
)
ITS_BITRATE: Final = _of_session(
    "mean_video_format_bitrate",
    "Mean bitrate",
    "Mean of the video bitrate over play time.",
    "session_qoe",
    "bps",
)
ITS_ERRORS: Final = _of_session(
    "error_count",
    "Fatal errors",
    "Errors that ended playback.",
    "session_qoe",
    "short",
    Thresholds(1, 1),
)
EVERY_FIELD: Final = _of_session(
    "every_field",
    "Every field",
    "All that is known of the session: what the SDK and the app sent, when it came, and what follows from it.",
    "session_qoe",
    "string",
)
AGAINST_THE_DAY: Final = _of_session(
    "against_the_day",
    "Against the median of its day",
    "The session's numbers beside the median of all sessions of the same UTC day, and how many times the median they"
    " are.",
    "qoe_day_medians",
    "none",
)
STATE: Final = _of_session(
    "playback_state",
    "State",
    "State of the player at each entry of the timeline: 0 is IDLE, 1 ENDED, 2 PAUSED, 3 BUFFERING, 4 PLAYING.",
    "session_timeline",
    "none",
)
BITRATE: Final = _of_session(
    "current_bitrate", "Bitrate", "Bitrate of the video format on screen.", "session_timeline", "bps"
)
BUFFER: Final = _of_session(
    "buffered_duration",
    "Buffer",
    "Media buffered ahead of the position. Where it reaches 0 while the player wants to play, there is a stall.",
    "session_timeline",
    "ms",
)
STALLS: Final = _of_session(
    "rebuffer_time",
    "Stalls",
    "Rebuffer time of the session up to the entry: each step is a stall.",
    "session_timeline",
    "ms",
)
ENTRIES: Final = _of_session(
    "timeline",
    "Timeline",
    "The entries of the timeline, oldest first: the player's state as the SDK saw it, with its own clock.",
    "session_timeline",
    "string",
)

SINGLE_SESSIONS: Final = (
    SESSION_LIST,
    MATCHING,
    ITS_OUTCOME,
    ITS_STARTUP,
    ITS_REBUFFERING,
    ITS_WATCH_TIME,
    ITS_BITRATE,
    ITS_ERRORS,
    EVERY_FIELD,
    AGAINST_THE_DAY,
    STATE,
    BITRATE,
    BUFFER,
    STALLS,
    ENTRIES,
)
