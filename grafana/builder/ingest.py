"""
The dashboard Ingest: is the service well, and if not, where is it stuck?

It asks Prometheus only, so that it has an answer while the database is away.
"""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Chart

from grafana.builder import service
from grafana.builder.definition import Definition
from grafana.builder.frame import new_dashboard
from grafana.builder.panels import chart, heat, stat_panel
from grafana.builder.queries import promql

_V1 = 'route=~"/v1/.*"'
_APPS = 'code!~"NOT_FOUND|METHOD_NOT_ALLOWED"'
_REQUESTS = "m3w_http_request_duration_seconds"


def _errors(window: str) -> str:
    return (
        f'(sum(rate({_REQUESTS}_count{{{_V1},status=~"5.."}}[{window}])) or vector(0))'
        f" / (sum(rate({_REQUESTS}_count{{{_V1}}}[{window}])) > 0)"
    )


def _rejected(window: str) -> str:
    rejected = f"(sum(rate(m3w_rejected_payloads_total{{{_APPS}}}[{window}])) or vector(0))"
    return f"{rejected} / (({rejected} + sum(rate(sessions_ingested_total[{window}]))) > 0)"


def _rate(metric: str, window: str = "$__rate_interval") -> str:
    return f"sum(rate({metric}[{window}]))"


def _by(label: str, metric: str) -> str:
    return f"sum by ({label}) (rate({metric}[$__rate_interval]))"


def _quantile(share: float, metric: str, matchers: str = "", window: str = "$__rate_interval") -> str:
    selected = f"{metric}_bucket{{{matchers}}}" if matchers else f"{metric}_bucket"
    return f"histogram_quantile({share}, sum by (le) (rate({selected}[{window}])))"


def _stat(definition: Definition, expression: str) -> Stat:
    return stat_panel(definition, promql(expression, instant=True), width=3)


def _chart(definition: Definition, series: Mapping[str, str], *, width: int, stacked: bool = False) -> Chart:
    """Draw expressions by the names of their series."""
    queries = [promql(expression, legend) for legend, expression in series.items()]
    return chart(definition.title, [definition], *queries, width=width, stacked=stacked)


def ingest() -> Dashboard:
    """Build it."""
    dashboard = new_dashboard(
        "m3w-ingest",
        "Media3Watch Ingest",
        "Is the service well, and if not, where is it stuck?",
        since="now-3h",
        refresh="30s",
    )
    for add in (_summary, _requests, _rejections, _database, _processes, _housekeeping, _alerts):
        add(dashboard)
    return dashboard


def _summary(dashboard: Dashboard) -> None:
    dashboard.with_row(Row("Is it well?"))
    for definition, expression in {
        service.BACKENDS_DOWN: 'count(up{job="m3w"} == 0) or (count(up{job="m3w"}) * 0)',
        service.WORKERS: "sum(m3w_workers)",
        service.RESTARTS: "sum(increase(m3w_worker_restarts_total[$__range]))",
        service.SESSIONS_STORED: _rate("sessions_ingested_total", "$__range"),
        service.SERVER_ERRORS: _errors("$__range"),
        service.LATENCY: _quantile(0.99, _REQUESTS, _V1, "$__range"),
        service.REJECTED_SHARE: _rejected("$__range"),
        service.QUEUE: "sum(m3w_queue_sessions)",
    }.items():
        dashboard.with_panel(_stat(definition, expression))


def _requests(dashboard: Dashboard) -> None:
    by_status = {"{{route}} {{status}}": _by("route, status", f"{_REQUESTS}_count")}
    latency = {"median": _quantile(0.5, _REQUESTS, _V1), "p99": _quantile(0.99, _REQUESTS, _V1)}
    buckets = promql(_by("le", f"{_REQUESTS}_bucket{{{_V1}}}"), heatmap=True)
    dashboard.with_row(Row("Requests"))
    dashboard.with_panel(_chart(service.REQUESTS, by_status, width=12, stacked=True))
    dashboard.with_panel(_chart(service.LATENCY, latency, width=12))
    dashboard.with_panel(heat(service.LATENCY_DISTRIBUTION, buckets))
    dashboard.with_panel(
        _chart(service.SESSIONS_STORED, {"stored": _rate("sessions_ingested_total")}, width=12)
    )
    dashboard.with_panel(
        _chart(
            service.SESSIONS_BY_KEY, {"{{key}}": _by("key", "m3w_key_sessions_total")}, width=12, stacked=True
        )
    )
    dashboard.with_panel(
        _chart(service.SESSIONS_FAILED, {"not stored": _rate("sessions_failed_total")}, width=12)
    )


