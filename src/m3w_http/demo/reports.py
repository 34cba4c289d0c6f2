"""
Summaries as SDK 1.x sends them, read off a playback.

A summary can be made for any moment of a session: what was not yet is left out, as the SDK could not know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from m3w_core.model import NO_VALUE
from m3w_http.demo.catalogue import MINUTE_MS
from m3w_http.demo.playback import Kind, Phase, Playback

_STATES: dict[Kind, str] = {
    "joining": "BUFFERING",
    "playing": "PLAYING",
    "stalled": "BUFFERING",
    "seeking": "BUFFERING",
    "paused": "PAUSED",
}

#: The app behind the demo reports once a minute, and more rarely in long sessions.
_INTERVAL_MS = MINUTE_MS
_REPORTS = 12

_FULL_BUFFER_MS = 50_000


@frozen
class Totals:
    """
    What `PlaybackStats` has summed up at one moment; times are in ms.

    Args:
        join_ms: Until the first frame, or so far.
        play_ms: In which video advanced.
        stall_ms: In stalls.
        stalls: How many.
        seek_ms: In seeks.
        seeks: How many.
        dropped_frames: So far.
        kbit: That were shown.
    """

    join_ms: int
    play_ms: int
    stall_ms: int
    stalls: int
    seek_ms: int
    seeks: int
    dropped_frames: int
    kbit: float

    @property
    def rebuffer_ratio(self) -> float:
        """Give the time in stalls as a fraction of play and wait time, as Media3 defines it."""
        whole_ms = self.play_ms + self.join_ms + self.stall_ms + self.seek_ms
        return self.stall_ms / whole_ms if whole_ms else 0.0

    @property
    def mean_bitrate(self) -> int:
        """Give the mean over play time in bit/s, or Media3's word for none."""
        return round(self.kbit * 1e6 / self.play_ms) if self.play_ms else NO_VALUE


def totals(playback: Playback, at_ms: int) -> Totals:
    """
    Sum a session up.

    Args:
        playback: The session.
        at_ms: Only what was before.
    """
    lengths: dict[Kind, int] = dict.fromkeys(_STATES, 0)
    counts: dict[Kind, int] = dict.fromkeys(_STATES, 0)
    kbit = 0.0
    for phase in playback.phases:
        if phase.start_ms >= at_ms:
            break
        length_ms = min(phase.end_ms, at_ms) - phase.start_ms
        lengths[phase.kind] += length_ms
        counts[phase.kind] += 1
        if phase.kind == "playing":
            kbit += phase.kbps * length_ms / 1000
    return Totals(
        join_ms=lengths["joining"],
        play_ms=lengths["playing"],
        stall_ms=lengths["stalled"],
        stalls=counts["stalled"],
        seek_ms=lengths["seeking"],
        seeks=counts["seeking"],
        dropped_frames=_dropped_frames(playback, lengths["playing"]),
        kbit=kbit,
    )


def summary(playback: Playback, *, start_ms: int, at_ms: int) -> dict[str, Any]:
    """
    Make the numbers of a summary.

    Args:
        playback: The session.
        start_ms: When it began, epoch ms.
        at_ms: When the summary is made, in ms since then.

    Returns:
        The JSON object, yet without session ID, device and timeline.
    """
    sums = totals(playback, at_ms)
    started = datetime.fromtimestamp(start_ms / 1000, UTC)
    return {
        "timestamp": start_ms + at_ms,
        "sessionStartDateIso": f"{started:%Y-%m-%dT%H:%M:%S}.{start_ms % 1000:03}Z",
        "sessionDurationMs": at_ms,
        "startupTimeMs": sums.join_ms if sums.play_ms else None,
        "rebufferTimeMs": sums.stall_ms,
        "rebufferCount": sums.stalls,
        "playTimeMs": sums.play_ms,
        "rebufferRatio": round(sums.rebuffer_ratio, 9),
        "totalDroppedFrames": sums.dropped_frames,
        "totalSeekCount": sums.seeks,
        "totalSeekTimeMs": sums.seek_ms,
        "meanVideoFormatBitrate": sums.mean_bitrate,
        "errorCount": int(playback.ending == "failed" and at_ms >= playback.end_ms),
    }


def timeline(
    playback: Playback, *, start_ms: int, since_ms: int, until_ms: int, network_type: str
) -> list[dict[str, Any]]:
    """
    Give the entries of a stretch of a session, the oldest first.

    Args:
        playback: The session.
        start_ms: When it began, epoch ms.
        since_ms: In ms since then; the entries of this moment are left out, unless it is the beginning.
        until_ms: The same; the entries of this moment are in.
        network_type: As the SDK names it.
    """
    first_ms = since_ms or -1
    found = []
    stall_ms = stalls = play_ms = 0
    for phase, moments in _moments(playback, until_ms):
        playing, stalled = phase.kind == "playing", phase.kind == "stalled"
        for at_ms in moments:
            if at_ms > first_ms:
                so_far_ms = at_ms - phase.start_ms
                found.append(
                    {
                        "timestampMs": start_ms + at_ms,
                        "elapsedMs": at_ms,
                        "playbackState": _state(playback, phase, at_ms),
                        "currentBitrate": phase.kbps * 1000 or None,
                        "networkType": network_type,
                        "totalDroppedFrames": _dropped_frames(playback, play_ms + so_far_ms * playing),
                        "bufferedDurationMs": _buffered_ms(phase, so_far_ms),
                        "rebufferCount": stalls + (stalled and so_far_ms > 0),
                        "rebufferTimeMs": stall_ms + so_far_ms * stalled,
                    }
                )
        play_ms += phase.length_ms * playing
        stall_ms += phase.length_ms * stalled
        stalls += stalled
    return found


def _moments(playback: Playback, until_ms: int) -> Iterator[tuple[Phase, list[int]]]:
    """Give the phases with the moments at which the SDK looks at the player: changes, intervals, the report itself."""
    interval_ms = max(_INTERVAL_MS, playback.end_ms // _REPORTS)
    for phase in playback.phases:
        if phase.start_ms >= until_ms:
            return
        end_ms = min(phase.end_ms, until_ms)
        moments = [phase.start_ms]
        if phase.kind == "playing":
            moments += range(phase.start_ms + interval_ms, end_ms, interval_ms)
        if end_ms == until_ms:
            moments.append(until_ms)
        yield phase, moments


def _state(playback: Playback, phase: Phase, at_ms: int) -> str:
    if at_ms < playback.end_ms:
        return _STATES[phase.kind]
    return {"completed": "ENDED", "failed": "IDLE", "left": "PAUSED"}[playback.ending]


def _dropped_frames(playback: Playback, play_ms: int) -> int:
    return int(playback.dropped_per_minute * play_ms / MINUTE_MS)


def _buffered_ms(phase: Phase, so_far_ms: int) -> int:
    """Give the media that lies ready: none while waiting, more and more while playing."""
    if phase.kind == "paused":
        return _FULL_BUFFER_MS
    return min(_FULL_BUFFER_MS, 2_000 + so_far_ms // 2) if phase.kind == "playing" else 0
