"""
What is kept of a rejected payload, and how much may wait to be written.
"""

from __future__ import annotations

import json
import time

import orjson
import pytest

from m3w_core import InvalidSessionError, SessionRefusedError, parse_array, parse_lines, parse_session
from m3w_core.rejected import (
    MAX_PAYLOAD_BYTES,
    OVERHEAD_BYTES,
    RejectedPayload,
    RejectedQueue,
    printable,
    reason_of,
)
from tests.factories import a_payload, an_entry_payload


def a_rejected(payload=b"{}", **changes):
    return RejectedPayload(
        **{
            "received_via": "default",
            "route": "/v1/sessions",
            "media_type": "application/json",
            "code": "INVALID_SCHEMA",
            "reason": "unreadable",
            "message": "Invalid request body",
            "payload": payload,
            "payload_bytes": len(payload),
            **changes,
        }
    )


def reason(payload):
    with pytest.raises(InvalidSessionError) as caught:
        parse_session(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    return reason_of(caught.value)


def test_the_reason_is_something_to_count_by():
    """
    The bad fields by name, each once and in one order; what an app calls its fields is nobody's business.
    """
    entries = [an_entry_payload(playbackState="FLYING")] * 3

    assert reason(a_payload(rebufferRatio=2, playTimeMs=-1)) == "playTimeMs, rebufferRatio"
    assert reason(a_payload(timelineEvents=entries)) == "timelineEvents[].playbackState"
    assert reason(a_payload(secretName="\0")) == "other"
    assert reason(b"{") == reason(b"[]") == "unreadable"
    assert reason_of(SessionRefusedError("check", sqlstate="23514")) == "refused by the database"


def test_a_message_is_cut_and_holds_nothing_that_postgresql_refuses():
    """
    It quotes what a client has sent.
    """
    assert printable("a\0b" + "x" * 5000) == "a\\0b" + "x" * 996


def test_a_large_payload_is_cut_and_its_length_kept():
    """
    A summary of the largest size that is taken by default is kept whole.
    """
    whole = a_rejected(b"x" * MAX_PAYLOAD_BYTES)
    cut = a_rejected(b"x" * (MAX_PAYLOAD_BYTES + 1))

    assert len(whole.payload) == 1_048_576
    assert len(cut.payload) == 1_048_576
    assert cut.payload_bytes == 1_048_577


def rejected_texts(parse, body):
    return {bad.index: bad.text for bad in parse(body).rejected}


def test_items_of_an_array_are_kept_with_the_values_they_came_with():
    """
    Also integers that no 64 bits hold, and numbers that are no session at all.
    """
    bad = {"sessionId": "s", "n": 123456789012345678901234567890, "x": 0.1, "ü": "😀"}
    body = json.dumps([a_payload(), bad, 5, "text"]).encode()

    texts = rejected_texts(parse_array, body)

    assert {place: json.loads(text) for place, text in texts.items()} == {1: bad, 2: 5, 3: "text"}


def test_items_that_nest_deep_are_kept():
    """
    Much deeper than a session may.
    """
    body = b"[" + b'{"a":' * 300 + b"1" + b"}" * 300 + b"]"

    (text,) = rejected_texts(parse_array, body).values()

    assert orjson.loads(text) == orjson.loads(body)[0]


def test_lines_are_kept_byte_by_byte():
    """
    Whatever they are.
    """
    body = b'{"sessionId": "ok, but nothing else"}\n\n{"n" : 1e5}  \nnot JSON \xff\n'

    assert rejected_texts(parse_lines, body) == {
        0: b'{"sessionId": "ok, but nothing else"}',
        1: b'{"n" : 1e5}  ',
        2: b"not JSON \xff",
    }


def test_the_queue_gives_back_what_it_was_given_in_pieces():
    """
    In order, as many as fit, one at least.
    """
    queue = RejectedQueue()
    payloads = [a_rejected(b"x" * size) for size in (10, 20, 5000, 30)]
    for payload in payloads:
        queue.add(payload)

    pieces = [queue.take(3 * OVERHEAD_BYTES) for _ in range(4)]

    assert pieces == [payloads[:2], payloads[2:3], payloads[3:], []]
    assert not queue.take_dropped()


def test_a_flood_is_taken_up_to_a_rate():
    """
    So much at once, then so many bytes a second, however long nobody came before; the rest is counted.
    """
    queue = RejectedQueue(bytes_per_s=2 * OVERHEAD_BYTES, max_bytes=10 * OVERHEAD_BYTES)
    start_s = time.monotonic()
    taken = []
    for second, count in ((0, 100), (1, 100), (2, 1), (1000, 100)):
        for _ in range(count):
            queue.add(a_rejected(b"", arrived_s=start_s + second))
        taken.append(len(queue.take(10**9)))

    assert taken == [10, 2, 1, 10]
    assert queue.take_dropped() == {"rate": 90 + 98 + 90}
    assert not queue.take_dropped()


def test_what_nobody_takes_does_not_grow():
    """
    A database that is away for long costs payloads, not memory.
    """
    queue = RejectedQueue(bytes_per_s=10**9, max_bytes=10 * OVERHEAD_BYTES)
    start_s = time.monotonic()
    for second in range(100):
        queue.add(a_rejected(b"", arrived_s=start_s + second))

    assert queue.take_dropped() == {"full": 90}
    assert len(queue.take(10**9)) == 10
