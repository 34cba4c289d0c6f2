"""
The sessions of the demo: life-like, and the same again for the same plan.

They end where the plan ends, so that the last ones are still in progress.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from m3w_core.model import NO_VALUE, TIME_UNSET
from m3w_http.demo import catalogue
from m3w_http.demo.playback import Circumstances, simulate
from m3w_http.demo.reports import summary, timeline
from m3w_http.demo.rhythm import HOUR_MS, start_times

#: The app's own field that every session of the demo has, and no other.
MARK = "m3wDemo"

_DAY_MS = 24 * HOUR_MS

#: How long before the end the bad release came out.
INCIDENT_MS = 3 * HOUR_MS

# Twice as many as an average three hours have, and enough to be believed where those are few.
_MIN_INCIDENT_SESSIONS = 360


@frozen(kw_only=True)
class Plan:
    """
    What to make.

    Args:
        sessions: How many.
        days: Over how many days.
        end_ms: When they end, epoch ms.
        seed: Of all that is random.
        incident: Whether a bad release comes out shortly before the end.
    """

    sessions: int
    days: float
    end_ms: int
    seed: int = 1
    incident: bool = False

    @property
    def start_ms(self) -> int:
        """When the first session can begin, epoch ms."""
        return self.end_ms - round(self.days * _DAY_MS)


def generate(plan: Plan) -> Iterator[dict[str, Any]]:
    """
    Make the summaries of all sessions as JSON objects of the API, in the order in which they arrive.

    A few sessions have two, of which the earlier one arrives late: after everything else.
    """
    source = random.Random(f"{plan.seed} {plan.end_ms}")  # noqa: S311 - nothing to keep secret
    broken = _incident_sessions(plan) if plan.incident else 0
    starts = [
        (at_ms, False)
        for at_ms in start_times(source, plan.sessions - broken, since_ms=plan.start_ms, until_ms=plan.end_ms)
    ]
    # They die within minutes: nearly all of those that begin in the last hour are over at its end.
    since_ms = max(plan.start_ms, plan.end_ms - INCIDENT_MS)
    starts += [(source.randrange(since_ms, plan.end_ms), True) for _ in range(broken)]
    late = []
    for start_ms, is_broken in sorted(starts):
        case = _circumstances(source, plan, start_ms, broken=is_broken)
        first, *rest = _reports(source, plan, case, start_ms)
        yield first
        late += rest
    yield from late


def _incident_sessions(plan: Plan) -> int:
    as_many = round(2 * plan.sessions * INCIDENT_MS / (plan.end_ms - plan.start_ms))
    return min(plan.sessions // 2, max(as_many, _MIN_INCIDENT_SESSIONS))


def _circumstances(source: random.Random, plan: Plan, start_ms: int, *, broken: bool) -> Circumstances:
    if broken:
        device, network, release = catalogue.GALAXY_A54, catalogue.CELLULAR, catalogue.BAD_RELEASE
    else:
        device = source.choices(catalogue.DEVICES, cum_weights=catalogue.CUMULATIVE_DEVICE_SHARES)[0]
        network = source.choices(list(device.networks), list(device.networks.values()))[0]
        release = _release(source, plan, device, start_ms)
    cdn = source.choices(list(catalogue.CDNS), [share for share, _ in catalogue.CDNS.values()])[0]
    return Circumstances(
        device=device,
        api_level=source.choices(device.api_levels, range(1, len(device.api_levels) + 1))[0],
        network=network,
        kbps=max(150.0, network.median_kbps * source.lognormvariate(0, network.spread)),
        release=release,
        content=source.choices(catalogue.CONTENTS, cum_weights=catalogue.CUMULATIVE_CONTENT_SHARES)[0],
        cdn=cdn,
        cdn_delay=catalogue.CDNS[cdn][1],
        broken=broken,
    )


def _release(source: random.Random, plan: Plan, device: catalogue.Device, start_ms: int) -> catalogue.Release:
    """Each release comes out at a time of its own and then finds its way to the viewers, never to all."""
    if device.networks is catalogue.TELEVISION and source.random() < 0.1:
        return catalogue.OLD_RELEASE
    passed = (start_ms - plan.start_ms) / (plan.end_ms - plan.start_ms)
    newest = catalogue.RELEASES[0]
    for release, out in zip(catalogue.RELEASES[1:], (-0.3, 0.45), strict=True):
        if source.random() < 0.92 * min(1.0, max(0.0, (passed - out) / 0.4)):
            newest = release
    if plan.incident and start_ms >= plan.end_ms - INCIDENT_MS and source.random() < 0.3:
        # The bad release does no harm on any other device.
        newest = catalogue.BAD_RELEASE
    return newest


def _reports(
    source: random.Random, plan: Plan, case: Circumstances, start_ms: int
) -> Iterator[dict[str, Any]]:
    playback = simulate(source, case)
    session_id = str(uuid.UUID(int=source.getrandbits(128), version=4))
    over_ms = plan.end_ms - start_ms
    # What is in progress at the end has reported within the last seconds.
    at_ms = playback.end_ms if playback.end_ms < over_ms else max(1, over_ms - source.randrange(15_000))
    extra = {
        "contentId": case.content.content_id,
        "appVersion": case.release.app_version,
        "cdn": case.cdn,
        MARK: True,
    }
    clock_ms = _clock_error_ms(source, is_recent=over_ms - at_ms < HOUR_MS)
    odd = source.random()

    def report(since_ms: int, until_ms: int) -> dict[str, Any]:
        client_start_ms = start_ms + clock_ms
        payload = {"sessionId": session_id, **summary(playback, start_ms=client_start_ms, at_ms=until_ms)}
        _spoil(payload, case.release, odd)
        if case.release.sdk_version is not None:
            payload |= {
                "deviceModel": case.device.model,
                "osVersion": case.api_level,
                "sdkVersion": case.release.sdk_version,
                "connectionType": case.network.connection_type,
                "timelineEvents": timeline(
                    playback,
                    start_ms=client_start_ms,
                    since_ms=since_ms,
                    until_ms=until_ms,
                    network_type=case.network.connection_type,
                ),
            }
        return payload | extra

    # Some first reports got stuck in the phone's queue.
    stuck = case.release.sdk_version is not None and at_ms > 60_000 and source.random() < 0.01
    if stuck:
        yield report(20_000, at_ms)
        yield report(0, 20_000)
    else:
        yield report(0, at_ms)


def _clock_error_ms(source: random.Random, *, is_recent: bool) -> int:
    """Most clocks are right, some go seconds wrong, and a few have never been set."""
    chance = source.random()
    # Their sessions count at the time of their arrival, which is now.
    if is_recent and chance < 0.03:
        return source.choice((-6, -3, 2, 8)) * 365 * _DAY_MS
    return round(source.gauss(-5_000, 60_000)) if chance > 0.96 else 0


def _spoil(payload: dict[str, Any], release: catalogue.Release, odd: float) -> None:
    """Leave out what apps and SDKs at times do not know, the way they say it."""
    if odd < 0.02:
        # The app forgot playRequested().
        payload["startupTimeMs"] = None
    elif odd < 0.023:
        payload["sessionStartDateIso"] = "null"
    elif odd < 0.03:
        payload["meanVideoFormatBitrate"] = NO_VALUE
    if payload["startupTimeMs"] is None and release.sdk_version == "1.0.1":
        payload["startupTimeMs"] = TIME_UNSET
