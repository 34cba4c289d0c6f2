"""
The dashboard Sessions: which sessions are these?

A list to narrow down. It is no place for sums, as it shows the newest 500 only.
"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import CustomVariable, Dashboard, Row
from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    ValueMap,
    ValueMappingResult,
    VariableOption,
)

from grafana.builder import definitions as qoe
from grafana.builder import session_rows
from grafana.builder.frame import KEEP_ALL, new_dashboard, text, with_filters
from grafana.builder.panels import BAD, GOOD, NEUTRAL, WARNING, chart, link, listing, number, setting
from grafana.builder.queries import ALL_VALUES, FILTER_VARIABLES, STEP, Sql, chosen

OUTCOMES: Final = {
    "played": GOOD,
    "in_progress": NEUTRAL,
    "exited_before_start": WARNING,
    "failed_before_start": BAD,
    "failed": BAD,
}

#: Outcomes in their colours.
OUTCOME_COLOURS: Final = ValueMap(
    options={
        outcome: ValueMappingResult(color=colour, index=index)
        for index, (outcome, colour) in enumerate(OUTCOMES.items())
    }
)


def _is_chosen(column: str, variable: str) -> str:
    values = chosen(variable)
    return f"(array_position({values}, NULL) IS NOT NULL OR {column} = ANY ({values}))"


def _conditions() -> str:
    dimensions = [
        _is_chosen(f"coalesce({name}{'::text' if name == 'os_version' else ''}, 'unknown')", name)
        for name in FILTER_VARIABLES
    ]
    conditions = [
        "event_at >= $__timeFrom()::timestamptz AND event_at < $__timeTo()::timestamptz",
        *dimensions,
        _is_chosen("outcome", "outcome"),
        "strpos(session_id, ${session_contains:sqlstring}) > 0",
        "(${field:sqlstring} = '' OR strpos(extra ->> ${field:sqlstring}, ${field_value:sqlstring}) > 0)",
    ]
    return "\n  AND ".join(conditions)


_LIST = Sql(f"""
SELECT
    event_at AS "Time",
    session_id AS "Session",
    outcome AS "Outcome",
    device_model AS "Device model",
    os_version AS "Android",
    sdk_version AS "SDK",
    connection_type AS "Connection",
    startup_time_ms AS "Startup",
    watch_time_ms AS "Watch time",
    rebuffer_time_ms AS "Rebuffer time",
    rebuffer_count AS "Stalls",
    100 * rebuffer_ratio::float8 AS "Rebuffering",
    mean_video_format_bitrate AS "Bitrate",
    total_dropped_frames AS "Dropped frames",
    error_count AS "Errors",
    received_via AS "Key"
FROM session_qoe
WHERE {_conditions()}
ORDER BY event_at DESC
LIMIT 500
""")

_BY_OUTCOME = Sql(
    f"""
SELECT
    date_bin({STEP}, event_at, 'epoch'::timestamptz) AS "time",
    {{}}
FROM session_qoe
WHERE {_conditions()}
GROUP BY 1
ORDER BY 1
""".replace(
        "{}",
        ",\n    ".join(f"""count(*) FILTER (WHERE outcome = '{each}') AS "{each}\"""" for each in OUTCOMES),
    ),
    time_series=True,
)

_PAGE = link("This session", f"/d/m3w-session?{KEEP_ALL}&var-session_id=${{__value.raw:percentencode}}")

_COLUMNS: Final[dict[str, list[DynamicConfigValue]]] = {
    "Time": [setting("unit", "dateTimeAsIso"), setting("custom.width", 170)],
    "Session": [_PAGE, setting("custom.minWidth", 160)],
    "Outcome": [
        setting("mappings", [OUTCOME_COLOURS]),
        setting("custom.cellOptions", {"type": "color-text"}),
    ],
    "Android": [setting("unit", "none"), setting("custom.width", 80)],
    "Startup": number(qoe.STARTUP_P95),
    "Watch time": [setting("unit", "ms")],
    "Rebuffer time": [setting("unit", "ms")],
    "Stalls": [setting("unit", "short")],
    "Rebuffering": number(qoe.REBUFFER_PERCENTAGE),
    "Bitrate": [setting("unit", "bps")],
    "Dropped frames": [setting("unit", "short")],
    "Errors": [setting("unit", "short")],
}


def sessions() -> Dashboard:
    """Build it."""
    dashboard = with_filters(
        new_dashboard(
            "m3w-sessions",
            "Media3Watch Sessions",
            "Which sessions are these? Each leads to its page.",
            since="now-1h",
            refresh="1m",
        )
    )
    dashboard.with_variable(
        CustomVariable("outcome")
        .label("Outcome")
        .values(",".join(OUTCOMES))
        .options([VariableOption(text=each, value=each, selected=False) for each in OUTCOMES])
        .multi(True)
        .include_all(True)
        .all_value(ALL_VALUES)
        .current(VariableOption(text=["All"], value=["$__all"], selected=True))
    )
    dashboard.with_variable(text("session_contains", "Session contains", "A part of the session's id"))
    dashboard.with_variable(text("field", "Field", "Name of a field of the app's own, contentId for example"))
    dashboard.with_variable(text("field_value", "holds", "A part of that field's value"))
    dashboard.with_row(Row("Sessions"))
    dashboard.with_panel(
        chart(
            "Sessions by outcome", [session_rows.MATCHING, qoe.OUTCOMES], _BY_OUTCOME, width=24, stacked=True
        )
    )
    return dashboard.with_panel(
        listing(
            "Newest sessions", [session_rows.SESSION_LIST, qoe.OUTCOMES], _LIST, columns=_COLUMNS, height=20
        )
    )
