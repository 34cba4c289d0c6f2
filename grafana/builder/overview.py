"""
The dashboard Overview: how do viewers fare, now and over the time range, and can the numbers be believed?

The row "At this moment" pays no heed to the time range, as nobody watches in the past.
"""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row

from grafana.builder import definitions as qoe
from grafana.builder import trust
from grafana.builder.definition import Definition
from grafana.builder.frame import KEEP_ALL, new_dashboard, with_filters
from grafana.builder.panels import chart, heat, listing, number, setting, stat_panel
from grafana.builder.queries import FILTERS, RANGE, STEP, Sql, pick_all

#: Upper bounds of the rows of the heatmap, in milliseconds; those of the SQL function.
STARTUP_BOUNDS_MS = (
    100, 250, 500, 750, 1000, 1500, 2000, 3000, 4000, 5000, 7500, 10000, 15000, 20000, 30000, 60000,
)  # fmt: skip


def _total(metric: Definition) -> Sql:
    return Sql(f"""
SELECT value AS "{metric.title}"
FROM qoe_totals({RANGE},
    {FILTERS})
WHERE metric = '{metric.name}'
""")


def _live(metric: Definition) -> Sql:
    return Sql(f"""
SELECT value AS "{metric.title}"
FROM qoe_live({FILTERS})
WHERE metric = '{metric.name}'
""")


def _series(columns: Mapping[str, Definition]) -> Sql:
    names = ", ".join(f"'{metric.name}'" for metric in columns.values())
    return Sql(
        f"""
SELECT
    at AS "time",
    {pick_all(columns)}
FROM qoe_series({RANGE}, {STEP},
    {FILTERS})
WHERE metric IN ({names})
GROUP BY at
ORDER BY at
""",
        time_series=True,
    )


def _heatmap() -> Sql:
    buckets = [
        f"""sum(sessions) FILTER (WHERE upper_bound_ms = {bound}) AS "{bound}\""""
        for bound in STARTUP_BOUNDS_MS
    ]
    buckets.append("""sum(sessions) FILTER (WHERE upper_bound_ms = 'Infinity') AS "+Inf\"""")
    columns = ",\n    ".join(buckets)
    return Sql(
        f"""
SELECT
    at AS "time",
    {columns}
FROM qoe_startup_histogram({RANGE}, {STEP},
    {FILTERS})
GROUP BY at
ORDER BY at
""",
        time_series=True,
    )


_EVIDENCE = Sql(f"""
SELECT
    metric AS "Number",
    numerator AS "Numerator",
    denominator AS "Denominator",
    sessions AS "Sessions",
    left_out AS "Left out",
    (SELECT string_agg(key || ': ' || value, ', ' ORDER BY key) FROM jsonb_each_text(left_out_because)) AS "Because"
FROM qoe_totals({RANGE},
    {FILTERS})
""")

_LIST = DashboardLink("Which sessions are these?").url(f"/d/m3w-sessions?{KEEP_ALL}")

_REJECTED = Sql(f"""
SELECT count(*) AS "{trust.REJECTED.title}"
FROM rejections
WHERE received_at >= $__timeFrom()::timestamptz AND received_at < $__timeTo()::timestamptz
""")

_REJECTED_BECAUSE = Sql("""
SELECT
    reason AS "Reason",
    code AS "Code",
    received_via AS "Key",
    count(*) AS "Payloads",
    max(received_at) AS "Last"
FROM rejections
WHERE received_at >= $__timeFrom()::timestamptz AND received_at < $__timeTo()::timestamptz
GROUP BY reason, code, received_via
ORDER BY count(*) DESC, reason
LIMIT 100
""")


def _worst(metric: Definition) -> DashboardLink:
    return DashboardLink("Who is worst?").url(f"/d/m3w-breakdown?{KEEP_ALL}&var-worst_by={metric.name}")


def overview() -> Dashboard:
    """Build it."""
    dashboard = with_filters(
        new_dashboard(
            "m3w-overview",
            "Media3Watch Overview",
            "How do viewers fare, now and over the time range, and can the numbers be believed?",
            since="now-24h",
            refresh="1m",
        )
    )
    dashboard.with_row(Row("At this moment"))
    for metric, width in zip(qoe.NOW, (4, 5, 5, 5, 5), strict=True):
        dashboard.with_panel(stat_panel(metric, _live(metric), width=width))
    dashboard.with_row(Row("The time range"))
    for metric in (
        qoe.SESSIONS,
        qoe.STARTUP_P50,
        qoe.STARTUP_P95,
        qoe.REBUFFER_PERCENTAGE,
        qoe.FAILURE_PERCENTAGE,
        qoe.START_FAILURE_PERCENTAGE,
        qoe.EBVS_PERCENTAGE,
        qoe.AVERAGE_BITRATE,
    ):
        leads_to = _LIST if metric is qoe.SESSIONS else _worst(metric)
        dashboard.with_panel(stat_panel(metric, _total(metric), width=3, leads_to=leads_to))
    dashboard.with_row(Row("Over time"))
    dashboard.with_panel(
        chart(
            "Sessions and plays",
            [qoe.PLAYS, qoe.SESSIONS],
            _series({"Sessions": qoe.SESSIONS, "Plays": qoe.PLAYS}),
        )
    )
    dashboard.with_panel(
        chart(
            "Failures and exits before video start",
            [qoe.EBVS_PERCENTAGE, qoe.START_FAILURE_PERCENTAGE, qoe.FAILURE_PERCENTAGE],
            _series(
                {
                    "Playback failures": qoe.FAILURE_PERCENTAGE,
                    "Video start failures": qoe.START_FAILURE_PERCENTAGE,
                    "Exits before video start": qoe.EBVS_PERCENTAGE,
                }
            ),
        )
    )
    dashboard.with_panel(
        chart(
            "Startup time",
            [qoe.STARTUP_P50, qoe.STARTUP_P95],
            _series({"Median": qoe.STARTUP_P50, "p95": qoe.STARTUP_P95}),
        )
    )
    dashboard.with_panel(heat(qoe.STARTUP_DISTRIBUTION, _heatmap()))
    for metric in (qoe.REBUFFER_PERCENTAGE, qoe.REBUFFER_FREQUENCY, qoe.DROPPED_FRAME_RATE):
        dashboard.with_panel(chart(metric.title, [metric], _series({metric.title: metric}), width=8))
    for metric in (qoe.AVERAGE_BITRATE, qoe.WATCH_TIME):
        dashboard.with_panel(chart(metric.title, [metric], _series({metric.title: metric})))
    dashboard.with_row(Row("Can the numbers be believed?"))
    shares = [metric for metric in trust.TRUST if metric.name and metric.query == "qoe_totals"]
    for metric, width in zip(shares, (4, 4, 4, 3, 3, 3), strict=True):
        dashboard.with_panel(stat_panel(metric, _total(metric), width=width))
    dashboard.with_panel(stat_panel(trust.REJECTED, _REJECTED, width=3))
    dashboard.with_panel(
        listing(
            trust.EVIDENCE.title,
            [trust.EVIDENCE],
            _EVIDENCE,
            columns={
                name: [setting("unit", "short")]
                for name in ("Numerator", "Denominator", "Sessions", "Left out")
            },
            width=14,
            height=10,
        )
    )
    return dashboard.with_panel(
        listing(
            "Rejected payloads, by reason",
            [trust.REJECTED],
            _REJECTED_BECAUSE,
            columns={
                "Payloads": number(trust.REJECTED),
                "Last": [setting("unit", "dateTimeAsIso")],
            },
            width=10,
            height=10,
        )
    )
