"""
What the numbers of the service mean, which Prometheus reads from ``/metrics``.

Thresholds are those at which the alerts of ``prometheus/rules`` fire, where there is one.
"""

from __future__ import annotations

from typing import Final

from grafana.builder.definition import Definition, Thresholds


def _of_service(
    title: str,
    formula: str,
    query: str,
    unit: str,
    thresholds: Thresholds | None = None,
    decimals: int | None = None,
) -> Definition:
    return Definition(
        name=title.lower().replace(" ", "_"),
        title=title,
        formula=formula,
        source="the backend's own metrics",
        query=query,
        unit=unit,
        thresholds=thresholds,
        decimals=decimals,
    )


BACKENDS_DOWN: Final = _of_service(
    "Backends down",
    "Backends that Prometheus cannot read; with ENABLE_METRICS=false there is nothing to read.",
    "up",
    "short",
    Thresholds(1, 1),
)
SESSIONS_STORED: Final = _of_service(
    "Sessions stored",
    "Summaries acknowledged in a second, after their commit. SDK 1.x sends one every 15 s while a session plays, so"
    " this counts summaries, not viewers.",
    "sessions_ingested_total",
    "cps",
)
SESSIONS_FAILED: Final = _of_service(
    "Sessions not stored",
    "Summaries in a second that the database did not take in time, answered 503; SDK 1.x sends them again.",
    "sessions_failed_total",
    "cps",
    Thresholds(0.01, 1),
)
REQUESTS: Final = _of_service(
    "Requests",
    "Requests answered in a second, by route and status.",
    "m3w_http_request_duration_seconds_count",
    "reqps",
)
SERVER_ERRORS: Final = _of_service(
    "Server errors",
    "Requests to /v1 answered with 5xx ÷ requests to /v1. 503 is the database, 500 a bug.",
    "m3w_http_request_duration_seconds_count",
    "percentunit",
    Thresholds(0.005, 0.02),
    decimals=2,
)
LATENCY: Final = _of_service(
    "Latency",
    "From a request's head to its answer's end, requests to /v1; the answer comes after the commit. The median and"
    " the slowest in a hundred. Apps give up after 10 s.",
    "m3w_http_request_duration_seconds_bucket",
    "s",
    Thresholds(0.5, 1),
)
LATENCY_DISTRIBUTION: Final = _of_service(
    "Latency, distribution",
    "Requests to /v1 in a second by how long they took: each row is named by its upper bound, and the darker it is,"
    " the more requests it has.",
    "m3w_http_request_duration_seconds_bucket",
    "s",
)
REJECTED_SHARE: Final = _of_service(
    "Rejected share",
    "Payloads turned away ÷ payloads; without those who look for other paths than ours, as they are no apps. Apps"
    " throw away what is turned away.",
    "m3w_rejected_payloads_total",
    "percentunit",
    Thresholds(0.02, 0.1),
    decimals=2,
)
REJECTED_BY_CODE: Final = _of_service(
    "Rejected, by code",
    "Payloads turned away in a second, by the error code of the answer.",
    "m3w_rejected_payloads_total",
    "reqps",
)
REJECTED_BY_FIELD: Final = _of_service(
    "Rejected, by field",
    "Payloads turned away in a second, by each field that was bad: which release of the SDK or of an app sends it?",
    "m3w_rejected_fields_total",
    "reqps",
)
QUEUE: Final = _of_service(
    "Queue",
    "Sessions that wait for their commit, in all workers.",
    "m3w_queue_sessions",
    "short",
    Thresholds(500, 1_000),
)
BATCH_SIZE: Final = _of_service(
    "Batch size",
    "Sessions written by one commit: the mean and the largest in twenty. It grows with the load; that is how a slow"
    " database is kept up with.",
    "m3w_batch_sessions",
    "short",
)
DATABASE_TIME: Final = _of_service(
    "Database time",
    "Time to write one batch, from its start to its commit: the median and the slowest in a hundred.",
    "m3w_batch_write_seconds",
    "s",
    Thresholds(0.25, 1),
)
CONNECTIONS: Final = _of_service(
    "Connections in use",
    "Connections that write at a moment, on average: the time spent writing ÷ time. Near the number of connections"
    " of all workers, the database is the limit.",
    "m3w_batch_write_seconds_sum",
    "none",
    decimals=2,
)
BATCH_FAILURES: Final = _of_service(
    "Failed batches",
    "Attempts to write a batch that failed and were repeated, in a second.",
    "m3w_batch_failures_total",
    "none",
    Thresholds(0.01, 0.1),
    decimals=2,
)
RESTARTS: Final = _of_service(
    "Worker restarts",
    "Workers that died and were replaced. What they had not acknowledged is sent again by apps that try again.",
    "m3w_worker_restarts_total",
    "short",
    Thresholds(1, 3),
    decimals=0,
)
WORKERS: Final = _of_service("Workers", "Worker processes that run.", "m3w_workers", "short", decimals=0)
CPU: Final = _of_service(
    "CPU", "Cores that all workers keep busy, on average.", "m3w_process_cpu_seconds", "none", decimals=2
)
MEMORY: Final = _of_service(
    "Memory", "Resident memory of all workers.", "m3w_process_resident_memory_bytes", "bytes"
)
OPEN_FILES: Final = _of_service(
    "Open files",
    "Open file descriptors of all workers, connections among them.",
    "m3w_process_open_fds",
    "short",
)

