"""
Requests that are refused for what they are: the lower half of the status codes. None of them stores anything.
"""

from __future__ import annotations

import gzip
import json
from contextlib import closing

import pytest

from m3w_core import Settings
from m3w_http.app import app_for
from tests._client import HEADERS, JSON, KEY, Client, error_of
from tests._databases import connect
from tests.factories import a_payload, an_entry_payload

LIMIT_BYTES = 2048


@pytest.fixture
def client(emptied_database):
    with Client(app_for(Settings(max_body_bytes=LIMIT_BYTES), emptied_database)) as client:
        yield client
    with closing(connect(emptied_database)) as connection:
        assert connection.run("SELECT count(*) FROM sessions") == [[0]]


def padded(size_bytes):
    """Make a valid body of exactly so many bytes."""
    body = json.dumps(a_payload(padding="")).encode()
    return json.dumps(a_payload(padding="x" * (size_bytes - len(body)))).encode()


def without_length(headers=HEADERS):
    """Make the request look as a server passes on one with chunked transfer."""
    return {"headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()]}


@pytest.mark.parametrize(
    "key", [None, "", "wrong", "dev-key2", "DEV-KEY", "dev-key, dev-key", "clé", "x" * 10_000]
)
def test_a_missing_or_wrong_key_is_401(client, key):
    """
    The answer is the same for all of them.
    """
    result = client.post(a_payload(), headers=JSON if key is None else {**JSON, "X-API-Key": key})

    assert error_of(result, 401) == {"code": "INVALID_API_KEY", "message": "Invalid or missing API Key"}


@pytest.mark.parametrize(
    "path", ["/", "/v1/session", "/v1/sessions/", "/v1/sessions/s-1", "/V1/SESSIONS", "/..", "/%00"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404(client, method, path):
    """
    With a right key too.
    """
    result = client.request(method, path, headers=HEADERS, body=json.dumps(a_payload()))

    assert error_of(result, 404) == {"code": "NOT_FOUND", "message": "There is nothing at this path"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *[(method, "/v1/sessions", "POST") for method in ("GET", "PUT", "PATCH", "DELETE")],
        *[("POST", path, "GET") for path in ("/health", "/ready", "/metrics")],
    ],
)
def test_a_method_that_a_path_does_not_take_is_405(client, method, path, allowed):
    """
    ``Allow`` says which it takes.
    """
    result = client.request(method, path, headers=HEADERS, body=json.dumps(a_payload()))

    assert error_of(result, 405) == {
        "code": "METHOD_NOT_ALLOWED",
        "message": "This path does not take this method",
    }
    assert allowed in result.headers["allow"].split(", ")
    assert method not in result.headers["allow"].split(", ")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/plain; charset=utf-8",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/x-ndjson",
        "multipart/form-data; boundary=x",
        "json",
    ],
)
def test_what_is_not_json_in_utf_8_is_415(client, content_type):
    """
    Content-Type has to say so; its absence says nothing.
    """
    headers = KEY if content_type is None else {**KEY, "Content-Type": content_type}
    result = client.post(a_payload(), headers=headers)

    assert error_of(result, 415) == {
        "code": "UNSUPPORTED_MEDIA_TYPE",
        "message": "Content-Type must be application/json in UTF-8",
    }


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_any_packing_but_gzip_is_415(client, encoding):
    """
    Refused for its name, whatever the bytes are.
    """
    result = client.post(a_payload(), headers={**HEADERS, "Content-Encoding": encoding})

    assert error_of(result, 415) == {
        "code": "UNSUPPORTED_MEDIA_TYPE",
        "message": "Content-Encoding must be gzip or identity",
    }


TOO_LARGE = {
    "code": "PAYLOAD_TOO_LARGE",
    "message": "Payload exceeds maximum size of 2048 bytes",
}


def test_a_body_over_the_limit_is_413_by_its_announced_length(client):
    """
    One byte is enough, and nothing has to be read: here the body is empty.
    """
    extras = without_length({**HEADERS, "Content-Length": "2049"})
    announced = client.request("POST", "/v1/sessions", extras=extras)
    sent = client.post(padded(2049))

    assert error_of(announced, 413) == TOO_LARGE
    assert error_of(sent, 413) == TOO_LARGE


def test_a_body_over_the_limit_is_413_without_an_announced_length(client):
    """
    Counted while it is read.
    """
    result = client.request("POST", "/v1/sessions", body=padded(2049), extras=without_length())

    assert error_of(result, 413) == TOO_LARGE


