"""
Every rule of a session summary, as a client meets it: a payload with one thing wrong, and what it is told.
"""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from m3w_core import InvalidSessionError, parse_session, session_from_dict, session_to_dict
from tests.factories import a_payload, an_entry_payload

PAYLOADS = sorted((Path(__file__).parents[1] / "data" / "sdk-payloads").glob("*.json"))

REQUIRED = ["sessionId", "timestamp", "sessionStartDateIso", "sessionDurationMs"]
OPTIONAL_DURATIONS = ["startupTimeMs", "rebufferTimeMs", "playTimeMs", "totalSeekTimeMs"]
OPTIONAL_COUNTS = ["rebufferCount", "totalSeekCount", "errorCount", "osVersion"]
OPTIONAL_LARGE = ["totalDroppedFrames", "meanVideoFormatBitrate"]
OPTIONAL_TEXTS = ["deviceModel", "sdkVersion", "connectionType"]
OPTIONAL_INTEGERS = [*OPTIONAL_DURATIONS, *OPTIONAL_COUNTS, *OPTIONAL_LARGE]
INTEGERS = ["timestamp", "sessionDurationMs", *OPTIONAL_INTEGERS]
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

INT32_MAX = 2_147_483_647
INT64_MAX = 9_223_372_036_854_775_807
YEAR_9999_MS = 253_402_300_799_999
TIME_UNSET = -9_223_372_036_854_775_807


def attribute(name):
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def refusal(payload):
    with pytest.raises(InvalidSessionError) as caught:
        session_from_dict(payload)
    return caught.value


def refused(**changes):
    error = refusal(a_payload(**changes))
    return str(error), [(bad.field, bad.problem) for bad in error.problems]


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_what_the_sdk_sends_is_valid(path):
    """
    The real payloads of both SDK generations are read, and written back with the values they had.
    """
    body = path.read_bytes()

    session = parse_session(body)

    sent = orjson.loads(body)
    written = session_to_dict(session)
    if sent["meanVideoFormatBitrate"] == -1:
        sent["meanVideoFormatBitrate"] = None
    for name in sent.keys() - {"rebufferRatio", "timelineEvents"}:
        assert written[name] == sent[name]
    assert len(session.timeline_events) == len(sent.get("timelineEvents") or [])


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_a_required_field_is_there(name, how):
    """
    Absent and null are the same, in the words of the Kotlin backend.
    """
    payload = a_payload(**{name: None})
    if how == "absent":
        del payload[name]

    error = refusal(payload)

    assert str(error) == f"Missing or empty required field: {name}"
    assert [bad.field for bad in error.problems] == [name]


@pytest.mark.parametrize("name", ["sessionId", "sessionStartDateIso"])
@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u2003"])
def test_a_required_text_is_not_blank(name, blank):
    """
    White space of any kind is no name.
    """
    message, _ = refused(**{name: blank})

    assert message == f"Missing or empty required field: {name}"


@pytest.mark.parametrize("name", [*OPTIONAL_INTEGERS, *OPTIONAL_TEXTS, "rebufferRatio"])
@pytest.mark.parametrize("how", ["absent", "null"])
def test_an_optional_field_may_be_left_out(name, how):
    """
    The first SDK sends null, an app's own sender may send nothing.
    """
    payload = a_payload(**{name: None})
    if how == "absent":
        del payload[name]

    assert getattr(session_from_dict(payload), attribute(name)) is None


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", ["45000", 45000.5, 45000.0, True, False, [], {}, 1e30])
def test_an_integer_is_an_integer(name, value):
    """
    Nothing is coerced: neither a string of digits nor a float nor a truth value is an integer.
    """
    message, problems = refused(**{name: value})

    assert message == f"Invalid value for {name}: must be an integer"
    assert problems == [(name, "must be an integer")]


@pytest.mark.parametrize("name", ["sessionId", "sessionStartDateIso", *OPTIONAL_TEXTS])
@pytest.mark.parametrize("value", [1, 1.5, True, [], {}])
def test_a_text_is_a_string(name, value):
    """
    A number is not turned into its digits.
    """
    message, _ = refused(**{name: value})

    assert message == f"Invalid value for {name}: must be a string"


@pytest.mark.parametrize(
    ("name", "length"),
    [("sessionId", 128), ("sessionStartDateIso", 64), *((name, 256) for name in OPTIONAL_TEXTS)],
)
def test_a_text_has_a_greatest_length(name, length):
    """
    Counted in characters, not in bytes or UTF-16 units.
    """
    longest = "😀" * length
    message, _ = refused(**{name: longest + "x"})

    assert getattr(session_from_dict(a_payload(**{name: longest})), attribute(name)) == longest
    assert message == f"{name} exceeds maximum length of {length} characters"


