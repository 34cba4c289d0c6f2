"""
The rules of timeline entries, told with the index of the entry.
"""

from __future__ import annotations

import pytest

from m3w_core import session_from_dict, session_to_dict
from tests._refusals import attribute, refused
from tests.factories import a_payload, an_entry_payload

ENTRY_REQUIRED = [
    "timestampMs",
    "elapsedMs",
    "playbackState",
    "totalDroppedFrames",
    "rebufferCount",
    "rebufferTimeMs",
]
ENTRY_OPTIONAL = ["currentBitrate", "networkType", "bufferedDurationMs"]
ENTRY_INTEGERS = [
    "timestampMs",
    "elapsedMs",
    "currentBitrate",
    "totalDroppedFrames",
    "bufferedDurationMs",
    "rebufferCount",
    "rebufferTimeMs",
]
YEAR_9999_MS = 253_402_300_799_999
TIME_UNSET = -9_223_372_036_854_775_807


@pytest.mark.parametrize("value", [None, []])
def test_a_timeline_may_be_empty(value):
    """
    SDK 1.x sends null where there is nothing new.
    """
    assert session_from_dict(a_payload(timelineEvents=value)).timeline_events == ()


@pytest.mark.parametrize("value", ["[]", 1, {}, True])
def test_a_timeline_is_an_array(value):
    """
    An object is not an array of one.
    """
    message, _ = refused(timelineEvents=value)

    assert message == "Invalid value for timelineEvents: must be an array"


def test_a_timeline_has_at_most_500_entries():
    """
    The 501st makes the payload invalid; none is dropped silently.
    """
    entries = [an_entry_payload(timestampMs=number + 1) for number in range(501)]
    message, _ = refused(timelineEvents=entries)

    assert len(session_from_dict(a_payload(timelineEvents=entries[:500])).timeline_events) == 500
    assert message == "timelineEvents exceeds maximum of 500 entries"


@pytest.mark.parametrize("state", ["IDLE", "BUFFERING", "PLAYING", "PAUSED", "ENDED"])
def test_a_playback_state_is_one_of_five(state):
    """
    Those that the SDK knows.
    """
    session = session_from_dict(a_payload(timelineEvents=[an_entry_payload(playbackState=state)]))

    assert session.timeline_events[0].playback_state == state


@pytest.mark.parametrize("state", ["playing", "", "STOPPED", "X" * 1000])
def test_another_playback_state_is_named(state):
    """
    Cut short, so that the answer stays small.
    """
    message, problems = refused(
        timelineEvents=[an_entry_payload()] * 3 + [an_entry_payload(playbackState=state)]
    )

    assert message == f"timelineEvents[3].playbackState '{state[:32]}' is not a valid playbackState"
    assert [field for field, _ in problems] == ["timelineEvents[3].playbackState"]


@pytest.mark.parametrize("name", ENTRY_REQUIRED)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_a_required_field_of_an_entry_is_there(name, how):
    """
    Told with the index of the entry.
    """
    entry = an_entry_payload(**{name: None})
    if how == "absent":
        del entry[name]

    message, problems = refused(timelineEvents=[an_entry_payload(), entry])

    assert message == f"Missing or empty required field: timelineEvents[1].{name}"
    assert problems == [(f"timelineEvents[1].{name}", "is missing or empty")]


@pytest.mark.parametrize("name", ENTRY_OPTIONAL)
def test_an_optional_field_of_an_entry_may_be_left_out(name):
    """
    As null, or absent.
    """
    without = an_entry_payload()
    del without[name]

    session = session_from_dict(a_payload(timelineEvents=[without, an_entry_payload(**{name: None})]))

    assert [getattr(entry, attribute(name)) for entry in session.timeline_events] == [None, None]


@pytest.mark.parametrize("name", ENTRY_INTEGERS)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1", "must be an integer"),
        (1.0, "must be an integer"),
        (True, "must be an integer"),
        (2**63, "must be at most"),
        (-(2**63), "must be"),
    ],
)
def test_a_number_of_an_entry_keeps_the_sessions_rules(name, value, problem):
    """
    Strict types, no negative numbers, nothing that does not fit.
    """
    _, problems = refused(timelineEvents=[an_entry_payload(**{name: value})])

    assert [field for field, _ in problems] == [f"timelineEvents[0].{name}"]
    assert problems[0][1].startswith(problem)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("timestampMs", 0, "Invalid value for timelineEvents[0].timestampMs: must be positive"),
        (
            "timestampMs",
            YEAR_9999_MS + 1,
            "Invalid value for timelineEvents[0].timestampMs: must be at most 253402300799999",
        ),
        ("elapsedMs", -1, "timelineEvents[0].elapsedMs must be non-negative"),
        ("currentBitrate", -1, "timelineEvents[0].currentBitrate must be non-negative"),
        (
            "rebufferCount",
            2**31,
            "Invalid value for timelineEvents[0].rebufferCount: must be at most 2147483647",
        ),
        ("networkType", "x" * 257, "timelineEvents[0].networkType exceeds maximum length of 256 characters"),
        ("networkType", 5, "Invalid value for timelineEvents[0].networkType: must be a string"),
    ],
)
def test_the_bounds_of_an_entry(name, value, message):
    """
    As for the session, in the widths of the session's fields.
    """
    assert refused(timelineEvents=[an_entry_payload(**{name: value})])[0] == message


def test_an_unset_buffer_is_none():
    """
    The one optional duration that an entry has.
    """
    session = session_from_dict(a_payload(timelineEvents=[an_entry_payload(bufferedDurationMs=TIME_UNSET)]))

    assert session.timeline_events[0].buffered_duration_ms is None


def test_an_unknown_field_of_an_entry_is_dropped():
    """
    Only a session has room for fields of an app's own.
    """
    session = session_from_dict(a_payload(timelineEvents=[an_entry_payload(mood="good")]))

    assert "mood" not in session_to_dict(session)["timelineEvents"][0]
