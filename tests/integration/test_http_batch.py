"""
``POST /v1/sessions/batch``: many summaries at once.
"""

from __future__ import annotations

import gzip
import json
from contextlib import closing

import pytest

from m3w_core import GroupCommitWriter, PostgresSessionRepository, Settings
from m3w_http.app import app_for, create_app
from m3w_http.metrics import Metrics
from m3w_http.readiness import Readiness
from m3w_http.resources import MAX_BATCH_BYTES
from tests._client import HEADERS, KEY, Client, error_of
from tests._databases import connect
from tests.factories import a_payload, an_entry_payload

LINES = {**KEY, "Content-Type": "application/x-ndjson"}


@pytest.fixture
def client(emptied_database):
    with Client(app_for(Settings(), emptied_database)) as client:
        yield client


@pytest.fixture
def repository(emptied_database):
    with closing(PostgresSessionRepository(emptied_database)) as repository:
        yield repository


def post(client, body, headers=HEADERS):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return client.request("POST", "/v1/sessions/batch", body=body, headers=headers)


def as_lines(payloads):
    return "\n".join(json.dumps(payload) for payload in payloads).encode()


@pytest.mark.parametrize("form", ["array", "lines", "array, gzip", "lines, gzip"])
def test_all_forms_store_the_same(client, repository, form):
    """
    A JSON array or one object a line, packed or not.
    """
    payloads = [a_payload(sessionId=f"s-{number}") for number in range(1000)]
    body = json.dumps(payloads).encode() if "array" in form else as_lines(payloads)
    headers = HEADERS if "array" in form else LINES
    if "gzip" in form:
        body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}

    result = post(client, body, headers)

    assert result.status_code == 200
    assert result.content == b'{"status":"success","accepted":1000,"rejected":[]}'
    assert repository.get("s-0") is not None
    assert repository.get("s-999") is not None


def test_what_is_rejected_is_named_and_the_rest_is_stored(client, repository):
    """
    By index, session ID, code and message; the status is 200, as the list was read.
    """
    bad_entry = an_entry_payload(playbackState="FLYING")
    result = post(
        client,
        [
            a_payload(sessionId="a"),
            a_payload(sessionId="b", timelineEvents=[bad_entry]),
            "nonsense",
            a_payload(sessionId="c"),
        ],
    )

    assert result.json == {
        "status": "success",
        "accepted": 2,
        "rejected": [
            {
                "index": 1,
                "sessionId": "b",
                "code": "INVALID_SCHEMA",
                "message": "timelineEvents[0].playbackState 'FLYING' is not a valid playbackState",
            },
            {
                "index": 2,
                "sessionId": None,
                "code": "INVALID_SCHEMA",
                "message": "Invalid request body: must be a JSON object",
            },
        ],
    }
    assert [repository.get(name) is not None for name in "abc"] == [True, False, True]


def test_a_row_that_the_database_refuses_is_rejected_alone(client, repository, emptied_database):
    """
    What validation let through and PostgreSQL does not take is told in the same way.
    """
    with closing(connect(emptied_database)) as connection:
        connection.run("ALTER TABLE sessions ADD CONSTRAINT no_b CHECK (session_id <> 'b')")
        try:
            result = post(client, [{}, *(a_payload(sessionId=name) for name in "abc")])
        finally:
            connection.run("ALTER TABLE sessions DROP CONSTRAINT no_b")

    assert result.json["accepted"] == 2
    assert [(bad["index"], bad["sessionId"], bad["code"]) for bad in result.json["rejected"]] == [
        (0, None, "INVALID_SCHEMA"),
        (2, "b", "INVALID_SCHEMA"),
    ]
    assert [repository.get(name) is not None for name in "abc"] == [True, False, True]


def test_the_newest_summary_of_a_batch_wins_and_all_timelines_are_kept(client, repository):
    """
    The same rules as for summaries sent one by one.
    """
    result = post(
        client,
        [
            a_payload(sessionId="a", timestamp=2000, timelineEvents=[an_entry_payload(timestampMs=2)]),
            a_payload(sessionId="a", timestamp=1000, timelineEvents=[an_entry_payload(timestampMs=1)]),
        ],
    )

    stored = repository.get("a").session
    assert result.json["accepted"] == 2
    assert stored.timestamp == 2000
    assert [entry.timestamp_ms for entry in stored.timeline_events] == [1, 2]


def test_an_empty_list_is_accepted(client):
    """
    There was nothing to do, and nothing went wrong.
    """
    assert post(client, []).json == {"status": "success", "accepted": 0, "rejected": []}


@pytest.mark.parametrize(
    ("body", "headers"), [(b"{}", HEADERS), (b"{", HEADERS), (b"not JSON\nat all", LINES)]
)
def test_what_is_no_list_is_a_bad_request(client, body, headers):
    """
    Nothing in it could be read.
    """
    error = error_of(post(client, body, headers), 400)

    assert error["code"] == "INVALID_SCHEMA"
    assert error["message"].startswith("Invalid request body")


def test_more_than_1000_summaries_are_too_large(client, repository):
    """
    None of them is stored.
    """
    error = error_of(post(client, [a_payload(sessionId="a")] * 1001), 413)

    assert error == {
        "code": "PAYLOAD_TOO_LARGE",
        "message": "1001 sessions are too many: at most 1000 at once",
    }
    assert repository.get("a") is None


@pytest.mark.parametrize("packed", [False, True])
def test_more_than_8_mebibytes_are_too_large(client, packed):
    """
    Before or after decompression.
    """
    body, headers = b"[" + b" " * MAX_BATCH_BYTES + b"]", HEADERS
    if packed:
        body, headers = gzip.compress(body), {**HEADERS, "Content-Encoding": "gzip"}

    error = error_of(post(client, body, headers), 413)

    assert error["message"] == "Payload exceeds maximum size of 8388608 bytes"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**HEADERS, "X-API-Key": "wrong"}, 401),
        ({**KEY, "Content-Type": "text/plain"}, 415),
        ({**KEY, "Content-Type": "application/x-ndjson; charset=latin-1"}, 415),
    ],
)
def test_the_same_checks_stand_before_it(client, headers, status):
    """
    Key and content type, as for one summary.
    """
    error_of(post(client, [], headers), status)


def test_only_its_route_takes_lines(client):
    """
    A single summary is a JSON object.
    """
    error_of(client.post(a_payload(), headers=LINES), 415)


def test_an_outage_stores_nothing_or_everything(nowhere):
    """
    503 as for one summary, with all of them to be sent again.
    """
    metrics = Metrics()
    writer = GroupCommitWriter([PostgresSessionRepository(nowhere)], patience_s=0.2)
    app = create_app(Settings(), writer=writer, readiness=Readiness(nowhere), metrics=metrics)
    with Client(app) as client:
        result = post(client, [a_payload()])

    assert error_of(result, 503)["code"] == "DATABASE_ERROR"
    assert int(result.headers["retry-after"]) >= 1
