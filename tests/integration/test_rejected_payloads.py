"""
What is kept of requests that were answered 400, from the request to the table.
"""

from __future__ import annotations

import gzip
import json
from datetime import timedelta

import pytest

from m3w_core import Settings
from m3w_core.rejected import OVERHEAD_BYTES
from m3w_core.rejected_store import find_rejected, prune_rejected, read_payload, store_rejected
from m3w_http.app import app_for
from tests._client import HEADERS, JSON, KEY, Client
from tests.factories import a_payload
from tests.unit.test_rejected import a_rejected

LINES = {**KEY, "Content-Type": "application/x-ndjson"}
BAD = a_payload(sessionId="bad", rebufferRatio=2)


@pytest.fixture
def send(emptied_database, table):
    """Send requests, end the application, and give the rows: on shutdown it writes what it has."""

    def send(*requests):
        with Client(app_for(Settings(), emptied_database)) as client:
            results = [
                client.request("POST", path, body=body, headers=headers) for path, body, headers in requests
            ]
        rows = sorted(find_rejected(table), key=lambda row: row.received_at)
        return results, [(row, read_payload(table, row.id)) for row in rows]

    return send


def single(body, headers=HEADERS):
    return "/v1/sessions", body, headers


def batch(body, headers=HEADERS):
    return "/v1/sessions/batch", body, headers


def test_a_payload_that_does_not_validate_is_kept(send, table):
    """
    Byte by byte, with what is wrong and the name of its key; the answer stays 400.
    """
    body = json.dumps(BAD, indent=3).encode()

    [result], [(row, payload)] = send(single(body))
    [[age]] = table.run("SELECT now() - received_at FROM rejected_payloads")

    assert result.status_code == 400
    assert payload == body
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert (row.route, row.media_type, row.code, row.reason, row.received_via, row.payload_bytes) == (
        "/v1/sessions",
        "application/json",
        "INVALID_SCHEMA",
        "rebufferRatio",
        "dev",
        len(body),
    )
    assert row.message == result.json["error"]["message"]
    assert row.batch_index is None


def test_whatever_is_answered_400_is_kept(send):
    """
    No JSON, no object, a gzip stream that is cut, a list that is none, a message that quotes a NUL; packed ones
    unpacked.
    """
    packed = gzip.compress(json.dumps(BAD).encode())
    is_gzip = {**HEADERS, "Content-Encoding": "gzip"}
    nul = json.dumps(a_payload(timelineEvents=[{"playbackState": "\0"}])).encode()

    results, kept = send(
        single(b"\xff not JSON"),
        single(b"[]"),
        single(packed, is_gzip),
        single(packed[:-9], is_gzip),
        single(nul),
        batch(b"{}"),
        batch(b"neither\nis JSON", LINES),
    )

    assert {result.status_code for result in results} == {400}
    assert [(payload, row.media_type, row.batch_index) for row, payload in kept] == [
        (b"\xff not JSON", "application/json", None),
        (b"[]", "application/json", None),
        (json.dumps(BAD).encode(), "application/json", None),
        (packed[:-9], "application/gzip", None),
        (nul, "application/json", None),
        (b"{}", "application/json", None),
        (b"neither\nis JSON", "application/x-ndjson", None),
    ]


def test_of_a_batch_the_rejected_summaries_are_kept(send, table):
    """
    Each as a payload of its own, those too that the database refuses; the others are stored.
    """
    table.run("ALTER TABLE sessions ADD CONSTRAINT refuse CHECK (session_id <> 'refused')")
    payloads = [a_payload(), BAD, a_payload(sessionId="refused"), 7]
    try:
        results, kept = send(
            batch(json.dumps(payloads).encode()),
            batch(b'{"sessionId": 1}\n' + json.dumps(a_payload()).encode(), LINES),
            single(json.dumps(a_payload(sessionId="refused")).encode()),
        )
    finally:
        table.run("ALTER TABLE sessions DROP CONSTRAINT refuse")

    assert [result.status_code for result in results] == [200, 200, 400]
    by_place = {(row.route, row.batch_index, row.reason): json.loads(payload) for row, payload in kept}
    missing = "sessionDurationMs, sessionId, sessionStartDateIso, timestamp"
    refused = by_place.pop(("/v1/sessions/batch", 2, "refused by the database"))
    assert by_place == {
        ("/v1/sessions/batch", 1, "rebufferRatio"): BAD,
        ("/v1/sessions/batch", 3, "unreadable"): 7,
        ("/v1/sessions/batch", 0, missing): {"sessionId": 1},
        ("/v1/sessions", None, "refused by the database"): a_payload(sessionId="refused"),
    }
    assert refused == a_payload(sessionId="refused", timelineEvents=[])


def test_nothing_else_is_kept(send):
    """
    What came without a right key, is no JSON by its own account, is too large, or was accepted.
    """
    body = json.dumps(BAD).encode()

    results, kept = send(
        single(body, JSON),
        single(body, {**JSON, "X-API-Key": "wrong"}),
        single(body, {**KEY, "Content-Type": "text/plain"}),
        single(b"x" * 2_000_000),
        single(json.dumps(a_payload()).encode()),
    )

    assert [result.status_code for result in results] == [401, 401, 415, 413, 200]
    assert kept == []


def test_neither_address_nor_user_agent_is_kept(send, table):
    """
    The columns are what there is.
    """
    send(single(b"{", {**HEADERS, "User-Agent": "Dalvik/2.1.0"}))
    [[row]] = table.run("SELECT row_to_json(rejected_payloads)::text FROM rejected_payloads")

    assert "Dalvik" not in row
    assert "127.0.0.1" not in row
    assert set(json.loads(row)) == {
        "id",
        "received_at",
        "received_via",
        "route",
        "media_type",
        "code",
        "reason",
        "message",
        "payload",
        "payload_bytes",
        "batch_index",
    }


def test_a_flood_displaces_itself(table):
    """
    Of the reason and key that there is most of the oldest go; rare ones stay, however old they are.
    """
    store_rejected(table, [a_rejected(b"rare", reason="a"), a_rejected(b"other key", received_via="tv")])
    for number in range(50):
        store_rejected(table, [a_rejected(b"flood %d" % number)])

    pruned = prune_rejected(table, max_bytes=16 * (OVERHEAD_BYTES + 10))
    left = [read_payload(table, row.id) for row in find_rejected(table)]

    assert pruned == 38
    assert left[:12] == [b"flood %d" % number for number in range(49, 37, -1)]
    assert sorted(left[12:]) == [b"other key", b"rare"]
    assert prune_rejected(table, max_bytes=16 * (OVERHEAD_BYTES + 10)) == 0


def test_dashboards_count_them_by_a_view_without_what_clients_sent(send, table):
    """
    Grafana's role reads this and not the table.
    """
    send(single(json.dumps(BAD).encode()))
    rows = table.run("SELECT * FROM rejections")
    names = [column["name"] for column in table.columns]

    assert names == ["received_at", "received_via", "route", "code", "reason", "payload_bytes"]
    assert rows[0][1:5] == ["dev", "/v1/sessions", "INVALID_SCHEMA", "rebufferRatio"]
