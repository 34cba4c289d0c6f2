"""
Who may read ``/metrics``, and where it is.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from m3w_core import Settings
from m3w_http.app import app_for
from m3w_http.rate_limits import WRONG_KEYS_PER_MINUTE
from tests._client import HEADERS, Client, error_of
from tests._serve import PATIENCE_S, Backend, on, until
from tests.factories import a_payload
from tests.integration.test_prometheus import Prometheus, copy_of_files

TOKEN = "t0ken-of-prometheus"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def client(emptied_database):
    with Client(app_for(Settings(metrics_token=TOKEN), emptied_database)) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer t0ken"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer \xff"},
        {"X-API-Key": "dev-key"},
    ],
)
def test_without_the_token_metrics_are_401(client, headers):
    """
    The answer says how to ask; an app's key is no token.
    """
    refused = client.get("/metrics", headers=headers)

    assert error_of(refused, 401) == {"code": "INVALID_METRICS_TOKEN", "message": "Invalid or missing token"}
    assert refused.headers["www-authenticate"] == 'Bearer realm="metrics"'
    assert "sessions_ingested_total" not in refused.text


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer  "])
def test_with_the_token_they_are_there(client, scheme):
    """
    The scheme is the same in capitals or not.
    """
    answer = client.get("/metrics", headers={"Authorization": scheme + TOKEN})

    assert answer.status_code == 200
    assert "sessions_ingested_total 0.0" in answer.text


def test_guesses_are_limited_and_lock_nobody_else_out(client):
    """
    Scraping with an old token must not stop the apps behind the same address.
    """
    for _ in range(WRONG_KEYS_PER_MINUTE):
        client.get("/metrics")
    right = client.get("/metrics", headers=RIGHT)
    elsewhere = client.get("/metrics", headers=RIGHT, remote_addr="192.0.2.1")

    error_of(right, 429)
    assert elsewhere.status_code == 200
    assert client.post(a_payload()).status_code == 200


def ask(port, path, method="GET", body=None, headers=None):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_port_of_its_own_has_metrics_and_nothing_else(migrated_database):
    """
    And everything else is without them. Every worker serves both; it needs the token there too.
    """
    variables = {**on(migrated_database), "METRICS_PORT": "0", "METRICS_TOKEN": TOKEN}
    with Backend(("--workers", 2), variables) as backend:
        backend.until_ready()
        (line,) = (line for line in backend.out.splitlines() if "Metrics" in line)
        port, own = urlsplit(backend.url).port, urlsplit(line.split()[1]).port
        posted = ask(port, "/v1/sessions", "POST", json.dumps(a_payload()), HEADERS)[0]
        with_token = until(
            lambda: [each for each in [ask(own, "/metrics", headers=RIGHT)] if b"_total 1.0" in each[1]],
            "the session in the metrics",
        )
        statuses = {
            "metrics on the main port": ask(port, "/metrics", headers=RIGHT)[0],
            "without the token": ask(own, "/metrics")[0],
            "health": ask(own, "/health")[0],
            "sessions": ask(own, "/v1/sessions", "POST", json.dumps(a_payload()), HEADERS)[0],
        }
        status = backend.stop()

    assert posted == 200
    assert with_token[0][0] == 200
    assert statuses == {
        "metrics on the main port": 404,
        "without the token": 401,
        "health": 404,
        "sessions": 404,
    }
    assert status == 0
    with pytest.raises(ConnectionRefusedError):
        ask(own, "/metrics")


def test_a_port_that_is_taken_is_told_by_its_variable(migrated_database):
    """
    Nothing is started then.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Backend((), {**on(migrated_database), "METRICS_PORT": str(port)}) as backend:
            status, said = backend.process.wait(PATIENCE_S), backend.err

    assert status == 1
    assert f"Cannot listen on 127.0.0.1 port {port}: " in said
    assert "Choose another with METRICS_PORT.\n" in said


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus")
def test_the_prometheus_of_compose_sends_the_token(migrated_database, tmp_path):
    """
    From the file that Compose makes of METRICS_TOKEN; tests/integration/test_prometheus.py has it empty.
    """
    with Backend((), {**on(migrated_database), "METRICS_TOKEN": TOKEN}) as backend:
        backend.until_ready()
        target = urlsplit(backend.url).netloc
        configuration = copy_of_files(tmp_path / "prometheus", target, scrape_interval="1s")
        (tmp_path / "prometheus" / "metrics_token").write_text(f"{TOKEN}\n")
        with Prometheus(configuration, tmp_path / "data") as prometheus:
            until(lambda: prometheus.value("m3w_workers") == 1, "a scrape")
