"""
That the demo's sessions are valid, agree with themselves, and look like life.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from statistics import quantiles

import orjson
import pytest

from m3w_core import parse_session
from m3w_http.demo.generator import MARK, Plan, generate

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

#: A Wednesday, 20:00 UTC.
END_MS = 1_771_444_800_000


def plan(**changes):
    return Plan(**{"sessions": 4000, "days": 7, "end_ms": END_MS, **changes})


@pytest.fixture(scope="module")
def summaries():
    return list(generate(plan()))


@pytest.fixture(scope="module")
def sessions(summaries):
    """The newest summary of each."""
    return {each["sessionId"]: each for each in reversed(summaries)}.values()


@pytest.fixture(scope="module")
def incident():
    return list({each["sessionId"]: each for each in generate(plan(incident=True))}.values())


def failing(sessions):
    return sum(each["errorCount"] for each in sessions) / len(sessions)


def stalling(sessions):
    """Rebuffer time / play and rebuffer time."""
    stalled = sum(each["rebufferTimeMs"] for each in sessions)
    return stalled / (stalled + sum(each["playTimeMs"] for each in sessions))


def grouped(sessions, name):
    groups = defaultdict(list)
    for each in sessions:
        groups[each.get(name)].append(each)
    return groups


def test_the_same_plan_makes_the_same_sessions():
    """
    And another seed makes others, so that demos do not overwrite each other.
    """
    first, again, other = (list(generate(plan(sessions=50, seed=seed))) for seed in (7, 7, 8))

    assert first == again
    assert {each["sessionId"] for each in first}.isdisjoint(each["sessionId"] for each in other)


def test_the_backend_takes_every_summary(summaries):
    """
    As many sessions as asked for, each with the mark that finds it again.
    """
    # The latest are the oddest.
    parsed = [parse_session(orjson.dumps(each)) for each in summaries[-1500:]]

    assert len({each["sessionId"] for each in summaries}) == 4000
    assert all(session.extra[MARK] is True for session in parsed)
    assert all({"contentId", "appVersion", "cdn"} < session.extra.keys() for session in parsed)


def test_sums_agree_with_each_other(sessions):
    """
    Where the startup time is known, the ratio is Media3's; nothing takes longer than the session.
    """
    measured = [each for each in sessions if each["startupTimeMs"] is not None and each["startupTimeMs"] > 0]
    for each in measured:
        waiting_ms = each["startupTimeMs"] + each["rebufferTimeMs"] + each["totalSeekTimeMs"]
        ratio = each["rebufferTimeMs"] / (each["playTimeMs"] + waiting_ms)
        assert each["rebufferRatio"] == pytest.approx(ratio, abs=1e-8)
        assert each["playTimeMs"] + waiting_ms <= each["sessionDurationMs"]
        assert (each["rebufferCount"] > 0) == (each["rebufferTimeMs"] > 0)

    assert len(measured) > 3500


def test_timelines_agree_with_the_sums(sessions):
    """
    The last entry is the summary's, and counts only rise.
    """
    told = [each for each in sessions if each.get("timelineEvents")]
    for each in told:
        entries = each["timelineEvents"]
        last = entries[-1]
        assert len(entries) <= 500
        assert last["timestampMs"] == each["timestamp"]
        assert last["elapsedMs"] == each["sessionDurationMs"]
        for name in ("rebufferCount", "rebufferTimeMs", "totalDroppedFrames"):
            assert last[name] == each[name]
        for earlier, later in pairwise(entries):
            assert earlier["elapsedMs"] < later["elapsedMs"]
            assert earlier["rebufferTimeMs"] <= later["rebufferTimeMs"]
            assert earlier["totalDroppedFrames"] <= later["totalDroppedFrames"]
        assert (last["playbackState"] == "IDLE") == (each["errorCount"] > 0)

    assert len(told) > 3800
    assert {each["timelineEvents"][-1]["playbackState"] for each in told} >= {
        "ENDED",
        "IDLE",
        "PAUSED",
        "PLAYING",
    }


def test_some_first_reports_come_late(summaries):
    """
    After everything else, with a part of the timeline that only they have.
    """
    times = Counter(each["sessionId"] for each in summaries)
    late = [each for each in summaries[4000:] if times[each["sessionId"]] == 2]
    final = {each["sessionId"]: each for each in summaries[:4000]}

    assert len(late) == len(summaries) - 4000
    assert 5 <= len(late) <= 60
    for first in late:
        newest = final[first["sessionId"]]
        assert first["timestamp"] < newest["timestamp"]
        assert first["timelineEvents"][-1]["elapsedMs"] == 20_000 < newest["timelineEvents"][0]["elapsedMs"]


def test_sessions_fill_the_days_until_the_end(sessions):
    """
    Some are in progress there.
    """
    ages = [END_MS - each["timestamp"] for each in sessions]
    playing = [
        each
        for each in sessions
        if 0 < END_MS - each["timestamp"] <= 15_000
        and each.get("timelineEvents")
        and each["timelineEvents"][-1]["playbackState"] == "PLAYING"
    ]

    assert max(age for age in ages if age < 300 * DAY_MS) > 6.8 * DAY_MS
    assert len(playing) >= 3


def test_a_few_clocks_of_the_last_hour_are_off_by_years():
    """
    No others are, as such a session counts when it arrives, which is now.
    """
    ages = [END_MS - each["timestamp"] for each in generate(plan(sessions=1000, days=0.25))]

    wrong = sum(abs(age) > 300 * DAY_MS for age in ages)
    assert 1 <= wrong <= 0.05 * sum(0 <= age < HOUR_MS for age in ages)


def test_evenings_are_busy_and_nights_are_not(sessions):
    """
    In UTC, with most viewers an hour ahead of it; no hour is empty.
    """
    hours = Counter(each["timestamp"] // HOUR_MS % 24 for each in sessions)

    assert sum(hours[hour] for hour in (18, 19, 20, 21)) > 2.5 * sum(hours[hour] for hour in (4, 5, 6, 7))
    assert min(hours[hour] for hour in range(24)) > 20


def test_the_audience_is_mixed(sessions):
    """
    Device models with their few Android versions, connections, and releases that take over from each other.
    """
    levels = {
        model: {each["osVersion"] for each in group}
        for model, group in grouped(sessions, "deviceModel").items()
        if model
    }
    middle = END_MS - 3.5 * DAY_MS
    newest = [
        sum(each.get("sdkVersion") == "1.2.0" for each in sessions if (each["timestamp"] > middle) is recent)
        for recent in (False, True)
    ]

    assert len(levels) >= 25
    assert {len(found) for found in levels.values()} == {1, 2, 3}
    assert set(grouped(sessions, "connectionType")) == {"Wi-Fi", "Cellular", "Ethernet", "Unknown", None}
    assert set(grouped(sessions, "sdkVersion")) == {"1.0.1", "1.1.0", "1.2.0", None}
    assert newest[1] > 5 * newest[0]


def test_startup_has_a_long_tail(sessions):
    """
    Below a second for most, several for some, and unmeasured for a few.
    """
    measured = [
        each["startupTimeMs"] for each in sessions if each["startupTimeMs"] not in (None, -(2**63) + 1)
    ]
    percentiles = quantiles(measured, n=100)
    unmeasured = [each for each in sessions if each["playTimeMs"] and each["startupTimeMs"] is None]

    assert 600 < percentiles[49] < 1_100
    assert 2.5 < percentiles[94] / percentiles[49] < 4
    assert 4 < percentiles[98] / percentiles[49] < 8
    assert 0.01 < len(unmeasured) / len(sessions) < 0.03


def test_networks_differ_as_networks_do(sessions):
    """
    Stalls and startup of cellular connections are the worst, of cables the best.
    """
    by_network = grouped(sessions, "connectionType")
    startup = {
        name: quantiles(
            [
                each["startupTimeMs"]
                for each in group
                if each["playTimeMs"] and (each["startupTimeMs"] or 0) > 0
            ],
            n=2,
        )[0]
        for name, group in by_network.items()
    }
    stalls = {name: stalling(group) for name, group in by_network.items()}

    assert 0.002 < stalling(sessions) < 0.009
    assert stalls["Cellular"] > 1.7 * stalls["Wi-Fi"] > 1.7 * stalls["Ethernet"]
    assert startup["Cellular"] > startup["Wi-Fi"] > startup["Ethernet"]


def test_some_fail_and_some_give_up(sessions):
    """
    At rates that nobody would be proud of, nor wake anybody for.
    """
    gave_up = [each for each in sessions if not each["playTimeMs"] and not each["errorCount"]]
    never_began = [each for each in sessions if not each["playTimeMs"] and each["errorCount"]]

    assert 0.01 < failing(sessions) < 0.03
    assert 0.008 < len(gave_up) / len(sessions) < 0.025
    assert 0.002 < len(never_began) / len(sessions) < 0.012


def test_the_player_s_words_for_unset_are_there(sessions):
    """
    As old SDKs send them.
    """
    assert any(each["meanVideoFormatBitrate"] == -1 and each["playTimeMs"] for each in sessions)
    assert any(each["startupTimeMs"] == -(2**63) + 1 for each in sessions)
    assert any(each["sessionStartDateIso"] == "null" for each in sessions)


def test_an_incident_hits_one_device_on_one_network(incident):
    """
    Badly enough for the whole fleet's numbers of the last hour; nobody else notices.
    """
    recent = [each for each in incident if 0 <= END_MS - each["timestamp"] < HOUR_MS]
    hit = [
        each
        for each in recent
        if each["appVersion"] == "5.5.0"
        and each["deviceModel"] == "SM-A546B"
        and each["connectionType"] == "Cellular"
    ]
    others = [each for each in recent if each["appVersion"] == "5.5.0" and each not in hit]
    before = [each for each in incident if DAY_MS > END_MS - each["timestamp"] > 3 * HOUR_MS]

    assert len(incident) == 4000
    assert (failing(hit) > 0.2, stalling(hit) > 0.1) == (True, True)
    assert (failing(recent) > 0.08, stalling(recent) > 0.03) == (True, True)
    assert (failing(before) < 0.03, stalling(before) < 0.01) == (True, True)
    assert len(others) > 3
    assert stalling(others) < 0.02
