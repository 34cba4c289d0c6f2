"""
Many summaries in one body: which are valid, and what is told of the others.
"""

from __future__ import annotations

import time

import orjson
import pytest

from m3w_core import BatchTooLargeError, InvalidSessionError, parse_array, parse_lines
from tests.factories import a_payload


def array(*payloads):
    return orjson.dumps(payloads)


def lines(*payloads):
    return b"\n".join(orjson.dumps(payload) for payload in payloads)


FORMS = pytest.mark.parametrize(("parse", "body_of"), [(parse_array, array), (parse_lines, lines)])


def told(batch):
    return [(bad.index, bad.session_id, str(bad.error)) for bad in batch.rejected]


@FORMS
def test_valid_summaries_come_in_their_order(parse, body_of):
    """
    With the place of each in the body, and nothing rejected.
    """
    batch = parse(body_of(a_payload(sessionId="a"), a_payload(sessionId="b"), a_payload(sessionId="a")))

    assert [session.session_id for session in batch.sessions] == ["a", "b", "a"]
    assert batch.indexes == [0, 1, 2]
    assert batch.rejected == []


@FORMS
def test_a_bad_summary_never_fails_its_neighbours(parse, body_of):
    """
    It is named by its place, by its ID where it has one, and by what is wrong.
    """
    batch = parse(
        body_of(
            a_payload(sessionId="a"), a_payload(sessionId="b", timestamp=0), 5, a_payload(sessionId=7), {}
        )
    )

    assert [session.session_id for session in batch.sessions] == ["a"]
    assert told(batch) == [
        (1, "b", "Invalid value for timestamp: must be positive"),
        (2, None, "Invalid request body: must be a JSON object"),
        (3, None, "Invalid value for sessionId: must be a string"),
        (
            4,
            None,
            "; ".join(
                f"Missing or empty required field: {name}"
                for name in ("sessionId", "timestamp", "sessionStartDateIso", "sessionDurationMs")
            ),
        ),
    ]


@FORMS
def test_a_body_holds_at_most_1000(parse, body_of):
    """
    One more, and none is taken: the sender has to split it.
    """
    with pytest.raises(BatchTooLargeError, match="1001 sessions are too many: at most 1000 at once"):
        parse(body_of(*[a_payload()] * 1001))

    assert len(parse(body_of(*[a_payload()] * 1000)).sessions) == 1000


def test_an_empty_list_is_a_list():
    """
    A gateway with nothing to say did nothing wrong.
    """
    assert parse_array(b"[]").sessions == []
    assert parse_lines(b"\n \n").sessions == []


@pytest.mark.parametrize("body", [b"{", b"nonsense", b"\x1f\x8b", b"[1,"])
@pytest.mark.parametrize("parse", [parse_array, parse_lines])
def test_what_is_no_list_at_all_is_an_error(parse, body):
    """
    There is nothing in it to report on.
    """
    with pytest.raises(InvalidSessionError, match=r"^Invalid request body"):
        parse(body)


@pytest.mark.parametrize("body", [b"{}", b"1", b"null", b'"x"'])
def test_an_array_is_an_array(body):
    """
    One summary alone belongs to the other route.
    """
    with pytest.raises(InvalidSessionError, match=r"^Invalid request body: must be a JSON array$"):
        parse_array(body)


def test_a_broken_line_is_one_bad_summary():
    """
    The lines around it are whole.
    """
    body = b"\r\n".join(
        [orjson.dumps(a_payload(sessionId="a")), b'{"cut', orjson.dumps(a_payload(sessionId="b"))]
    )

    batch = parse_lines(body)

    assert [session.session_id for session in batch.sessions] == ["a", "b"]
    assert [(bad.index, bad.session_id) for bad in batch.rejected] == [(1, None)]
    assert str(batch.rejected[0].error).startswith("Invalid request body: not valid JSON")


@FORMS
def test_an_integer_that_does_not_fit_is_refused_not_rounded(parse, body_of):
    """
    As in a summary alone; its neighbours keep the numbers they have.
    """
    whole = orjson.dumps(a_payload(sessionId="whole", own=1.5e300))
    rounded = orjson.dumps(a_payload(sessionId="rounded"))[:-1] + b',"own":[18446744073709551616]}'
    body = b"[" + whole + b"," + rounded + b"]" if parse is parse_array else whole + b"\n" + rounded

    batch = parse(body)

    assert [session.session_id for session in batch.sessions] == ["whole"]
    assert told(batch) == [(1, "rounded", "Invalid value for own: must fit in 64 bits")]


@FORMS
def test_own_fields_of_many_summaries_are_read_in_little_time(parse, body_of):
    """
    The whole body is looked through once, not once for each summary: that took most of a minute.
    """
    body = body_of(*(a_payload(sessionId=f"s-{n}", own=n) for n in range(1000)))

    started = time.perf_counter()
    batch = parse(body)
    seconds = time.perf_counter() - started

    assert len(batch.sessions) == 1000
    assert seconds < 5
