"""
What stands in the log after a request, and what never does.
"""

from __future__ import annotations

import json
import logging
import re

import pytest

from m3w_core import GroupCommitWriter, PostgresSessionRepository, Settings
from m3w_http.app import app_for, create_app
from m3w_http.logs import JsonFormatter
from m3w_http.metrics import Metrics
from m3w_http.readiness import Readiness
from tests._client import JSON, Client
from tests.factories import a_payload
from tests.fakes import FakeSessionRepository


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.fixture
def client(emptied_database):
    with Client(app_for(Settings(), emptied_database)) as client:
        yield client


def access_lines(log):
    return [record.getMessage() for record in log.records if record.name == "m3w_http.access"]


def test_a_request_is_one_line(client, log):
    """
    Method, path, status and duration; nothing else is logged of a request, whatever becomes of it.
    """
    log.clear()
    client.post(a_payload())
    client.post(b"{")
    client.get("/nowhere", query_string="key=value")
    lines = [record.getMessage() for record in log.records if record.name.startswith("m3w")]

    assert [re.sub(r"\(\d+ms\)", "(3ms)", line) for line in lines] == [
        "POST /v1/sessions - 200 (3ms)",
        "POST /v1/sessions - 400 (3ms)",
        "GET /nowhere - 404 (3ms)",
    ]


def test_probes_are_not_logged(client, log):
    """
    They come every few seconds and tell nothing.
    """
    for path in ("/health", "/ready", "/metrics"):
        client.get(path)

    assert access_lines(log) == []


@pytest.mark.parametrize("path", ["/a\nb - 200 (1ms)", "/\x1b[31m", "/\u202e"])
def test_a_path_cannot_forge_a_line(client, log, path):
    """
    What would move the cursor or start a line is escaped.
    """
    client.get(path)
    (line,) = access_lines(log)

    assert line.isprintable()
    assert line.startswith("GET '/")


def test_a_long_path_is_cut(client, log):
    """
    A line stays a line.
    """
    client.get("/" + "x" * 10_000)

    assert [len(line) < 300 for line in access_lines(log)] == [True]


def fail(_):
    raise RuntimeError("a bug")


def test_neither_key_nor_payload_is_ever_logged(nowhere, log):
    """
    Stored or not, understood or not, with a right key or a wrong one.
    """
    metrics = Metrics()
    settings = Settings(api_keys={"app": "secret-key"}, rate_limit_requests=4)
    with_a_bug = GroupCommitWriter([FakeSessionRepository(before_upsert=fail)])
    without_database = GroupCommitWriter([PostgresSessionRepository(nowhere)], patience_s=0.1)
    payload = a_payload(sessionId="secret-id", deviceModel="secret-device", own={"secret-name": "secret"})
    right, wrong = {**JSON, "X-API-Key": "secret-key"}, {**JSON, "X-API-Key": "secret-guess"}
    statuses = []
    for writer in (with_a_bug, without_database):
        app = create_app(settings, writer=writer, readiness=Readiness(nowhere), metrics=metrics)
        with Client(app) as client:
            for body, headers in [
                (json.dumps(payload).encode(), right),
                (json.dumps(payload).encode(), wrong),
                (json.dumps(payload | {"timestamp": "secret"}).encode(), right),
                (json.dumps(payload).encode() + b"secret", right),
                (b"secret", {**right, "Content-Encoding": "gzip"}),
                (b"secret", right),
            ]:
                statuses.append(client.post(body, headers=headers).status_code)
    plain = logging.Formatter()
    as_json = JsonFormatter()
    lines = [form.format(record) for record in log.records for form in (plain, as_json)]

    assert statuses == [500, 401, 400, 400, 400, 429, 503, 401, 400, 400, 400, 429]
    assert len(access_lines(log)) == 12
    assert [line for line in lines if "secret" in line] == []
