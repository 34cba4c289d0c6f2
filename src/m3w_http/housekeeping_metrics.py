"""
What Prometheus is told by the housekeeper, the one process that computes it.

What it does not know is NaN, on which no alert fires: before the first answer, while another replica leads, and
while the database does not answer. When the process dies its gauges go with it, and only its counters stay.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from m3w_core.housekeeping import LEADERSHIP
from m3w_core.recent_qoe import RecentQoe
from m3w_core.retention import TABLES


class HousekeepingMetrics:
    """
    The metrics of a housekeeper; a `m3w_core.housekeeping.HousekeepingObserver`.

    Args:
        tasks: Names of what it does.
    """

    def __init__(self, tasks: Iterable[str]) -> None:
        self._registry = registry = CollectorRegistry()
        names = (LEADERSHIP, *tasks)
        self._sessions = self._gauge("m3w_qoe_sessions", "Sessions of the last hour that have ended.")
        self._rebuffer = self._gauge("m3w_qoe_rebuffer_ratio", "Rebuffer time / watch time of the last hour.")
        self._failures = self._gauge(
            "m3w_qoe_playback_failure_ratio", "Sessions of the last hour with a fatal error / sessions."
        )
        self._exits = self._gauge(
            "m3w_qoe_exit_before_video_start_ratio",
            "Sessions of the last hour left before the first frame / sessions.",
        )
        self._startup = self._gauge("m3w_qoe_startup_p95_seconds", "95th percentile of the last hour.")
        self._leader = self._gauge(
            "m3w_housekeeping_leader", "1 where this replica does the housekeeping, else 0."
        )
        self._leader.set(0)
        self._succeeded_at = self._gauge(
            "m3w_housekeeping_last_success_timestamp_seconds", "When a task was last done.", names
        )
        self._failed = Counter(
            "m3w_housekeeping_failures",
            "Attempts at a task that failed and are repeated.",
            ("task",),
            registry=registry,
        )
        for name in names:
            self._failed.labels(name)
        self._deleted = Counter(
            "m3w_retention_deleted_rows", "Rows deleted for their age.", ("table",), registry=registry
        )
        for table in TABLES:
            self._deleted.labels(table)

    def _gauge(self, name: str, text: str, tasks: Iterable[str] = ()) -> Gauge:
        gauge = Gauge(
            name,
            text,
            ("task",) if tasks else (),
            registry=self._registry,
            # Of the one housekeeper that lives: the file of one that died is removed.
            multiprocess_mode="livemostrecent",
        )
        for unknown in [gauge.labels(task) for task in tasks] or [gauge]:
            unknown.set(math.nan)
        return gauge

    def leads(self, leader: bool) -> None:
        """Take note of whether this process is the leader; the numbers of another are not ours to tell."""
        self._leader.set(leader)
        if not leader:
            self.qoe_unknown()

    def succeeded(self, task: str) -> None:
        """Note the time."""
        self._succeeded_at.labels(task).set(time.time())

    def failed(self, task: str) -> None:
        """Count a failure."""
        self._failed.labels(task).inc()

    def deleted(self, table: str, rows: int) -> None:
        """Count rows that were too old."""
        self._deleted.labels(table).inc(rows)

    def qoe(self, recent: RecentQoe) -> None:
        """Show the numbers of the last hour."""
        self._sessions.set(recent.sessions)
        for gauge, value in (
            (self._rebuffer, recent.rebuffer_ratio),
            (self._failures, recent.playback_failure_ratio),
            (self._exits, recent.exit_before_video_start_ratio),
            (self._startup, recent.startup_p95_s),
        ):
            gauge.set(math.nan if value is None else value)

    def qoe_unknown(self) -> None:
        """Show none: old numbers must not be taken for those of now."""
        for gauge in (self._sessions, self._rebuffer, self._failures, self._exits, self._startup):
            gauge.set(math.nan)
