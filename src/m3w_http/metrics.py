"""
What Prometheus is told.

Workers are processes: prometheus-client keeps each one's values in files of ``PROMETHEUS_MULTIPROC_DIR`` and adds
them up in the worker that is scraped. The variable must be set before this module is imported; without it (in
tests, or under another server) the values are those of this process alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.registry import Collector

from m3w_core import Problem, StorageUnavailableError
from m3w_core.rejected import bad_field_names
from m3w_http.tally import CounterTally, HistogramTally

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

# With several workers there are none, as times cannot be added up; so that one worker's names are the same.
disable_created_metrics()  # type: ignore[no-untyped-call]


@frozen
class _AllProcesses(Collector):
    """What all processes have written, as prometheus-client's own collector, which an empty file would end."""

    directory: str

    def collect(self) -> Iterable[Metric]:
        # An empty one is that of a process that is just starting: it is made first, and given its size then.
        files = [str(path) for path in Path(self.directory).glob("*.db") if not _is_empty(path)]
        merged: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        # Of a process that has just died.
        return True


class Metrics:
    """
    The metrics of one process, in a registry of their own.

    The two ``sessions_…`` names are those of the Kotlin backend; all others begin with ``m3w_``.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._ingested = CounterTally(
            Counter("sessions_ingested", "Sessions stored and acknowledged.", registry=registry)
        )
        self.failed = Counter(
            "sessions_failed", "Sessions that the database did not take in time.", registry=registry
        )
        self._requests = HistogramTally(
            Histogram(
                "m3w_http_request_duration_seconds",
                "From the request's head to the answer's end.",
                ("method", "route", "status"),
                buckets=_LATENCY_BUCKETS,
                registry=registry,
            ),
            _LATENCY_BUCKETS,
        )
        self._rejected = Counter(
            "m3w_rejected_payloads",
            "Payloads turned away, by error code.",
            ("code",),
            registry=registry,
        )
        self._rejected_fields = Counter(
            "m3w_rejected_fields", "Rejected payloads, by bad field.", ("field",), registry=registry
        )
        self._rejected_kept = Counter(
            "m3w_rejected_payloads_kept", "Rejected payloads written for replay.", registry=registry
        )
        self._rejected_dropped = Counter(
            "m3w_rejected_payloads_dropped",
            "Rejected payloads that are not kept: too many at once (rate, full), refused by the database, or"
            " displaced in a full table.",
            ("cause",),
            registry=registry,
        )
        self._key_sessions = CounterTally(
            Counter(
                "m3w_key_sessions",
                "Sessions stored and acknowledged, by the API key's name.",
                ("key",),
                registry=registry,
            )
        )
        self._batch_sessions = Histogram(
            "m3w_batch_sessions", "Sessions written by one commit.", buckets=_BATCH_BUCKETS, registry=registry
        )
        self._batch_seconds = Histogram(
            "m3w_batch_write_seconds", "Time to write one batch.", buckets=_LATENCY_BUCKETS, registry=registry
        )
        self._batch_failures = Counter(
            "m3w_batch_failures",
            "Attempts to write a batch that failed and were repeated.",
            registry=registry,
        )
        self._waiting = Gauge(
            "m3w_queue_sessions",
            "Sessions that wait for their commit.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._cpu = Gauge(
            "m3w_process_cpu_seconds",
            "CPU time of the workers that run.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._memory = Gauge(
            "m3w_process_resident_memory_bytes",
            "Resident memory of the workers that run.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._open_files = Gauge(
            "m3w_process_open_fds",
            "Open file descriptors of the workers that run.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._workers = Gauge(
            "m3w_workers", "Workers that run.", registry=registry, multiprocess_mode="livesum"
        )
        self._workers.set(1)

    def request_finished(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request and its latency; *route* is the template, never the path that was asked for."""
        self._requests.observe(seconds, method, route, status)

    def stored(self, key_name: str, sessions: int = 1) -> None:
        """Count sessions that were stored and acknowledged."""
        self._ingested.inc(by=sessions)
        self._key_sessions.inc(key_name, by=sessions)

    def refused(self, status: int) -> None:
        """Count a request that was answered before the application saw it."""
        self.request_finished("other", "other", status, 0)

    def payload_rejected(self, code: str, problems: Sequence[Problem]) -> None:
        """Count one request that was turned away, and each field that was bad, unknown names as ``other``."""
        self._rejected.labels(code).inc()
        for field in bad_field_names(problems):
            self._rejected_fields.labels(field).inc()

    def rejected_kept(self, count: int) -> None:
        """Count rejected payloads that were written."""
        self._rejected_kept.inc(count)

    def rejected_dropped(self, cause: str, count: int) -> None:
        """Count rejected payloads that are not kept, or no longer."""
        self._rejected_dropped.labels(cause).inc(count)

    def hand_on(self) -> None:
        """Show what was counted to all workers; until then, only this one knows."""
        self._ingested.hand_on()
        self._key_sessions.hand_on()
        self._requests.hand_on()

    def batch_written(self, sessions: int, seconds: float) -> None:
        """Count one committed batch, see `m3w_core.WriterObserver`."""
        self._batch_sessions.observe(sessions)
        self._batch_seconds.observe(seconds)

    def batch_failed(self, error: StorageUnavailableError) -> None:  # noqa: ARG002 - the observer's signature
        """Count one failed attempt, see `m3w_core.WriterObserver`."""
        self._batch_failures.inc()

    def sample(self, waiting: int) -> None:
        """Take the figures that have to be looked up; called every now and then, as no worker is asked directly."""
        self.hand_on()
        self._waiting.set(waiting)
        figures = {
            sample.name: sample.value
            for metric in ProcessCollector(registry=None).collect()
            for sample in metric.samples
        }
        # Empty where the system has no /proc.
        self._cpu.set(figures.get("process_cpu_seconds_total", 0))
        self._memory.set(figures.get("process_resident_memory_bytes", 0))
        self._open_files.set(figures.get("process_open_fds", 0))

    def render(self) -> bytes:
        """Write the sum over all workers in Prometheus' text format; of the others, up to the last second."""
        self.hand_on()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        everyone.register(_AllProcesses(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        return generate_latest(everyone)