def _rejections(dashboard: Dashboard) -> None:
    by_code = {"{{code}}": _by("code", "m3w_rejected_payloads_total")}
    by_field = {"{{field}}": _by("field", "m3w_rejected_fields_total")}
    kept = {
        "kept": _rate("m3w_rejected_payloads_kept_total"),
        "not kept: {{cause}}": _by("cause", "m3w_rejected_payloads_dropped_total"),
    }
    dashboard.with_row(Row("What is turned away"))
    dashboard.with_panel(_chart(service.REJECTED_SHARE, {"rejected": _rejected("$__rate_interval")}, width=6))
    dashboard.with_panel(_chart(service.REJECTED_BY_CODE, by_code, width=6, stacked=True))
    dashboard.with_panel(_chart(service.REJECTED_BY_FIELD, by_field, width=6, stacked=True))
    dashboard.with_panel(_chart(service.REJECTED_KEPT, kept, width=6))


def _database(dashboard: Dashboard) -> None:
    mean = f"{_rate('m3w_batch_sessions_sum')} / ({_rate('m3w_batch_sessions_count')} > 0)"
    time = {
        "median": _quantile(0.5, "m3w_batch_write_seconds"),
        "p99": _quantile(0.99, "m3w_batch_write_seconds"),
    }
    dashboard.with_row(Row("Writing to the database"))
    dashboard.with_panel(_chart(service.QUEUE, {"waiting": "sum(m3w_queue_sessions)"}, width=8))
    dashboard.with_panel(
        _chart(service.BATCH_SIZE, {"mean": mean, "p95": _quantile(0.95, "m3w_batch_sessions")}, width=8)
    )
    dashboard.with_panel(_chart(service.DATABASE_TIME, time, width=8))
    dashboard.with_panel(
        _chart(service.CONNECTIONS, {"in use": _rate("m3w_batch_write_seconds_sum")}, width=12)
    )
    dashboard.with_panel(
        _chart(service.BATCH_FAILURES, {"failed": _rate("m3w_batch_failures_total")}, width=12)
    )


def _processes(dashboard: Dashboard) -> None:
    restarts = "sum(increase(m3w_worker_restarts_total[$__rate_interval]))"
    dashboard.with_row(Row("Processes"))
    dashboard.with_panel(
        chart(
            "Workers and restarts",
            [service.WORKERS, service.RESTARTS],
            promql("sum(m3w_workers)", "workers"),
            promql(restarts, "restarts"),
            width=6,
        )
    )
    dashboard.with_panel(_chart(service.CPU, {"cores": _rate("m3w_process_cpu_seconds")}, width=6))
    dashboard.with_panel(
        _chart(service.MEMORY, {"resident": "sum(m3w_process_resident_memory_bytes)"}, width=6)
    )
    dashboard.with_panel(_chart(service.OPEN_FILES, {"open": "sum(m3w_process_open_fds)"}, width=6))


def _housekeeping(dashboard: Dashboard) -> None:
    last = "max by (task) (m3w_housekeeping_last_success_timestamp_seconds"
    failures = "sum by (task) (increase(m3w_housekeeping_failures_total[$__rate_interval]))"
    deleted = "sum by (table) (increase(m3w_retention_deleted_rows_total[$__rate_interval]))"
    dashboard.with_row(Row("Housekeeping"))
    dashboard.with_panel(
        _chart(service.TASK_AGE, {"{{task}}": f'time() - {last}{{task!="retention"}})'}, width=6)
    )
    dashboard.with_panel(
        _chart(service.RETENTION_AGE, {"{{task}}": f'time() - {last}{{task="retention"}})'}, width=6)
    )
    dashboard.with_panel(_chart(service.TASK_FAILURES, {"{{task}}": failures}, width=6))
    dashboard.with_panel(_chart(service.DELETED_ROWS, {"{{table}}": deleted}, width=6, stacked=True))


def _alerts(dashboard: Dashboard) -> None:
    dashboard.with_row(Row("Viewers of the last hour, as the alerts see them"))
    for definition, width in zip(service.ALERTED, (5, 5, 5, 5, 4), strict=True):
        dashboard.with_panel(_chart(definition, {definition.title: f"max({definition.query})"}, width=width))
