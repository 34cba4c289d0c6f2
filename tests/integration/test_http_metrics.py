"""
What Prometheus is told: the names, which event moves which value, and that no client can add to them.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from m3w_core import GroupCommitWriter, PostgresSessionRepository, Settings
from m3w_http import middleware
from m3w_http.app import app_for, create_app
from m3w_http.metrics import Metrics
from m3w_http.readiness import Readiness
from tests._client import HEADERS, JSON, Client, error_of
from tests.factories import a_payload, an_entry_payload
from tests.fakes import FakeSessionRepository

DEADLINE_S = 20

HEALTH = (("method", "GET"), ("route", "/health"), ("status", "200"))


@pytest.fixture
def client(emptied_database):
    with Client(app_for(Settings(), emptied_database)) as client:
        yield client


def scrape(client):
    """Give every sample of ``/metrics`` by its name and labels."""
    return samples(client.get("/metrics").text)


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def requests_of(values, **labels):
    return values.get(("m3w_http_request_duration_seconds_count", *sorted(labels.items())), 0)


def test_the_names_are_those_of_the_kotlin_backend_and_our_own(client):
    """
    Alerts that were written for the Kotlin backend go on working; everything else begins with ``m3w_``.
    """
    client.post(a_payload())
    result = client.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(result.text)}

    assert result.status_code == 200
    assert result.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert {name for name in families if not name.startswith("m3w_")} == {
        "sessions_ingested",
        "sessions_failed",
    }
    assert families["sessions_ingested"].type == families["sessions_failed"].type == "counter"
    assert all(family.documentation for family in families.values())
    assert scrape(client)["sessions_ingested_total",] == 1


def test_there_are_no_metrics_where_they_are_switched_off(emptied_database):
    """
    ``ENABLE_METRICS=false``.
    """
    with Client(app_for(Settings(metrics_enabled=False), emptied_database)) as client:
        result = client.get("/metrics")

    assert error_of(result, 404)["code"] == "NOT_FOUND"


def test_only_what_was_stored_counts_as_ingested(client):
    """
    Neither counter is moved by what a client did wrong.
    """
    for payload in (a_payload(), a_payload(timestamp=1), a_payload(timestamp=0), b"{"):
        client.post(payload)
    client.post(a_payload(), headers=JSON)
    values = scrape(client)

    assert values["sessions_ingested_total",] == 2
    assert values["sessions_failed_total",] == 0


def test_what_the_database_did_not_take_counts_as_failed(nowhere):
    """
    Each attempt to write a batch is counted too.
    """
    metrics = Metrics()
    writer = GroupCommitWriter([PostgresSessionRepository(nowhere)], patience_s=0.2, observer=metrics)
    app = create_app(Settings(), writer=writer, readiness=Readiness(nowhere), metrics=metrics)
    with Client(app) as client:
        client.post(a_payload())
        values = scrape(client)

    assert values["sessions_ingested_total",] == 0
    assert values["sessions_failed_total",] == 1
    assert values["m3w_batch_failures_total",] >= 2
    assert requests_of(values, method="POST", route="/v1/sessions", status="503") == 1
    assert not [key for key in values if key[0] == "m3w_rejected_payloads_total"]


def test_rejected_requests_count_by_code_and_field(client):
    """
    A field of a timeline counts once for a payload, however many entries are bad; an app's own is ``other``.
    """
    entries = [an_entry_payload(playbackState="STALLED")] * 3
    client.post(a_payload(timestamp=0, timelineEvents=entries, first="\0", second="\0"))
    client.post(a_payload(timestamp=None))
    client.post(b"{")
    client.post(a_payload(), headers=JSON)
    rejected = {
        key: value
        for key, value in scrape(client).items()
        if key[0].startswith("m3w_rejected") and "kept" not in key[0]
    }

    assert rejected == {
        ("m3w_rejected_payloads_total", ("code", "INVALID_SCHEMA")): 3,
        ("m3w_rejected_payloads_total", ("code", "INVALID_API_KEY")): 1,
        ("m3w_rejected_fields_total", ("field", "timestamp")): 2,
        ("m3w_rejected_fields_total", ("field", "timelineEvents[].playbackState")): 1,
        ("m3w_rejected_fields_total", ("field", "other")): 1,
    }


def test_latency_counts_by_route_and_status(client):
    """
    Every request, the refused ones too.
    """
    client.get("/health")
    client.get("/health")
    client.post(a_payload())
    client.post(b"{")
    values = scrape(client)

    assert requests_of(values, method="GET", route="/health", status="200") == 2
    assert requests_of(values, method="POST", route="/v1/sessions", status="200") == 1
    assert requests_of(values, method="POST", route="/v1/sessions", status="400") == 1
    assert values["m3w_http_request_duration_seconds_sum", *HEALTH] > 0


def test_nothing_that_a_stranger_sends_becomes_a_label(client):
    """
    Paths, methods, names of fields and keys are without number, and each would be a time series for ever.
    """
    before = set(scrape(client))
    client.get("/stranger", headers=HEADERS)
    client.get("/v1/sessions/stranger", query_string="stranger=stranger")
    client.request("STRANGER", "/v1/sessions")
    client.request("STRANGER", "/stranger")
    client.post(a_payload(stranger="\0", timelineEvents=[{"stranger": {"stranger": "\0"}}]))
    client.post(a_payload(), headers={**JSON, "X-API-Key": "stranger", "User-Agent": "stranger"})
    text = client.get("/metrics").text
    added = set(samples(text)) - before

    assert "stranger" not in text.lower()
    assert ("m3w_rejected_payloads_total", ("code", "NOT_FOUND")) in added
    assert {value for key in added for name, value in key[1:] if name == "method"} == {"GET", "POST", "other"}
    assert {value for key in added for name, value in key[1:] if name == "route"} == {
        "/metrics",
        "/v1/sessions",
        "other",
    }


def test_batches_and_the_queue_are_measured(nowhere, monkeypatch):
    """
    While one session is being written the others wait in the queue, and make up the next batch.
    """
    monkeypatch.setattr(middleware, "_SAMPLE_S", 0.01)
    entered, gate = threading.Event(), threading.Event()

    def wait(_):
        entered.set()
        gate.wait(DEADLINE_S)

    metrics = Metrics()
    writer = GroupCommitWriter([FakeSessionRepository(before_upsert=wait)], observer=metrics)
    app = create_app(Settings(), writer=writer, readiness=Readiness(nowhere), metrics=metrics)

    def post(client, number):
        payload = a_payload(sessionId=f"s-{number}")
        return asyncio.create_task(client.send("POST", "/v1/sessions", headers=HEADERS, json=payload))

    async def post_eight(client):
        posts = [post(client, 0)]
        try:
            await asyncio.to_thread(entered.wait, DEADLINE_S)
            posts += [post(client, number) for number in range(1, 8)]
            while samples((await client.send("GET", "/metrics")).text)["m3w_queue_sessions",] != 8:
                await asyncio.sleep(0.01)
        finally:
            gate.set()
        await asyncio.gather(*posts)

    with Client(app) as client:
        client.run(asyncio.wait_for(post_eight(client), DEADLINE_S))
        values = scrape(client)

    assert values["m3w_batch_sessions_bucket", ("le", "1.0")] == 1
    assert values["m3w_batch_sessions_bucket", ("le", "10.0")] == 2
    assert values["m3w_batch_sessions_sum",] == 8
    assert values["m3w_batch_write_seconds_count",] == 2
    assert values["m3w_batch_write_seconds_sum",] > 0


def test_the_process_is_measured(client):
    """
    Its CPU time, memory and open files, and that it is one.
    """
    values = scrape(client)

    assert values["m3w_workers",] == 1
    assert values["m3w_process_cpu_seconds",] > 0
    assert values["m3w_process_resident_memory_bytes",] > 10_000_000
    assert values["m3w_process_open_fds",] > 3
