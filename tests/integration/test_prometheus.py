"""
What Prometheus itself says to our files, and what it reads from a backend that runs.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import pytest
import yaml
from attrs import define, field

from m3w_core.database_url import DatabaseSettings
from tests._serve import PATIENCE_S, Backend, on, until
from tests.factories import a_payload

FILES = Path(__file__).parents[2] / "prometheus"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus")


def promtool(*arguments: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *map(str, arguments)],
        input=text,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def copy_of_files(directory: Path, target: str, scrape_interval: str = "15s") -> Path:
    """Copy the files, with the target and the token that docker-compose.yml adds; gives the configuration."""
    shutil.copytree(FILES, directory)
    (directory / "metrics_token").write_text("\n")
    (directory / "backend.json").write_text(json.dumps([{"targets": [target]}]))
    configuration = directory / "prometheus.yml"
    text = configuration.read_text()
    assert "scrape_interval: 15s" in text
    configuration.write_text(text.replace("scrape_interval: 15s", f"scrape_interval: {scrape_interval}"))
    return configuration


@define(eq=False)
class Prometheus:
    """
    A server of its own; a context manager.

    Args:
        configuration: Path of its configuration.
        data: Where it keeps its data.
    """

    configuration: Path
    data: Path
    _port: int = field(init=False)
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={self.configuration}",
                f"--storage.tsdb.path={self.data}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--log.level=error",
            ]
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def get(self, path: str, **query: str) -> Any:
        """Ask the API; None while it is not up."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)) as connection:
            try:
                connection.request("GET", f"/api/v1/{path}?{urlencode(query)}")
                answer = connection.getresponse()
            except ConnectionError:
                assert self._process.poll() is None, "Prometheus has ended"
                return None
            # It answers 503 while it starts.
            return json.loads(answer.read())["data"] if answer.status == http.client.OK else None

    def value(self, expression: str) -> float | None:
        """Evaluate an expression that has one value, or none yet."""
        data = self.get("query", query=expression)
        if data is None or not data["result"]:
            return None
        ((_, value),) = (row["value"] for row in data["result"])
        return float(value)


@pytest.fixture
def backend(migrated_database: DatabaseSettings) -> Iterator[Backend]:
    with Backend(("--workers", 2), on(migrated_database)) as backend:
        yield backend.until_ready()


@needs_promtool
def test_promtool_accepts_configuration_and_rules(tmp_path: Path) -> None:
    """
    Without a warning.
    """
    checked = promtool("check", "config", copy_of_files(tmp_path / "prometheus", "backend:8080"))

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS: 2 rule files found" in checked.stdout
    assert "WARN" not in checked.stdout + checked.stderr


@needs_promtool
def test_every_alert_fires_and_is_over_again() -> None:
    """
    prometheus/tests has the cases, and leaves no alert out: silent, then firing, then over.
    """
    tested = promtool("test", "rules", *sorted((FILES / "tests").glob("*.yml")))
    whole = {
        alert
        for case in cases()
        for alert, fires in course_of(case).items()
        if True in fires and not (fires[0] or fires[-1])
    }

    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert whole == alerts()


def test_too_few_sessions_are_no_alert_on_what_viewers_see() -> None:
    """
    Of each there is a case with the numbers of the one that fires, and fewer sessions, in which it stays silent.
    """
    firing, silent = {}, {}
    for case in cases():
        for alert, fires in course_of(case).items():
            if "m3w_qoe_sessions" in expression_of(alert):
                (firing if True in fires else silent)[alert] = numbers_of(case)

    assert len(firing) == 4
    assert {numbers.pop("m3w_qoe_sessions") for numbers in silent.values()} == {"49x180"}
    assert {numbers.pop("m3w_qoe_sessions") for numbers in firing.values()} == {"50x180"}
    assert silent == firing


@needs_promtool
def test_promtool_finds_nothing_wrong_with_our_metrics(backend: Backend) -> None:
    """
    Names, types and units are as Prometheus wants them.
    """
    make_all_metrics_appear(backend)

    checked = promtool("check", "metrics", text=backend.get("/metrics"))

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@needs_prometheus
def test_prometheus_counts_every_session_across_workers_and_their_deaths(
    backend: Backend, tmp_path: Path
) -> None:
    """
    Two workers are one target, and the end of one takes nothing back.
    """
    target = urlsplit(backend.url).netloc
    configuration = copy_of_files(tmp_path / "prometheus", target, scrape_interval="1s")
    with Prometheus(configuration, tmp_path / "data") as prometheus:
        statuses = [backend.post(a_payload(sessionId=f"before-{number}")) for number in range(30)]
        until(lambda: prometheus.value("sessions_ingested_total") == 30, "30 sessions in Prometheus")
        victim = backend.workers[0]
        victim.send_signal(signal.SIGKILL)
        until(lambda: prometheus.value("m3w_worker_restarts_total") == 1, "the restart in Prometheus")
        until(lambda: len(backend.workers) == 2, "two workers")
        statuses += [backend.post(a_payload(sessionId=f"after-{number}")) for number in range(12)]
        until(lambda: prometheus.value("sessions_ingested_total") == 42, "42 sessions in Prometheus")
        resets = prometheus.value("resets(sessions_ingested_total[10m])")
        make_all_metrics_appear(backend)
        until(
            lambda: prometheus.value('sum(m3w_rejected_payloads_total{code="INVALID_SCHEMA"})'), "a rejection"
        )
        known = set(prometheus.get("label/__name__/values"))
        targets = prometheus.get("targets")["activeTargets"]

    assert statuses == [200] * 42
    assert resets == 0
    assert [(scraped["labels"], scraped["lastError"]) for scraped in targets] == [
        ({"instance": target, "job": "m3w"}, "")
    ]
    assert {name for name in names_in_rules() if name not in known and f"{name}_count" not in known} == set()


def make_all_metrics_appear(backend: Backend) -> None:
    """Those with labels are not there before something has happened."""
    assert backend.post(a_payload(sessionId="one")) == 200
    assert backend.post(a_payload(sessionId="another", timestamp=-1)) == 400


def rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted((FILES / "rules").glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def cases() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted((FILES / "tests").glob("*.yml"))]
    return [case for file in files for case in file["tests"]]


def course_of(case: dict[str, Any]) -> dict[str, list[bool]]:
    """Whether each alert of a case fires, in the order of time."""
    course: dict[str, list[tuple[int, bool]]] = {}
    for check in case["alert_rule_test"]:
        moment = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", check["eval_time"])
        assert moment is not None
        minutes, seconds = moment.groups("0")
        moment_s = int(minutes) * 60 + int(seconds)
        course.setdefault(check["alertname"], []).append((moment_s, bool(check.get("exp_alerts"))))
    return {alert: [fires for _, fires in sorted(moments)] for alert, moments in course.items()}


def numbers_of(case: dict[str, Any]) -> dict[str, str]:
    """The series of the replica that leads, by name."""
    series = {each["series"]: each["values"] for each in case["input_series"]}
    return {name.partition("{")[0]: values for name, values in series.items() if "leader" in name}


def expression_of(alert: str) -> str:
    (rule,) = (rule for rule in rules() if rule["alert"] == alert)
    return str(rule["expr"])


def alerts() -> set[str]:
    return {rule["alert"] for rule in rules()}


def names_in_rules() -> set[str]:
    """Every metric that a rule or its advice names; of a histogram perhaps without its ending."""
    text = " ".join(f"{rule['expr']} {rule['annotations']['description']}" for rule in rules())
    names = set(re.findall(r"\b(?:m3w|sessions)_\w+", text))
    assert len(names) > 8
    return names
