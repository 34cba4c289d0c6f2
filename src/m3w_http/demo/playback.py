"""
What a player does in one session, from attach to detach, as a row of phases.

Everything that a summary says is read off the phases afterwards (`m3w_http.demo.reports`), so that its numbers and
its timeline cannot contradict each other. Times are milliseconds since the start of the session.
"""

from __future__ import annotations

import math
import random
from typing import Literal

from attrs import define, field, frozen

from m3w_http.demo.catalogue import LADDER_KBPS, MINUTE_MS, Content, Device, Network, Release

Kind = Literal["joining", "playing", "stalled", "seeking", "paused"]
Ending = Literal["completed", "left", "failed"]


@frozen
class Circumstances:
    """
    What a session depends on.

    Args:
        device: Model and class of the device.
        api_level: Of its Android.
        network: Kind of connection.
        kbps: Throughput of this very connection.
        release: Of the app.
        content: What is watched.
        cdn: Where it comes from.
        cdn_delay: How much longer that takes than the best, a factor.
        broken: Whether the incident hits this session.
    """

    device: Device
    api_level: int
    network: Network
    kbps: float
    release: Release
    content: Content
    cdn: str
    cdn_delay: float
    broken: bool


@frozen
class Phase:
    """
    A stretch of a session in which the player does one thing.

    Args:
        kind: What it does.
        start_ms: First moment.
        end_ms: First moment after it.
        kbps: Video bitrate on screen, 0 before the first frame.
    """

    kind: Kind
    start_ms: int
    end_ms: int
    kbps: int

    @property
    def length_ms(self) -> int:
        """How long it is."""
        return self.end_ms - self.start_ms


@frozen
class Playback:
    """
    A whole session.

    Args:
        phases: One after the other without gaps; the first begins when the viewer asks to play.
        ending: Why it ended.
        dropped_per_minute: Frames that the device drops in a minute of playing.
    """

    phases: tuple[Phase, ...]
    ending: Ending
    dropped_per_minute: float

    @property
    def end_ms(self) -> int:
        """The length of the session."""
        return self.phases[-1].end_ms


@define
class _Recorder:
    """Collects phases."""

    now_ms: int
    phases: list[Phase] = field(factory=list)

    def add(self, kind: Kind, length_ms: float, kbps: int = 0) -> None:
        start_ms, self.now_ms = self.now_ms, self.now_ms + max(1, round(length_ms))
        self.phases.append(Phase(kind, start_ms, self.now_ms, kbps))


def simulate(source: random.Random, case: Circumstances) -> Playback:
    """
    Play one session to its end.

    Args:
        source: Of randomness.
        case: Who watches what how.
    """
    recorder = _Recorder(now_ms=source.randint(40, 300))
    ending = _join(source, case, recorder) or _watch(source, case, recorder)
    # Most devices drop next to nothing, the slow ones now and then a lot.
    dropped = source.lognormvariate(-2.2, 1.2) * case.device.slowness**3
    return Playback(tuple(recorder.phases), ending, dropped)


def _join(source: random.Random, case: Circumstances, recorder: _Recorder) -> Ending | None:
    """Wait for the first frame; gives the ending if it never comes."""
    segment_ms = 2_000 * _rung(min(case.kbps / 2, 1_500)) / case.kbps
    requests_ms = 5 * case.network.round_trip_ms
    startup_ms = 230 * case.device.slowness + (requests_ms + 1.2 * segment_ms) * case.cdn_delay
    startup_ms *= source.lognormvariate(0, 0.55) * (1.7 if case.broken else 1)
    # Patience ends after two seconds, with every further one for some; a few never meant to watch.
    changes_mind = source.random() < 0.017
    patience_ms = 2_000 + source.expovariate(1 / 18_000)
    if changes_mind:
        patience_ms = 250 + source.expovariate(1 / 900)
    fails = source.random() < (0.14 if case.broken else 0.005 * case.network.unrest)
    if fails:
        startup_ms += source.lognormvariate(8.1, 0.7)
    recorder.add("joining", min(startup_ms, patience_ms))
    if patience_ms < startup_ms:
        return "left"
    return "failed" if fails else None


def _watch(source: random.Random, case: Circumstances, recorder: _Recorder) -> Ending:
    """Play until the content, the viewer's interest or the player ends."""
    wanted_ms, completes = _wanted(source, case)
    left_ms = wanted_ms
    best_kbps = _rung(min(case.kbps * 0.7, case.device.max_kbps))
    kbps = _rung(min(case.kbps / 2, 1_500))
    settled = kbps == best_kbps
    while True:
        rates = _rates(case, kbps, settled=settled)
        play_ms = source.expovariate(sum(rates.values()) / MINUTE_MS)
        if play_ms >= left_ms:
            recorder.add("playing", left_ms, kbps)
            return "completed" if completes else "left"
        recorder.add("playing", play_ms, kbps)
        left_ms -= play_ms
        event = source.choices(list(rates), list(rates.values()))[0]
        if event == "failure":
            return "failed"
        if event == "switch":
            kbps = best_kbps if kbps != best_kbps else _rung(best_kbps * 0.6)
            settled = True
        elif event == "stall":
            strain = 1 + kbps / case.kbps + (1.2 if case.broken else 0)
            stall_ms = min(source.lognormvariate(7.4, 0.95) * strain, 60_000)
            recorder.add("stalled", stall_ms, kbps)
            kbps, settled = _rung(kbps * 0.6), False
            if source.random() > math.exp(-stall_ms / 90_000):
                return "left"
        elif event == "pause":
            recorder.add("paused", min(source.lognormvariate(10.2, 1.2), 20 * MINUTE_MS), kbps)
        else:
            segment_ms = 2_000 * kbps / case.kbps + 2 * case.network.round_trip_ms
            recorder.add(
                "seeking", (90 * case.device.slowness + segment_ms) * source.lognormvariate(0, 0.5), kbps
            )
            # Most go forward, past the opening.
            left_ms = max(1_000, left_ms + source.gauss(-60_000, 60_000)) if completes else left_ms


def _wanted(source: random.Random, case: Circumstances) -> tuple[float, bool]:
    """Give how long the viewer wants to watch, in ms, and whether that is to the end."""
    duration_ms = case.content.duration_ms
    if source.random() < 0.28:
        # Only looking what it is.
        looking_ms = 4_000 + source.expovariate(1 / 45_000)
        return min(looking_ms, duration_ms or looking_ms), False
    if duration_ms is None:
        return min(source.lognormvariate(13.5, 1.0), 240 * MINUTE_MS), False
    if source.random() < 0.5:
        return duration_ms * source.uniform(0.93, 1.0), True
    return max(5_000, duration_ms * source.betavariate(1.1, 1.9)), False


def _rates(case: Circumstances, kbps: int, *, settled: bool) -> dict[str, float]:
    """Give how often what happens in a minute of playing."""
    unrest = case.network.unrest
    # A stream of nearly the connection's throughput leaves no time to fill the buffer.
    tightness = max(0.0, kbps / case.kbps - 0.4)
    return {
        "stall": 0.04 * unrest + 4 * tightness**2 + (5 if case.broken else 0),
        "switch": 0.12 * unrest if settled else 4.0,
        "pause": 0.025,
        "seek": 0.0 if case.content.duration_ms is None else 0.06,
        "failure": 0.0006 * unrest + (0.16 if case.broken else 0),
    }


def _rung(kbps: float) -> int:
    """Give the best stream that needs no more than *kbps*, or the lowest."""
    return max((rung for rung in LADDER_KBPS if rung <= kbps), default=LADDER_KBPS[0])
