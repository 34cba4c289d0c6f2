"""
Two ways lead from a payload to a session, and they must not differ in what they take, nor in what they make of it.
"""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3w_core import InvalidSessionError, Session, TimelineEntry, parse_session, session_from_dict
from m3w_core._typed import typed_session
from m3w_core.validation import json_name
from tests.factories import a_payload, an_entry_payload

#: What lies at the bounds of some field, or just beyond.
VALUES = [
    *(None, True, False, [], {}, [None], {"a": 1}),
    *(0, 1, -1, 2, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, 10**40, -(2**63) + 1, -(2**63)),
    *(253_402_300_799_999, 253_402_300_800_000),
    *(0.0, -0.0, 0.5, 0.1, 1.0, 1.0000001, 5.0, 1e-50, 1e300),
    *("", " ", "\u2003", "\u200b", "\x1c", "\t", "x", "5", "null", "PLAYING", "playing", "a\0b", "\\u0000", "\ud800"),
    *(character * length for character in "xü😀" for length in (64, 65, 128, 129, 256, 257)),
]  # fmt: skip


#: And two that nobody knows.
SESSION_FIELDS, ENTRY_FIELDS = (
    [*(json_name(field.name) for field in attrs.fields(cls)), "appVersion", "SESSIONID"]
    for cls in (Session, TimelineEntry)
)


def assert_both_ways_agree(payload, ascii_only=False):
    """Or the quick one leaves it to the other one."""
    body = json.dumps(payload, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    quick = typed_session(body)

    try:
        thorough = session_from_dict(payload)
    except InvalidSessionError:
        assert quick is None
    else:
        assert quick in (None, thorough)
        assert repr(quick or thorough) == repr(thorough)  # tells 0.0 from -0.0, and 1 from True


def test_both_ways_make_the_same_of_every_field():
    """
    Of a session and of an entry of its timeline.
    """
    for value in VALUES:
        for name in SESSION_FIELDS:
            assert_both_ways_agree(a_payload(**{name: value}))
        for name in ENTRY_FIELDS:
            assert_both_ways_agree(a_payload(timelineEvents=[an_entry_payload(**{name: value})]))


@pytest.mark.parametrize("count", [500, 501])
def test_both_ways_take_as_many_entries(count):
    """
    500 of them.
    """
    assert_both_ways_agree(a_payload(timelineEvents=[an_entry_payload()] * count))


def changed(payload, fields):
    """Draw *payload* with up to four of its fields changed or left out."""
    changes = st.dictionaries(st.sampled_from(fields), st.sampled_from([*VALUES, ...]), max_size=4)
    return changes.map(
        lambda drawn: {name: value for name, value in {**payload, **drawn}.items() if value is not ...}
    )


timelines = st.none() | st.lists(changed(an_entry_payload(), ENTRY_FIELDS), max_size=3)
payloads = st.builds(
    lambda payload, timeline: {"timelineEvents": timeline, **payload},
    changed({name: value for name, value in a_payload().items() if name != "timelineEvents"}, SESSION_FIELDS),
    timelines,
)


@settings(max_examples=500)
@given(payloads, st.booleans())
def test_both_ways_make_the_same_of_several_changes(payload, ascii_only):
    """
    With escapes and without.
    """
    assert_both_ways_agree(payload, ascii_only)


@pytest.mark.parametrize("timeline", [None, [], [an_entry_payload(), an_entry_payload(currentBitrate=None)]])
@pytest.mark.parametrize(
    "changes", [{}, {"deviceModel": "Gerät 😀"}, {"rebufferRatio": 1}, {"startupTimeMs": None}]
)
def test_what_the_sdk_sends_takes_the_quick_way(changes, timeline):
    """
    With escapes or without.
    """
    payload = a_payload(timelineEvents=timeline, **changes)
    for ascii_only in (True, False):
        body = json.dumps(payload, ensure_ascii=ascii_only).encode()

        assert typed_session(body) == session_from_dict(payload)


def test_the_fewest_fields_that_may_be_there_take_the_quick_way():
    """
    All others are optional.
    """
    required = ("sessionId", "timestamp", "sessionStartDateIso", "sessionDurationMs")
    payload = {name: a_payload()[name] for name in required}

    assert typed_session(json.dumps(payload).encode()) == session_from_dict(payload)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"nonsense", b"{", b'{"sessionId":"s"}', b"[" * 100_000),
        b'{"sessionId":"\xff","timestamp":1,"sessionStartDateIso":"x","sessionDurationMs":1}',
    ],
)
def test_what_is_no_summary_is_left_to_the_thorough_way(body):
    """
    Which says what is wrong with it.
    """
    assert typed_session(body) is None
    with pytest.raises(InvalidSessionError):
        parse_session(body)
