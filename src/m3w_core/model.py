"""
Playback sessions as the Android SDK reports them.

Durations are milliseconds, instants Unix epoch milliseconds of the client's clock, bitrates bit/s and ratios
fractions. ``None`` means that the player did not measure it; Media3's own "unset" values never get this far.
Each field carries its rule as an annotation, which is checked when a payload is read (`m3w_core.parse_session`);
whoever calls the classes directly answers for the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from attrs import Factory, define, frozen

from m3w_core.validation import Choice, Integer, Ratio, Text

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1

#: 9999-12-31T23:59:59.999Z, the last instant PostgreSQL's and Python's calendars both hold.
MAX_TIMESTAMP_MS = 253_402_300_799_999

#: Media3's ``C.TIME_UNSET``, the duration that was not measured.
TIME_UNSET = -(2**63) + 1

#: Media3's ``Format.NO_VALUE``, the bitrate that is not known.
NO_VALUE = -1

#: How many timeline entries one summary may carry.
MAX_TIMELINE_ENTRIES = 500

PlaybackState = Literal["IDLE", "BUFFERING", "PLAYING", "PAUSED", "ENDED"]

_Instant = Annotated[int, Integer(minimum=1, maximum=MAX_TIMESTAMP_MS)]
_Duration = Annotated[int, Integer(maximum=INT64_MAX)]
_OptionalDuration = Annotated[int | None, Integer(maximum=INT64_MAX, unset=TIME_UNSET)]
_Count = Annotated[int, Integer(maximum=INT32_MAX)]
_OptionalCount = Annotated[int | None, Integer(maximum=INT32_MAX)]
_LargeCount = Annotated[int, Integer(maximum=INT64_MAX)]
_OptionalLargeCount = Annotated[int | None, Integer(maximum=INT64_MAX)]
_OptionalText = Annotated[str | None, Text(max_length=256)]


# Not frozen, though nobody is to change them: a frozen class takes 5 µs longer to set the attributes of a session,
# a twentieth of what a request takes.
@define(kw_only=True)
class TimelineEntry:
    """
    The state of the player at one moment of a session.

    Counts and times are those of the session up to this moment. A session has at most one entry for each pair
    of *timestamp_ms* and *playback_state*.

    Args:
        timestamp_ms: When, by the client's clock.
        elapsed_ms: Since the start of the session.
        playback_state: What the player was doing.
        current_bitrate: Of the video format on screen, bit/s.
        network_type: As the SDK names it (``WIFI``).
        total_dropped_frames: Frames dropped so far.
        buffered_duration_ms: Media buffered ahead of the position.
        rebuffer_count: Stalls so far.
        rebuffer_time_ms: Time spent in stalls so far.
    """

    timestamp_ms: _Instant
    elapsed_ms: _Duration
    playback_state: Annotated[PlaybackState, Choice("playbackState")]
    current_bitrate: _OptionalLargeCount = None
    network_type: _OptionalText = None
    total_dropped_frames: _LargeCount
    buffered_duration_ms: _OptionalDuration = None
    rebuffer_count: _Count
    rebuffer_time_ms: _Duration


@define(kw_only=True)
class Session:
    """
    One playback, from attach to detach of the player, as last summed up by the SDK.

    Args:
        session_id: A UUID from the SDK; any text of 1 to 128 characters that is not blank.
        timestamp: When the summary was made, by the client's clock, Unix epoch milliseconds. Of two summaries
            of one session the one with the larger timestamp is the newer.
        session_start_date_iso: When the session began, as the SDK wrote it, which may be the word ``null``.
        session_duration_ms: From attach to the summary.
        startup_time_ms: Play requested to first frame rendered.
        rebuffer_time_ms: Time spent in stalls.
        rebuffer_count: Number of stalls.
        play_time_ms: Time in which video advanced.
        rebuffer_ratio: Media3's ``PlaybackStats``: rebuffer time / (play + wait) time, 0 to 1, as a 32-bit float.
        total_dropped_frames: Frames the renderer dropped.
        total_seek_count: Number of seeks.
        total_seek_time_ms: Time spent seeking.
        mean_video_format_bitrate: Mean over play time, bit/s.
        error_count: Number of fatal errors.
        device_model: Android's ``Build.MODEL``.
        os_version: Android API level.
        sdk_version: Of the Media3Watch SDK.
        connection_type: As the SDK names it (``WIFI``).
        timeline_events: What is new since the last summary, as the SDK drains its buffer with each.
        extra: Fields the SDK does not know, sent by the app: JSON values by their names.
    """

    session_id: Annotated[str, Text(max_length=128, blank=False)]
    timestamp: _Instant
    session_start_date_iso: Annotated[str, Text(max_length=64, blank=False)]
    session_duration_ms: Annotated[int, Integer(minimum=1, maximum=INT64_MAX)]
    startup_time_ms: _OptionalDuration = None
    rebuffer_time_ms: _OptionalDuration = None
    rebuffer_count: _OptionalCount = None
    play_time_ms: _OptionalDuration = None
    rebuffer_ratio: Annotated[float | None, Ratio()] = None
    total_dropped_frames: _OptionalLargeCount = None
    total_seek_count: _OptionalCount = None
    total_seek_time_ms: _OptionalDuration = None
    mean_video_format_bitrate: Annotated[int | None, Integer(maximum=INT64_MAX, unset=NO_VALUE)] = None
    error_count: _OptionalCount = None
    device_model: _OptionalText = None
    os_version: _OptionalCount = None
    sdk_version: _OptionalText = None
    connection_type: _OptionalText = None
    timeline_events: tuple[TimelineEntry, ...] = ()
    extra: Mapping[str, Any] = Factory(dict)


@frozen(kw_only=True)
class StoredSession:
    """
    A session as it is kept, with the server's own times beside the client's.

    Args:
        session: The newest summary; its timeline is the whole one, of every summary, oldest first.
        created_at: When the session was first seen here.
        received_at: When the stored summary came.
        event_at: The time that charts use: the client's if it is plausible, else *received_at*.
        received_via: Name of the API key that the summary came with; None where that is not known.
    """

    session: Session
    created_at: datetime
    received_at: datetime
    event_at: datetime
    received_via: str | None = None