SESSIONS_BY_KEY: Final = _of_service(
    "Sessions, by key",
    "Summaries acknowledged in a second, by the name of the API key that they came with.",
    "m3w_key_sessions_total",
    "cps",
)
REJECTED_KEPT: Final = _of_service(
    "Rejected and kept",
    "Payloads turned away in a second that are kept for `m3w rejected replay`, and those that are not, with the cause.",
    "m3w_rejected_payloads_kept_total",
    "reqps",
)
TASK_AGE: Final = _of_service(
    "Age of the rollup",
    "Time since the tasks that run each minute were last done: the rollup of the hours, the numbers for alerts, and"
    " being the replica that does them.",
    "m3w_housekeeping_last_success_timestamp_seconds",
    "s",
    Thresholds(180, 600),
)
RETENTION_AGE: Final = _of_service(
    "Age of retention",
    "Time since sessions older than RETENTION_DAYS were last deleted, which is done each hour.",
    "m3w_housekeeping_last_success_timestamp_seconds",
    "s",
    Thresholds(7_200, 21_600),
)
TASK_FAILURES: Final = _of_service(
    "Housekeeping failures",
    "Attempts at a task of housekeeping that failed and were repeated; the backend's log has the reason.",
    "m3w_housekeeping_failures_total",
    "short",
    Thresholds(1, 5),
    decimals=0,
)
DELETED_ROWS: Final = _of_service(
    "Deleted rows",
    "Rows deleted for their age, by table.",
    "m3w_retention_deleted_rows_total",
    "short",
    decimals=0,
)

_NO_LEADER: Final = " Nothing where no replica could read it."
ALERTED_REBUFFERING: Final = _of_service(
    "Rebuffering, last hour",
    "Σ rebuffer time ÷ Σ watch time of the last hour's sessions." + _NO_LEADER,
    "m3w_qoe_rebuffer_ratio",
    "percentunit",
    Thresholds(0.01, 0.02),
)
ALERTED_FAILURES: Final = _of_service(
    "Failures, last hour",
    "Sessions with a fatal error ÷ sessions of the last hour." + _NO_LEADER,
    "m3w_qoe_playback_failure_ratio",
    "percentunit",
    Thresholds(0.02, 0.05),
)
ALERTED_EXITS: Final = _of_service(
    "Exits before start, last hour",
    "Sessions left before the first frame, without an error ÷ sessions of the last hour." + _NO_LEADER,
    "m3w_qoe_exit_before_video_start_ratio",
    "percentunit",
    Thresholds(0.1, 0.2),
)
ALERTED_STARTUP: Final = _of_service(
    "Startup p95, last hour",
    "One session in twenty of the last hour took longer to its first frame." + _NO_LEADER,
    "m3w_qoe_startup_p95_seconds",
    "s",
    Thresholds(4, 8),
)
ALERTED_SESSIONS: Final = _of_service(
    "Sessions, last hour",
    "Sessions of the last hour that are over. Below 50 no alert on viewers fires." + _NO_LEADER,
    "m3w_qoe_sessions",
    "short",
)
#: What alerts on viewers look at.
ALERTED: Final = (ALERTED_REBUFFERING, ALERTED_FAILURES, ALERTED_EXITS, ALERTED_STARTUP, ALERTED_SESSIONS)

SERVICE: Final = (
    BACKENDS_DOWN,
    SESSIONS_STORED,
    SESSIONS_BY_KEY,
    SESSIONS_FAILED,
    REQUESTS,
    SERVER_ERRORS,
    LATENCY,
    LATENCY_DISTRIBUTION,
    REJECTED_SHARE,
    REJECTED_BY_CODE,
    REJECTED_BY_FIELD,
    REJECTED_KEPT,
    QUEUE,
    BATCH_SIZE,
    DATABASE_TIME,
    CONNECTIONS,
    BATCH_FAILURES,
    WORKERS,
    RESTARTS,
    CPU,
    MEMORY,
    OPEN_FILES,
    TASK_AGE,
    RETENTION_AGE,
    TASK_FAILURES,
    DELETED_ROWS,
    *ALERTED,
)
