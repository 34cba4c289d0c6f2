"""
Every rule of a session summary, as a client meets it: a payload with one thing wrong, and what it is told.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from m3w_core import parse_session, session_from_dict, session_to_dict
from tests._refusals import attribute, refusal, refused
from tests.factories import a_payload

PAYLOADS = sorted((Path(__file__).parents[1] / "data" / "sdk-payloads").glob("*.json"))
REQUIRED = ["sessionId", "timestamp", "sessionStartDateIso", "sessionDurationMs"]
OPTIONAL_DURATIONS = ["startupTimeMs", "rebufferTimeMs", "playTimeMs", "totalSeekTimeMs"]
OPTIONAL_COUNTS = ["rebufferCount", "totalSeekCount", "errorCount", "osVersion"]
OPTIONAL_LARGE = ["totalDroppedFrames", "meanVideoFormatBitrate"]
OPTIONAL_TEXTS = ["deviceModel", "sdkVersion", "connectionType"]
OPTIONAL_INTEGERS = [*OPTIONAL_DURATIONS, *OPTIONAL_COUNTS, *OPTIONAL_LARGE]
INTEGERS = ["timestamp", "sessionDurationMs", *OPTIONAL_INTEGERS]
INT32_MAX = 2_147_483_647
INT64_MAX = 9_223_372_036_854_775_807
YEAR_9999_MS = 253_402_300_799_999
TIME_UNSET = -9_223_372_036_854_775_807


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
