"""
The incident of the demo, from the command to what somebody on call sees: the alerts, and the breakdown.
"""

from __future__ import annotations

import re
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests._databases import connect
from tests._serve import Backend, m3w, on, until
from tests.integration.test_prometheus import Prometheus, copy_of_files, needs_prometheus

WORST = """
SELECT dimension_value FROM {function}(now() - interval '24 hours', now(), :dimension)
WHERE metric = :metric AND total_sessions >= 30 ORDER BY value DESC NULLS LAST LIMIT 1
"""


@pytest.fixture
def database(migrated_database):
    """With an incident that began three hours ago."""
    with Backend((), on(migrated_database)) as backend:
        backend.until_ready()
        done = m3w("demo", "--incident", "--sessions", 2000, "--days", 2, "--url", backend.url)
    assert done.returncode == 0, done.stderr
    assert "SM-A546B on Cellular with app version 5.5.0, in the last 3 hours." in done.stdout
    return migrated_database


def alert_states(prometheus):
    found = prometheus.get("alerts")
    return (
        {} if found is None else {alert["labels"]["alertname"]: alert["state"] for alert in found["alerts"]}
    )


@needs_prometheus
def test_the_incident_fires_the_alerts_and_leads_the_breakdown(database, tmp_path):
    """
    The gauges of a real backend, scraped by a real Prometheus with our rules, of which only the patience is shorter.
    """
    with Backend((), on(database)) as backend:
        backend.until_ready()
        configuration = copy_of_files(
            tmp_path / "prometheus", urlsplit(backend.url).netloc, scrape_interval="1s"
        )
        hurry(configuration)
        with Prometheus(configuration, tmp_path / "data") as prometheus:
            # Waited for, with a limit: others may come and go, as each has only a second to be sure.
            expected = {"M3WPlaybackFailures": "firing", "M3WRebuffering": "firing"}
            until(lambda: expected.items() <= alert_states(prometheus).items(), "the alerts to fire")
    with closing(connect(database)) as connection:

        def worst(dimension, metric, function="qoe_breakdown"):
            sql = WORST.format(function=function)
            return connection.run(sql, dimension=dimension, metric=metric)[0][0]

        failures, rebuffering = "playback_failure_percentage", "rebuffer_percentage"

        assert [worst("device_model", metric) for metric in (failures, rebuffering)] == ["SM-A546B"] * 2
        assert [worst("connection_type", metric) for metric in (failures, rebuffering)] == ["Cellular"] * 2
        assert [worst("sdk_version", metric) for metric in (failures, rebuffering)] == ["1.3.0"] * 2
        assert worst("appVersion", failures, "qoe_breakdown_extra") == "5.5.0"


def hurry(configuration):
    """Let alerts fire after a second."""
    text = configuration.read_text()
    configuration.write_text(text.replace("evaluation_interval: 15s", "evaluation_interval: 1s"))
    for path in (configuration.parent / "rules").glob("*.yml"):
        path.write_text(re.sub(r"\bfor: \d+m", "for: 1s", path.read_text()))
