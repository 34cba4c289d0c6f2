"""
What the alerts on viewers say, held against the dashboards that they send people to.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.builder import definitions

ROOT = Path(__file__).parents[2]
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "prometheus" / "rules" / "qoe.yml").read_text())["groups"]
    for rule in group["rules"]
}
# By what the dashboards count in, to what the gauges do.
SHOWN = {
    "M3WRebuffering": (definitions.REBUFFER_PERCENTAGE, 100),
    "M3WPlaybackFailures": (definitions.FAILURE_PERCENTAGE, 100),
    "M3WExitsBeforeStart": (definitions.EBVS_PERCENTAGE, 100),
    "M3WSlowStartup": (definitions.STARTUP_P95, 1000),
}


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_fires_at_what_dashboards_show_as_bad(alert):
    """
    Who is called by an alert finds the panel red.
    """
    definition, factor = SHOWN[alert]
    threshold = re.search(r"> ([0-9.]+) and", RULES[alert]["expr"])

    assert threshold is not None
    assert definition.thresholds is not None
    assert float(threshold[1]) * factor == pytest.approx(definition.thresholds.bad)


def test_the_dashboards_that_alerts_name_are_there():
    """
    By their uids.
    """
    uids = {json.loads(path.read_text())["uid"] for path in (ROOT / "grafana" / "dashboards").glob("*.json")}
    named = {
        alert: set(re.findall(r"/d/([\w-]+)", rule["annotations"]["description"]))
        for alert, rule in RULES.items()
    }

    assert all(named.values())
    assert set().union(*named.values()) <= uids