@pytest.mark.parametrize("name", ["sessionId", "sessionStartDateIso", *OPTIONAL_TEXTS, "contentId"])
@pytest.mark.parametrize(
    ("character", "what"),
    [("\0", "the NUL character"), (chr(0xD800), "a lone surrogate"), (chr(0xDFFF), "a lone surrogate")],
)
def test_a_text_holds_only_what_postgresql_can_store(name, character, what):
    """
    PostgreSQL knows neither NUL nor half a surrogate pair, in an app's own fields as little as in ours.
    """
    message, _ = refused(**{name: f"a{character}b"})

    assert message == f"Invalid value for {name}: must not contain {what}"


@pytest.mark.parametrize("name", ["timestamp", "sessionDurationMs"])
@pytest.mark.parametrize("value", [0, -1, TIME_UNSET, -(2**63)])
def test_a_required_number_is_positive(name, value):
    """
    Media3's unset value is no excuse where a value is required.
    """
    message, problems = refused(**{name: value})

    assert message == f"Invalid value for {name}: must be positive"
    assert problems == [(name, "must be positive")]


@pytest.mark.parametrize("name", OPTIONAL_INTEGERS)
@pytest.mark.parametrize("value", [-2, -(2**63)])
def test_an_optional_number_is_not_negative(name, value):
    """
    In the words of the Kotlin backend.
    """
    message, problems = refused(**{name: value})

    assert message == f"Out-of-range value for field(s): {name}: must be non-negative"
    assert problems == [(name, "must be non-negative")]


@pytest.mark.parametrize("name", OPTIONAL_INTEGERS)
def test_an_optional_number_may_be_zero(name):
    """
    Zero stalls are a measurement, not the lack of one.
    """
    assert getattr(session_from_dict(a_payload(**{name: 0})), attribute(name)) == 0


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("timestamp", YEAR_9999_MS),
        ("sessionDurationMs", INT64_MAX),
        *((name, INT64_MAX) for name in [*OPTIONAL_DURATIONS, *OPTIONAL_LARGE]),
        *((name, INT32_MAX) for name in OPTIONAL_COUNTS),
    ],
)
def test_a_number_fits_its_column(name, largest):
    """
    What the database could not hold is the client's error, found before the database sees it.
    """
    message, _ = refused(**{name: largest + 1})

    assert getattr(session_from_dict(a_payload(**{name: largest})), attribute(name)) == largest
    assert message == f"Invalid value for {name}: must be at most {largest}"


@pytest.mark.parametrize("name", OPTIONAL_DURATIONS)
def test_a_duration_that_media3_left_unset_is_none(name):
    """
    ``C.TIME_UNSET`` is a sentinel, not a duration.
    """
    assert getattr(session_from_dict(a_payload(**{name: TIME_UNSET})), attribute(name)) is None


def test_a_bitrate_that_media3_left_unset_is_none():
    """
    ``Format.NO_VALUE`` is -1, for the bitrate alone.
    """
    session = session_from_dict(a_payload(meanVideoFormatBitrate=-1))
    message, _ = refused(startupTimeMs=-1)

    assert session.mean_video_format_bitrate is None
    assert message == "Out-of-range value for field(s): startupTimeMs: must be non-negative"


@pytest.mark.parametrize(
    ("sent", "stored"),
    [(0, 0.0), (1, 1.0), (-0.0, 0.0), (0.028, 0.02800000086426735), (1e-50, 0.0), (0.25, 0.25)],
)
def test_a_ratio_becomes_a_32_bit_float(sent, stored):
    """
    Rounded to the nearest, so that the database rounds nothing; too small for one is zero.
    """
    ratio = session_from_dict(a_payload(rebufferRatio=sent)).rebuffer_ratio

    assert (ratio, str(ratio)) == (stored, str(stored))


@pytest.mark.parametrize("value", [-0.001, 1.001, 2, -1, 1e300, float("nan"), float("inf"), -float("inf")])
def test_a_ratio_is_between_0_and_1(value):
    """
    In the words of the Kotlin backend.
    """
    message, _ = refused(rebufferRatio=value)

    assert message == "rebufferRatio must be between 0 and 1 (inclusive)"


@pytest.mark.parametrize("value", ["0.5", True, [], {}])
def test_a_ratio_is_a_number(value):
    """
    Not a string of one.
    """
    message, _ = refused(rebufferRatio=value)

    assert message == "Invalid value for rebufferRatio: must be a number"


