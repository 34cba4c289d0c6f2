"""
When the housekeeper's gauges have a value, and when they are NaN.
"""

from __future__ import annotations

import math

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from m3w_core.recent_qoe import RecentQoe
from m3w_http import housekeeper
from m3w_http.housekeeping_metrics import HousekeepingMetrics

RECENT = RecentQoe(
    sessions=120,
    rebuffer_ratio=0.015,
    playback_failure_ratio=0.25,
    exit_before_video_start_ratio=0.0,
    startup_p95_s=1.5,
)


@pytest.fixture
def metrics():
    return HousekeepingMetrics(["gauges"])


def qoe(metrics):
    """Give the gauges that are not NaN."""
    return {
        sample.name.removeprefix("m3w_qoe_"): sample.value
        for family in text_string_to_metric_families(generate_latest(metrics._registry).decode())
        for sample in family.samples
        if sample.name.startswith("m3w_qoe") and not math.isnan(sample.value)
    }


def test_nothing_is_known_at_first(metrics):
    """
    A zero would be the best of all numbers.
    """
    assert qoe(metrics) == {}


def test_the_numbers_are_there_until_another_leads(metrics):
    """
    What was true an hour ago is no news.
    """
    metrics.leads(True)
    metrics.qoe(RECENT)
    metrics.leads(True)
    known = qoe(metrics)
    metrics.leads(False)

    assert known == {
        "sessions": 120,
        "rebuffer_ratio": 0.015,
        "playback_failure_ratio": 0.25,
        "exit_before_video_start_ratio": 0,
        "startup_p95_seconds": 1.5,
    }
    assert qoe(metrics) == {}


def test_a_number_that_no_session_gives_is_not_known(metrics):
    """
    An empty hour has a count of sessions, and nothing else.
    """
    metrics.qoe(
        RecentQoe(
            sessions=0,
            rebuffer_ratio=None,
            playback_failure_ratio=None,
            exit_before_video_start_ratio=None,
            startup_p95_s=None,
        )
    )

    assert qoe(metrics) == {"sessions": 0}


class Refuses:
    """A connection on which nothing succeeds."""

    def run(self, statement):
        raise OSError(statement)


def test_numbers_that_cannot_be_read_anew_are_not_known_any_more():
    """
    Neither by an alert nor by a dashboard may they be taken for those of now.
    """
    (gauges, *_), metrics = housekeeper._tasks(90)
    metrics.qoe(RECENT)
    with pytest.raises(OSError, match="qoe_totals"):
        gauges.run(Refuses())

    assert gauges.name == "gauges"
    assert qoe(metrics) == {}


@pytest.mark.parametrize(
    ("days", "names"), [(0, ["gauges", "rollup"]), (1, ["gauges", "rollup", "retention"])]
)
def test_nothing_is_deleted_where_everything_is_kept(days, names):
    """
    ``RETENTION_DAYS=0`` is no age of zero.
    """
    tasks, _ = housekeeper._tasks(days)

    assert [task.name for task in tasks] == names
