"""
Every answer of the OpenAPI document, brought about for real and held against it.

Only a bug is made up: where a repository fails in a way that nobody has thought of.
"""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from attrs import evolve

from m3w_core import GroupCommitWriter, PostgresSessionRepository, Settings
from m3w_core.batch import MAX_BATCH_SESSIONS
from m3w_core.database_url import DatabaseSettings
from m3w_http.app import create_app
from m3w_http.metrics import Metrics
from m3w_http.openapi import openapi_document
from m3w_http.rate_limits import WRONG_KEYS_PER_MINUTE
from m3w_http.readiness import Readiness
from tests._client import HEADERS, KEY, Client, error_of
from tests._databases import new_database
from tests._openapi import Contract
from tests.factories import a_payload
from tests.fakes import FakeSessionRepository

SETTINGS = Settings(max_body_bytes=2048, metrics_token="token")
CONTRACT = Contract(openapi_document(SETTINGS))

ONE, MANY = "/v1/sessions", "/v1/sessions/batch"
LINES = {**KEY, "Content-Type": "application/x-ndjson"}

#: A port of 127.0.0.1 that is never listened on: it is reserved.
DOWN = DatabaseSettings(host="127.0.0.1", port=1, database="m3w", user="m3w")

#: State of the backend, method, path, headers, body, status.
REQUESTS = [
    ("well", "GET", "/health", {}, b"", 200),
    ("well", "HEAD", "/health", {}, b"", 200),
    ("well", "GET", "/ready", {}, b"", 200),
    ("well", "HEAD", "/ready", {}, b"", 200),
    ("down", "GET", "/ready", {}, b"", 503),
    ("down", "HEAD", "/ready", {}, b"", 503),
    ("buggy", "GET", "/ready", {}, b"", 500),
    ("buggy", "HEAD", "/ready", {}, b"", 500),
    ("well", "GET", "/metrics", {"Authorization": "Bearer token"}, b"", 200),
    ("well", "GET", "/metrics", {}, b"", 401),
    ("limited", "GET", "/metrics", {"Authorization": "Bearer token"}, b"", 429),
    ("well", "GET", "/openapi.json", {}, b"", 200),
    ("well", "POST", ONE, HEADERS, json.dumps(a_payload()).encode(), 200),
    ("well", "POST", ONE, HEADERS, json.dumps(a_payload(sessionId='\u2028"\\')).encode(), 200),
    ("well", "POST", ONE, HEADERS, b"{}", 400),
    ("well", "POST", ONE, HEADERS, b"[]", 400),
    ("well", "POST", ONE, {**HEADERS, "Content-Encoding": "gzip"}, b"{}", 400),
    ("well", "POST", MANY, HEADERS, json.dumps([a_payload(), {}, {"sessionId": "s-1"}]).encode(), 200),
    ("well", "POST", MANY, LINES, b'{"sessionId":1}\n\n' + json.dumps(a_payload()).encode(), 200),
    ("well", "POST", MANY, HEADERS, b"[]", 200),
    ("well", "POST", MANY, HEADERS, b"{}", 400),
    ("well", "POST", MANY, LINES, b"no\nJSON", 400),
    ("well", "POST", MANY, HEADERS, b"[" + b"0," * MAX_BATCH_SESSIONS + b"0]", 413),
    ("well", "POST", ONE, HEADERS, b" " * 2049, 413),
    *[("well", "POST", path, {**HEADERS, "X-API-Key": "wrong"}, b"", 401) for path in (ONE, MANY)],
    *[("well", "POST", path, KEY, b"", 415) for path in (ONE, MANY)],
    *[("well", "POST", path, {**HEADERS, "Content-Encoding": "br"}, b"", 415) for path in (ONE, MANY)],
    *[("limited", "POST", path, HEADERS, b"", 429) for path in (ONE, MANY)],
    *[
        (state, "POST", path, HEADERS, json.dumps(payload).encode(), status)
        for state, status in (("down", 503), ("buggy", 500))
        for path, payload in ((ONE, a_payload()), (MANY, [a_payload()]))
    ],
    *[("well", method, "/v1/session", HEADERS, b"", 404) for method in ("GET", "POST", "PURGE")],
    *[
        ("well", method, path, HEADERS, b"", 405)
        for method in ("PUT", "DELETE", "TRACE", "PURGE", "X" * 100)
        for path in CONTRACT.document["paths"]
    ],
]


def failing(_):
    raise RuntimeError("a bug")


class BuggyReadiness(Readiness):
    async def check(self):
        raise RuntimeError("a bug")


@pytest.fixture(scope="module")
def backends(server, _migrated_template):
    """An application in each state, for the whole module."""

    def application(repository, readiness, settings=SETTINGS, **limits):
        metrics = Metrics()
        writer = GroupCommitWriter([repository], observer=metrics, **limits)
        return create_app(settings, writer=writer, readiness=readiness, metrics=metrics)

    with ExitStack() as stack:
        database = stack.enter_context(new_database(server, template=_migrated_template.database))
        up, limited, down = map(PostgresSessionRepository, (database, database, DOWN))
        bug = FakeSessionRepository(before_upsert=failing)
        rate = evolve(SETTINGS, rate_limit_requests=1, rate_limit_window_s=3600)
        applications = {
            "well": application(up, Readiness(database)),
            "limited": application(limited, Readiness(database), rate),
            "down": application(down, Readiness(DOWN), patience_s=0.2),
            "buggy": application(bug, BuggyReadiness(database)),
        }
        clients = {state: stack.enter_context(Client(app)) for state, app in applications.items()}
        clients["limited"].post(b"")
        for _ in range(WRONG_KEYS_PER_MINUTE):
            clients["limited"].get("/metrics")
        yield clients


def test_the_served_document_is_the_one_that_the_others_are_held_against(backends):
    """
    Anyone may read it, and it is of this backend's settings.
    """
    result = backends["well"].get("/openapi.json")

    assert result.headers["content-type"] == "application/json"
    assert result.json == CONTRACT.document


@pytest.mark.parametrize(
    ("state", "method", "path", "headers", "body", "status"),
    REQUESTS,
    ids=[f"{request[0]}-{request[1]}-{request[2]}-{request[5]}-{n}" for n, request in enumerate(REQUESTS)],
)
def test_an_answer_is_as_documented(backends, state, method, path, headers, body, status):
    """
    Status, headers and body.
    """
    result = backends[state].request(method, path, headers=headers, body=body)

    assert result.status_code == status
    CONTRACT.check(method, path, result.status_code, result.headers, result.content)


def test_every_documented_answer_is_brought_about():
    """
    Each status of each method of each path has its request above.
    """
    brought_about = {(method, path, status) for _, method, path, _, _, status in REQUESTS}

    assert CONTRACT.pairs() - brought_about == set()
    assert {status for _, _, status in brought_about - CONTRACT.pairs()} == {404, 405}


@pytest.mark.parametrize(
    ("path", "allowed"), [("/v1/sessions", "POST, OPTIONS"), ("/health", "GET, HEAD, OPTIONS")]
)
def test_a_method_of_nobody_s_is_405_like_any_other(backends, path, allowed):
    """
    Not 400, which tells an SDK that its payload is bad.
    """
    result = backends["well"].request("PURGE", path, headers=HEADERS, body=b"{}")

    assert error_of(result, 405) == {
        "code": "METHOD_NOT_ALLOWED",
        "message": "This path does not take this method",
    }
    assert result.headers["allow"] == allowed
