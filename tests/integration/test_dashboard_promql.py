"""
Every expression of the dashboards, asked of a real Prometheus that scrapes a real backend.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from m3w_core.database_url import DatabaseSettings
from tests._grafana import PROMETHEUS, ROOT, Query, expand_promql, queries
from tests._serve import Backend, on, until
from tests.factories import a_payload
from tests.integration.test_prometheus import Prometheus, copy_of_files, needs_prometheus

QUERIES = list(queries(PROMETHEUS))


def expanded(query: Query) -> str:
    return expand_promql(query.text, rate_interval="30s", range_="1m")


def metrics_in(expression: str) -> set[str]:
    """Give the names in an expression: what is no label, function or keyword."""
    return set(re.findall(r"\b(?:up|m3w_\w+|sessions_\w+)\b", expression))


def defined() -> set[str]:
    """Give the metrics that docs/metrics.md names; of a histogram perhaps without its ending."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    return set(re.findall(r"(?m)^- From: `((?:m3w|sessions)_\w+)`$", page))


def labels_in(legend: str) -> set[str]:
    return set(re.findall(r"\{\{(\w+)\}\}", legend))


def labels_of(answer: list[dict[str, Any]]) -> set[str]:
    return set.intersection(*(set(series["metric"]) for series in answer))


@needs_prometheus
def test_every_expression_has_an_answer_and_every_metric_exists(
    migrated_database: DatabaseSettings, tmp_path: Path
) -> None:
    """
    Of a backend that stores one session and turns another away every now and then. A legend names labels that exist.
    """
    with Backend((), on(migrated_database)) as backend:
        backend.until_ready()
        target = urlsplit(backend.url).netloc
        configuration = copy_of_files(tmp_path / "prometheus", target, scrape_interval="1s")
        with Prometheus(configuration, tmp_path / "data") as prometheus:
            answers: dict[str, Any] = {}

            def everything_answers() -> bool:
                assert backend.post(a_payload()) == 200
                assert backend.post(a_payload(timestamp=-1)) == 400
                for query in QUERIES:
                    if not answers.get(query.place):
                        data = prometheus.get("query", query=expanded(query))
                        answers[query.place] = data and data["result"]
                return all(answers.values())

            try:
                until(everything_answers, "an answer to every expression")
            except AssertionError as exc:
                exc.add_note(f"None yet: {[place for place, answer in answers.items() if not answer]}")
                raise
            known = set(prometheus.get("label/__name__/values"))
            workers = prometheus.value("sum(m3w_workers)")

    assert {name for query in QUERIES for name in metrics_in(query.text)} - known == set()
    assert {name for name in defined() if not known & {name, f"{name}_count"}} == set()
    assert [
        query.place for query in QUERIES if labels_in(query.legend) - labels_of(answers[query.place])
    ] == []
    assert workers == 1
