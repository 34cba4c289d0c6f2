"""
What the documented routes answer when all is well, and in which order a request is checked when not.
"""

from __future__ import annotations

import gzip
import json

import pytest

from m3w_core import Settings
from m3w_http.app import app_for
from m3w_http.rate_limits import WRONG_KEYS_PER_MINUTE
from tests._client import HEADERS, JSON, KEY, Client, error_of, sdk_payload
from tests._databases import connect
from tests.factories import a_payload


@pytest.fixture
def client(emptied_database):
    with Client(app_for(Settings(), emptied_database)) as client:
        yield client


def session_ids(database):
    connection = connect(database)
    try:
        return [row[0] for row in connection.run("SELECT session_id FROM sessions ORDER BY session_id")]
    finally:
        connection.close()


def test_a_summary_is_answered_with_its_session_id(client, emptied_database):
    """
    The body is exactly this one, and the row is there when it comes.
    """
    result = client.post(sdk_payload("sdk-0.x-complete"))

    assert result.status_code == 200
    assert result.headers["content-type"] == "application/json"
    assert result.content == b'{"status":"success","sessionId":"550e8400-e29b-41d4-a716-446655440000"}'
    assert session_ids(emptied_database) == ["550e8400-e29b-41d4-a716-446655440000"]


@pytest.mark.parametrize("session_id", ['"\\/\b', "Ünï\u2028\U0001f600", "x" * 128])
def test_any_valid_session_id_comes_back_as_it_was(client, emptied_database, session_id):
    """
    Quotes, control characters and other scripts are escaped, not lost.
    """
    result = client.post(a_payload(sessionId=session_id))

    assert result.json == {"status": "success", "sessionId": session_id}
    assert session_ids(emptied_database) == [session_id]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'Application/JSON; charset="utf-8"',
    ],
)
def test_json_in_utf_8_is_taken_however_it_is_announced(client, content_type):
    """
    The SDK's HTTP client adds a charset.
    """
    result = client.post(a_payload(), headers={**KEY, "Content-Type": content_type})

    assert result.status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "identity"])
def test_a_body_may_be_packed(client, emptied_database, encoding):
    """
    Gzip is unpacked, in any number of members; identity is no packing at all.
    """
    body = json.dumps(a_payload(sessionId="s-1")).encode()
    packed = body if encoding == "identity" else gzip.compress(body[:20]) + gzip.compress(body[20:])
    result = client.post(packed, headers={**HEADERS, "Content-Encoding": encoding})

    assert result.json == {"status": "success", "sessionId": "s-1"}
    assert session_ids(emptied_database) == ["s-1"]


def test_a_body_without_a_length_is_taken(client, emptied_database):
    """
    Chunked transfer, as who streams a body sends it.
    """
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    body = json.dumps(a_payload(sessionId="s-1", padding="x" * 20_000)).encode()
    result = client.request(
        "POST", "/v1/sessions", body=body, extras={"headers": headers}, asgi_chunk_size=999
    )

    assert result.json == {"status": "success", "sessionId": "s-1"}
    assert session_ids(emptied_database) == ["s-1"]


def test_every_configured_key_opens(emptied_database):
    """
    Several keys are valid at a time, so that they can be rotated; the development key is none of them.
    """
    settings = Settings(api_keys={"old": "key-1", "new": "key-2"})
    with Client(app_for(settings, emptied_database)) as client:
        answers = [
            client.post(a_payload(), headers={**JSON, "X-API-Key": key}).status_code
            for key in ("key-1", "key-2", "dev-key")
        ]

    assert answers == [200, 200, 401]


@pytest.mark.parametrize(
    ("path", "body"), [("/health", b'{"status":"healthy"}'), ("/ready", b'{"status":"ready"}')]
)
def test_probes_answer_get_and_head(client, path, body):
    """
    Load balancers ask by either; HEAD has the same headers and no body.
    """
    get, head = client.get(path), client.request("HEAD", path)

    assert (get.status_code, head.status_code) == (200, 200)
    assert (get.content, head.content) == (body, b"")
    assert get.headers["content-type"] == head.headers["content-type"] == "application/json"
    assert get.headers["content-length"] == head.headers["content-length"] == str(len(body))


def test_ready_is_503_while_migrations_are_pending(database):
    """
    A load balancer sends nothing to a backend whose tables are missing; it lives all the same.
    """
    with Client(app_for(Settings(), database)) as client:
        ready, head, health = client.get("/ready"), client.request("HEAD", "/ready"), client.get("/health")

    assert error_of(ready, 503) == {
        "code": "DATABASE_ERROR",
        "message": "Database migrations are not current",
    }
    assert int(ready.headers["retry-after"]) > 0
    assert (head.status_code, head.content) == (503, b"")
    assert health.status_code == 200


def test_ready_is_503_while_the_database_is_down(nowhere):
    """
    Health touches no database, so that an outage of the database restarts nothing.
    """
    with Client(app_for(Settings(), nowhere)) as client:
        ready, health = client.get("/ready"), client.get("/health")

    assert error_of(ready, 503) == {"code": "DATABASE_ERROR", "message": "Temporary storage issue"}
    assert int(ready.headers["retry-after"]) > 0
    assert health.json == {"status": "healthy"}


BR = {"Content-Encoding": "br"}
TEXT = {"Content-Type": "text/plain"}
WRONG = {"X-API-Key": "wrong"}
LARGE = b"x" * 3000

# Each breaks two rules that are checked one after the other, and has to show the first.
NEIGHBOURS = {
    "path before wrong keys": ("blocked", "/nowhere", {}, b"", 404),
    "method before wrong keys": ("blocked", "GET /v1/sessions", {}, b"", 405),
    "wrong keys before key": ("blocked", "/v1/sessions", WRONG, b"{}", 429),
    "key before rate": ("exhausted", "/v1/sessions", WRONG, b"{}", 401),
    "rate before content type": ("exhausted", "/v1/sessions", TEXT, b"{}", 429),
    "content type before size": ("", "/v1/sessions", TEXT, LARGE, 415),
    "content encoding before size": ("", "/v1/sessions", BR, LARGE, 415),
    "size before JSON": ("", "/v1/sessions", {}, LARGE, 413),
}


@pytest.mark.parametrize(
    ("state", "target", "headers", "body", "status"), NEIGHBOURS.values(), ids=NEIGHBOURS
)
def test_checks_run_in_the_documented_order(emptied_database, state, target, headers, body, status):
    """
    Route and method, rate of wrong keys, key, rate, content type, size, JSON, schema.
    """
    settings = Settings(max_body_bytes=2048, rate_limit_requests=1 if state == "exhausted" else 0)
    method, _, path = target.rpartition(" ")
    with Client(app_for(settings, emptied_database)) as client:
        if state == "blocked":
            for _ in range(WRONG_KEYS_PER_MINUTE):
                client.post(b"{}", headers={**JSON, **WRONG})
            error_of(client.post(a_payload()), 429)
        if state == "exhausted":
            client.post(a_payload())
            error_of(client.post(a_payload()), 429)
        result = client.request(method or "POST", path, headers={**HEADERS, **headers}, body=body)

    error_of(result, status)


def test_json_is_checked_before_the_schema(client):
    """
    Of a body that is no JSON, no field is complained of.
    """
    error = error_of(client.post(b'{"sessionId":""'), 400)

    assert error["message"].startswith("Invalid request body: not valid JSON (")
    assert "details" not in error
