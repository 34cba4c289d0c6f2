"""
Whatever is sent: 200 or a documented refusal, never a 500; and what was accepted is read back as it was sent.

The oracle says what a payload means from design to storage without using the code under test.
"""

from __future__ import annotations

import gzip
import json
import struct
from contextlib import closing

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from m3w_core import PostgresSessionRepository, Settings, session_to_dict
from m3w_http.app import app_for
from tests._client import HEADERS, Client, error_of
from tests._databases import connect, new_database
from tests.factories import a_payload, an_entry_payload

TIME_UNSET = -(2**63) + 1

SESSION_FIELDS = [*a_payload()]
ENTRY_FIELDS = [*an_entry_payload()]

INTEGERS = st.one_of(
    st.integers(),
    st.integers(-2, 2),
    st.sampled_from(
        [n + d for n in (0, 2**31, 2**32, 2**53, 2**63, 2**64, -(2**63), 253402300799999) for d in (-1, 0, 1)]
    ),
)
# Surrogates too: Python's json writes them as escapes, and a client may.
TEXTS = st.text(st.characters(), max_size=300) | st.sampled_from(["", " ", "null", "PLAYING", "\0", "\ud800"])
LEAVES = st.none() | st.booleans() | INTEGERS | st.floats() | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(SESSION_FIELDS) | TEXTS

property_test = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def stored(server, _migrated_template):
    """An application and the repository that reads what it stored, for the whole module."""
    with new_database(server, template=_migrated_template.database) as database:
        repository = PostgresSessionRepository(database)
        with (
            Client(app_for(Settings(), database)) as client,
            closing(repository),
            closing(connect(database)) as sql,
        ):
            yield client, repository, lambda: sql.run("DELETE FROM sessions; DELETE FROM session_timeline")


def check(stored, payload):
    """Post a payload; what is accepted has to be read back equal. Gives the answer."""
    client, repository, forget_all = stored
    forget_all()
    result = client.post(json.dumps(payload).encode())
    if result.status_code == 200:
        session_id = result.json["sessionId"]
        assert session_id == payload["sessionId"]
        assert same(session_to_dict(repository.get(session_id).session), meaning(payload))
    else:
        error = error_of(result, 400)
        assert error["code"] == "INVALID_SCHEMA"
    return result


def meaning(payload):
    """Say what a valid payload is once it is stored."""
    session = dict.fromkeys(SESSION_FIELDS) | payload
    for name, value in session.items():
        if name in SESSION_FIELDS and name.endswith("Ms") and value == TIME_UNSET:
            session[name] = None
    if session["meanVideoFormatBitrate"] == -1:
        session["meanVideoFormatBitrate"] = None
    if session["rebufferRatio"] is not None:
        session["rebufferRatio"] = struct.unpack("f", struct.pack("f", session["rebufferRatio"]))[0]
    timeline = {}
    for entry in session["timelineEvents"] or ():
        known = {name: entry.get(name) for name in ENTRY_FIELDS}
        if known["bufferedDurationMs"] == TIME_UNSET:
            known["bufferedDurationMs"] = None
        timeline.setdefault((known["timestampMs"], known["playbackState"]), known)
    session["timelineEvents"] = sorted(
        timeline.values(),
        key=lambda entry: (entry["timestampMs"], entry["elapsedMs"], entry["playbackState"]),
    )
    return session


