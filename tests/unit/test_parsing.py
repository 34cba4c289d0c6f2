"""
From bytes to a session: what is JSON, and what becomes of its numbers.
"""

from __future__ import annotations

import time

import orjson
import pytest

from m3w_core import InvalidSessionError, parse_session
from tests.factories import a_payload


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


@pytest.mark.parametrize("end", ["", "e", ".5"])
def test_a_long_run_of_digits_is_read_in_little_time(end):
    """
    Looking for integers that do not fit takes time in proportion: this took most of a minute, and 1 MB for ever.
    """
    body = orjson.dumps(a_payload(own="1" * 40_000 + end))

    started = time.perf_counter()
    session = parse_session(body)
    seconds = time.perf_counter() - started

    assert session.extra == {"own": "1" * 40_000 + end}
    assert seconds < 5
