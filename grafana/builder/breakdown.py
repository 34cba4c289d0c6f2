"""
The dashboard Breakdown: who fares worse than the others?

Worst first, without groups too small to say anything. The field of the app's own is read from the sessions themselves,
as no rollup has it: over months that takes its time.
"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, Row
from grafana_foundation_sdk.builders.table import Panel
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, VariableOption, VariableRefresh

from grafana.builder import definitions as qoe
from grafana.builder.definition import Definition
from grafana.builder.frame import KEEP_TIME, LABELS, choice, new_dashboard, with_filters
from grafana.builder.panels import link, listing, number, setting
from grafana.builder.queries import FILTER_VARIABLES, FILTERS, POSTGRES, RANGE, Sql, pick_all

_COLUMNS: Final = {
    "Startup p50": qoe.STARTUP_P50,
    "Startup p95": qoe.STARTUP_P95,
    "Rebuffering": qoe.REBUFFER_PERCENTAGE,
    "Stalls a minute": qoe.REBUFFER_FREQUENCY,
    "Failures": qoe.FAILURE_PERCENTAGE,
    "Start failures": qoe.START_FAILURE_PERCENTAGE,
    "Exits before start": qoe.EBVS_PERCENTAGE,
    "Bitrate": qoe.AVERAGE_BITRATE,
    "Dropped frames": qoe.DROPPED_FRAME_RATE,
}

_BREAKDOWN: Final = Definition(
    name="breakdown",
    title="Breakdown",
    formula="The same numbers for each group of sessions, worst first by the number that the variable `Worst by` names;"
    " groups with fewer sessions than `At least` are hidden, as they say nothing.",
    source="this backend",
    query="qoe_breakdown",
    unit="none",
)
_BREAKDOWN_EXTRA: Final = Definition(
    name="breakdown_extra",
    title="Breakdown by a field of the app's own",
    formula="The same numbers for each value of the field of `extra` that the variable `Field` names: content, version"
    " of the app, CDN or whatever the app sends beside the SDK's fields.",
    source="this backend",
    query="qoe_breakdown_extra",
    unit="none",
)
BREAKDOWNS: Final = (_BREAKDOWN, _BREAKDOWN_EXTRA)

_TITLES: Final = {
    "device_model": "By device model",
    "os_version": "By Android version",
    "sdk_version": "By SDK version",
    "connection_type": "By connection type",
}
_METRICS: Final = tuple(_COLUMNS.values())


# Of the range's last day: what apps send changes with their releases, and all of it is too much to read.
# What Grafana would take for a macro of its own cannot be chosen.
_FIELDS: Final = r"""
SELECT field
FROM (
    SELECT extra
    FROM sessions
    WHERE event_at >= greatest($__timeFrom()::timestamptz, $__timeTo()::timestamptz - interval '1 day')
      AND event_at < $__timeTo()::timestamptz
      AND jsonb_typeof(extra) = 'object'
    LIMIT 10000
) AS recent
CROSS JOIN LATERAL jsonb_object_keys(recent.extra) AS keys (field)
WHERE field !~ '[$]\w+[(]'
GROUP BY field
ORDER BY count(*) DESC, field
LIMIT 100
""".strip()


def _groups(rows: str) -> Sql:
    # Of a bitrate the low one is worse.
    return Sql(f"""
SELECT
    dimension_value AS "Group",
    max(total_sessions) AS "Sessions",
    {pick_all(_COLUMNS)}
FROM {rows}
GROUP BY dimension_value
HAVING max(total_sessions) >= ${{min_sessions:sqlstring}}::bigint
ORDER BY
    max(CASE WHEN metric = '{qoe.AVERAGE_BITRATE.name}' THEN -value ELSE value END)
        FILTER (WHERE metric = ${{worst_by:sqlstring}}) DESC NULLS LAST,
    dimension_value
LIMIT 200
""")


def _table(
    title: str, definition: Definition, query: Sql, label: str, leads_to: DynamicConfigValue | None = None
) -> Panel:
    group = [setting("displayName", label), setting("custom.minWidth", 180)]
    columns = {
        "Group": group if leads_to is None else [*group, leads_to],
        "Sessions": number(qoe.SESSIONS),
    }
    columns |= {name: number(metric) for name, metric in _COLUMNS.items()}
    return listing(title, [definition, *_METRICS], query, columns=columns, unit="none", height=9)


def _by_dimension(dimension: str, title: str) -> Panel:
    others = "&".join(f"${{{name}:queryparam}}" for name in FILTER_VARIABLES if name != dimension)
    overview = f"/d/m3w-overview?{KEEP_TIME}&{others}&var-{dimension}=${{__value.raw:percentencode}}"
    return _table(
        title,
        _BREAKDOWN,
        _groups(f"qoe_breakdown({RANGE}, '{dimension}',\n    {FILTERS})"),
        LABELS[dimension],
        link("Overview of these sessions", overview),
    )


def breakdown() -> Dashboard:
    """Build it."""
    dashboard = with_filters(
        new_dashboard(
            "m3w-breakdown",
            "Media3Watch Breakdown",
            "Who fares worse than the others?",
            since="now-24h",
            refresh="5m",
        )
    )
    sortable = [metric for metric in _METRICS if metric.thresholds is not None] + [qoe.AVERAGE_BITRATE]
    dashboard.with_variable(
        choice(
            "worst_by",
            "Worst by",
            [metric.name for metric in sortable],
            qoe.REBUFFER_PERCENTAGE.name,
            [metric.title.replace(",", "") for metric in sortable],
        )
    )
    dashboard.with_variable(choice("min_sessions", "At least", ["1", "10", "30", "100", "300", "1000"], "30"))
    dashboard.with_variable(
        QueryVariable("field")
        .label("Field")
        .description("A field of the app's own, in extra")
        .datasource(POSTGRES)
        .query(_FIELDS)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .current(VariableOption(text="", value="", selected=True))
    )
    dashboard.with_row(Row("By what the SDK sends"))
    for dimension, title in _TITLES.items():
        dashboard.with_panel(_by_dimension(dimension, title))
    dashboard.with_row(Row("By a field of the app's own"))
    return dashboard.with_panel(
        _table(
            "By $field",
            _BREAKDOWN_EXTRA,
            _groups(f"qoe_breakdown_extra({RANGE}, ${{field:sqlstring}},\n    {FILTERS})"),
            "$field",
        )
    )