@pytest.mark.parametrize("members", [1, 3])
def test_a_body_over_the_limit_once_unpacked_is_413(client, members):
    """
    Also where each member of the gzip stream is small enough; a gigabyte of zeros is a megabyte on the wire.
    """
    body = padded(2049)
    step = -(-len(body) // members)
    packed = b"".join(gzip.compress(body[at : at + step]) for at in range(0, len(body), step))
    result = client.post(packed, headers={**HEADERS, "Content-Encoding": "gzip"})

    assert len(packed) < LIMIT_BYTES
    assert error_of(result, 413) == TOO_LARGE


def test_a_body_at_the_limit_is_taken(emptied_database):
    """
    However it is sent.
    """
    body = padded(2048)
    headers = {**HEADERS, "Content-Encoding": "gzip"}
    with Client(app_for(Settings(max_body_bytes=LIMIT_BYTES), emptied_database)) as client:
        results = [
            client.post(body),
            client.request("POST", "/v1/sessions", body=body, extras=without_length()),
            client.post(gzip.compress(body), headers=headers),
        ]

    assert [result.status_code for result in results] == [200, 200, 200]


NOT_JSON = [b"", b" ", b"{", b"nil", b'{"sessionId":"s-1"}}', b"\xff", b"\xef\xbb\xbf{}"]
# Python's own reader takes these.
NOT_JSON += [b"NaN", b'{"a":-Infinity}', b'{"a":"\\ud800"}']


@pytest.mark.parametrize("body", NOT_JSON)
def test_what_is_not_json_is_400(client, body):
    """
    The message says where it stops being JSON.
    """
    error = error_of(client.post(body), 400)

    assert error["code"] == "INVALID_SCHEMA"
    assert error["message"].startswith("Invalid request body: not valid JSON (")
    assert "details" not in error


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"s-1"', b"true", b"[{}]"])
def test_json_that_is_no_object_is_400(client, body):
    """
    A summary is an object.
    """
    error = error_of(client.post(body), 400)

    assert error == {"code": "INVALID_SCHEMA", "message": "Invalid request body: must be a JSON object"}


PACKED = gzip.compress(json.dumps(a_payload()).encode(), mtime=0)

BROKEN = {
    "no gzip": (b"not gzip at all", "not a gzip stream"),
    "cut in the middle": (PACKED[:20], "the gzip stream is cut short"),
    "cut at the end": (PACKED[:-1], "the gzip stream is cut short"),
    "wrong checksum": (PACKED[:-8] + b"\0" * 8, "not a gzip stream"),
    "something behind it": (PACKED + b"\0" * 8, "not a gzip stream"),
    "second member cut": (PACKED + PACKED[:20], "the gzip stream is cut short"),
}


@pytest.mark.parametrize(("packed", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_gzip_stream_is_400(client, packed, message):
    """
    Cut short, with a wrong checksum, or with something behind it that is no gzip.
    """
    error = error_of(client.post(packed, headers={**HEADERS, "Content-Encoding": "gzip"}), 400)

    assert error == {"code": "INVALID_SCHEMA", "message": f"Invalid request body: {message}"}


def test_every_bad_field_is_named(client):
    """
    In the message for people and in the details for programs, by its JSON name and path.
    """
    result = client.post(
        {
            "sessionId": " ",
            "timestamp": "1771150045000",
            "sessionDurationMs": 0,
            "rebufferCount": -1,
            "timelineEvents": [an_entry_payload(playbackState="STALLED")],
            "own": [{"text": "a\0b"}],
        }
    )
    error = error_of(result, 400)

    assert error["code"] == "INVALID_SCHEMA"
    assert error["details"] == [
        {"field": "sessionId", "problem": "is missing or empty"},
        {"field": "timestamp", "problem": "must be an integer"},
        {"field": "sessionStartDateIso", "problem": "is missing or empty"},
        {"field": "sessionDurationMs", "problem": "must be positive"},
        {"field": "rebufferCount", "problem": "must be non-negative"},
        {"field": "timelineEvents[0].playbackState", "problem": "'STALLED' is not a valid playbackState"},
        {"field": "own[0].text", "problem": "must not contain the NUL character"},
    ]
    assert error["message"] == (
        "Missing or empty required field: sessionId; Invalid value for timestamp: must be an integer; "
        "Missing or empty required field: sessionStartDateIso; "
        "Invalid value for sessionDurationMs: must be positive; "
        "Out-of-range value for field(s): rebufferCount: must be non-negative; "
        "timelineEvents[0].playbackState 'STALLED' is not a valid playbackState; "
        "Invalid value for own[0].text: must not contain the NUL character"
    )


def nested(levels):
    """Make a value of so many arrays in each other."""
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


OWN = {
    "an integer of 65 bits": (2**63, "own", "must fit in 64 bits"),
    "an integer of many digits": (10**30, "own", "must fit in 64 bits"),
    "NUL": ("a\0b", "own", "must not contain the NUL character"),
    "NUL in a name": ({"a\0": 1}, "own", None),
    "nested too deep": (nested(64), "own" + "[0]" * 63, "must not be nested deeper than 64 levels"),
}


@pytest.mark.parametrize(("value", "field", "problem"), OWN.values(), ids=OWN)
def test_what_cannot_be_kept_of_an_app_s_own_fields_is_400(client, value, field, problem):
    """
    The rules hold inside unknown fields too; the payload itself is the first level.
    """
    (detail,) = error_of(client.post(a_payload(own=value)), 400)["details"]

    assert detail["field"].startswith(field)
    assert problem in (None, detail["problem"])