def test_all_problems_are_told_at_once():
    """
    Whoever writes a client sees every mistake in one answer; several fields with one problem share a sentence.
    """
    message, problems = refused(
        sessionId="", timestamp=0, startupTimeMs=-5, playTimeMs="1", errorCount=-1, timelineEvents=[1]
    )

    assert message == (
        "Missing or empty required field: sessionId; "
        "Invalid value for timestamp: must be positive; "
        "Out-of-range value for field(s): startupTimeMs, errorCount: must be non-negative; "
        "Invalid value for playTimeMs: must be an integer; "
        "Invalid value for timelineEvents[0]: must be an object"
    )
    assert problems == [
        ("sessionId", "is missing or empty"),
        ("timestamp", "must be positive"),
        ("startupTimeMs", "must be non-negative"),
        ("playTimeMs", "must be an integer"),
        ("errorCount", "must be non-negative"),
        ("timelineEvents[0]", "must be an object"),
    ]


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


def test_unknown_fields_are_kept():
    """
    Whatever an app sends beside ours is stored as it is, a field named extra too.
    """
    own = {"contentId": "video-456", "custom": {"tags": ["a", None, 1.5, True]}, "extra": {"a": 1}, "": 0}

    session = session_from_dict(a_payload(**own))

    assert session.extra == own
    assert session_to_dict(session) == {**a_payload(timelineEvents=[]), **own}


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        (2**63, "own", "must fit in 64 bits"),
        (-(2**63) - 1, "own", "must fit in 64 bits"),
        (float("nan"), "own", "must be a finite number"),
        ({"tags": ["a", {"deep": "\0"}]}, "own.tags[1].deep", "must not contain the NUL character"),
        ({"a\0": 1}, "own.a\0", "must not contain the NUL character"),
        ((1, 2), "own", "must be a JSON value"),
        ({1: 2}, "own.1", "must have a string as its name"),
    ],
)
def test_the_rules_hold_inside_unknown_fields_too(value, path, problem):
    """
    Named by its path below the field.
    """
    _, problems = refused(own=value)

    assert problems == [(path, problem)]


def test_of_fields_that_an_app_has_made_up_a_hundred_bad_ones_are_named():
    """
    There is no limit to how many a payload can hold, and the answer stays small.
    """
    error = refusal(a_payload(timestamp=0, **{f"own{number}": "\0" for number in range(5_000)}))

    assert len(error.problems) == 101
    assert error.problems[0].field == "timestamp"


@pytest.mark.parametrize("where", ["session", "entry"])
def test_nesting_is_limited_to_64_levels(where):
    """
    The payload itself is the first; an entry of the timeline lies in the third.
    """

    def payload(levels):
        above = 1 if where == "session" else 3
        value = 1
        for _ in range(levels - above):
            value = [value]
        return (
            a_payload(own=value)
            if where == "session"
            else a_payload(timelineEvents=[an_entry_payload(own=value)])
        )

    error = refusal(payload(65))

    assert session_from_dict(payload(64))
    assert "must not be nested deeper than 64 levels" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{}}",
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 10_000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"\x1f\x8b\x08",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_is_told_so(body):
    """
    No fields are named, as there are none.
    """
    with pytest.raises(InvalidSessionError, match=r"^Invalid request body: not valid JSON") as caught:
        parse_session(body)

    assert caught.value.problems == ()


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"', b"true"])
def test_a_payload_is_an_object(body):
    """
    Any other JSON value is no session.
    """
    with pytest.raises(InvalidSessionError, match=r"^Invalid request body: must be a JSON object$"):
        parse_session(body)


def test_of_a_duplicate_name_the_last_value_counts():
    """
    As in most readers of JSON.
    """
    body = orjson.dumps(a_payload())[:-1] + b',"errorCount":1,"errorCount":7,"own":1,"own":2}'

    session = parse_session(body)

    assert session.error_count == 7
    assert session.extra == {"own": 2}


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "18446744073709551616", "-9223372036854775809", "9" * 40]
)
def test_an_integer_that_does_not_fit_is_refused_not_rounded(number):
    """
    The JSON reader makes a float of it, which would be stored as another number.
    """
    body = orjson.dumps(a_payload())[:-1] + f',"own":{number}}}'.encode()

    with pytest.raises(InvalidSessionError) as caught:
        parse_session(body)

    assert str(caught.value) == "Invalid value for own: must fit in 64 bits"


@pytest.mark.parametrize(
    "number", ["1e300", "12345678901234567890.5", "9223372036854775807", "-9223372036854775808"]
)
def test_large_numbers_that_fit_are_kept(number):
    """
    A float may be as large as a float can be.
    """
    body = orjson.dumps(a_payload())[:-1] + f',"own":{number}}}'.encode()

    assert parse_session(body).extra == {"own": orjson.loads(number)}