def same(one, other):
    """Compare JSON values; 1.5e17 may come back as 150000000000000000, which is the same number in JSON."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) or isinstance(other, float):
        return None not in (one, other) and float(one) == float(other)
    return type(one) is type(other) and one == other


@property_test
@given(body=st.binary(max_size=400), packed=st.booleans())
@example(body=b"[" * 100_000, packed=False)
@example(body=b'{"a":' * 100_000, packed=True)
@example(body=b'{"a":1' + b"0" * 100_000 + b"}", packed=False)
def test_any_bytes_get_a_documented_answer(stored, body, packed):
    """
    As they are, and as the claim to be gzip.
    """
    result = stored[0].post(body, headers={**HEADERS, "Content-Encoding": "gzip" if packed else "identity"})

    error_of(result, 400)


@property_test
@given(value=VALUES, packed=st.booleans())
def test_any_json_gets_a_documented_answer(stored, value, packed):
    """
    Nothing but an object is a summary, and hardly any object is one.
    """
    body = json.dumps(value).encode()
    headers = {**HEADERS, "Content-Encoding": "gzip" if packed else "identity"}
    result = stored[0].post(gzip.compress(body) if packed else body, headers=headers)

    error_of(result, 400)


@property_test
@given(changes=st.dictionaries(NAMES, VALUES, max_size=3))
@example(changes={"a": 1e300, "b": 5e-324, "c": 2**63 - 1, "d": -(2**63), "e": 1.2345678901234567e17})
@example(changes={"a": 2**63}).via("more than 64 bits")
@example(changes={"rebufferRatio": 5e-324})
@example(changes={"rebufferRatio": -0.0})
@example(
    changes={
        "extra": {"extra": None},
        "event_at": "x",
        "created_at": 1,
        "received_at": None,
        "session_id": "x",
    }
)
def test_any_value_in_any_field_of_a_session(stored, changes):
    """
    Known fields and unknown ones.
    """
    check(stored, a_payload(**changes))


@property_test
@given(
    entries=st.lists(st.dictionaries(st.sampled_from(ENTRY_FIELDS) | TEXTS, VALUES, max_size=2), max_size=4)
)
def test_any_value_in_any_field_of_a_timeline_entry(stored, entries):
    """
    Entries with one key are one entry, the first of them.
    """
    check(stored, a_payload(timelineEvents=[an_entry_payload(**changes) for changes in entries]))


def integer_up_to(maximum, minimum=0):
    return st.integers(minimum, maximum) | st.sampled_from([minimum, maximum])


INT32, INT64, INSTANT = integer_up_to(2**31 - 1), integer_up_to(2**63 - 1), integer_up_to(253402300799999, 1)
STORABLE = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


def text_up_to(length):
    return st.text(STORABLE, max_size=length)


def visible_text(length):
    return st.text(STORABLE, min_size=1, max_size=length).filter(str.strip)


ENTRY = st.fixed_dictionaries(
    {
        "timestampMs": INSTANT | st.just(1),
        "elapsedMs": INT64,
        "playbackState": st.sampled_from(["IDLE", "BUFFERING", "PLAYING", "PAUSED", "ENDED"]),
        "totalDroppedFrames": INT64,
        "rebufferCount": INT32,
        "rebufferTimeMs": INT64,
    },
    optional={
        "currentBitrate": st.none() | INT64,
        "networkType": st.none() | text_up_to(256),
        "bufferedDurationMs": st.none() | INT64 | st.just(TIME_UNSET),
        "own": st.none() | text_up_to(9),
    },
)
DURATION = st.none() | INT64 | st.just(TIME_UNSET)
SESSION = st.fixed_dictionaries(
    {
        "sessionId": visible_text(128),
        "timestamp": INSTANT,
        "sessionStartDateIso": visible_text(64),
        "sessionDurationMs": integer_up_to(2**63 - 1, 1),
    },
    optional={
        **{f"{name}TimeMs": DURATION for name in ("startup", "rebuffer", "play", "totalSeek")},
        **{
            name: st.none() | INT32 for name in ("rebufferCount", "totalSeekCount", "errorCount", "osVersion")
        },
        **{name: st.none() | text_up_to(256) for name in ("deviceModel", "sdkVersion", "connectionType")},
        "totalDroppedFrames": st.none() | INT64,
        "rebufferRatio": st.none() | st.integers(0, 1) | st.floats(0, 1),
        "meanVideoFormatBitrate": st.none() | INT64 | st.just(-1),
        "timelineEvents": st.none() | st.lists(ENTRY, max_size=5),
        "own": st.recursive(
            st.none() | st.booleans() | text_up_to(20) | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text_up_to(9), inner, max_size=3),
        ),
    },
)


@property_test
@given(payload=SESSION)
def test_every_valid_summary_is_accepted(stored, payload):
    """
    All that the table of fields allows, to the last bit.
    """
    assert check(stored, payload).status_code == 200
