"""
The dashboard Session: what happened in this one session?

Its course is drawn over the time that it has run, not over the dashboard's time range, which it need not lie in.
"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models.dashboard import ValueMap, ValueMappingResult

from grafana.builder import session_rows
from grafana.builder.explorer import OUTCOME_COLOURS
from grafana.builder.frame import new_dashboard, text
from grafana.builder.panels import course, listing, setting, stat_panel
from grafana.builder.queries import Sql

_THIS: Final = "session_id = ${session_id:sqlstring}"

#: States from what is least to what is most like playing, as the y-axis has them.
STATES: Final = ("IDLE", "ENDED", "PAUSED", "BUFFERING", "PLAYING")


def _value(expression: str, title: str) -> Sql:
    return Sql(f"""
SELECT {expression} AS "{title}"
FROM session_qoe
WHERE {_THIS}
""")


def _course(expression: str, title: str) -> Sql:
    # Entries of one moment are one point: the x-axis has to ascend.
    return Sql(f"""
SELECT DISTINCT ON (elapsed_ms)
    elapsed_ms / 1000.0 AS "elapsed",
    {expression} AS "{title}"
FROM session_timeline
WHERE {_THIS}
ORDER BY elapsed_ms, timestamp_ms DESC
""")


_STATE_NUMBER = f"array_position(ARRAY{list(STATES)}, playback_state::text) - 1"
_STATE_NAMES = ValueMap(
    options={str(place): ValueMappingResult(text=state, index=place) for place, state in enumerate(STATES)}
)

_EVERY_FIELD = Sql(f"""
WITH this AS (
    SELECT * FROM session_qoe WHERE {_THIS}
)
SELECT key AS "Field", value AS "Value"
FROM (
    SELECT ordinality AS place, key, value
    FROM this, jsonb_each_text(to_jsonb(this) - 'extra') WITH ORDINALITY
    UNION ALL
    SELECT 1000 + ordinality, 'extra.' || key, value
    FROM this, jsonb_each_text(CASE jsonb_typeof(extra) WHEN 'object' THEN extra ELSE '{{}}' END) WITH ORDINALITY
) AS fields
WHERE value IS NOT NULL
ORDER BY place
""")

_AGAINST_THE_DAY = Sql(f"""
WITH this AS (
    SELECT * FROM session_qoe WHERE {_THIS}
)
SELECT
    metric AS "Number",
    (to_jsonb(this) ->> metric)::float8 AS "This session",
    median AS "Median of the day",
    (to_jsonb(this) ->> metric)::float8 / nullif(median, 0) AS "Times the median"
FROM this, qoe_day_medians(this.event_at)
ORDER BY metric
""")

_ENTRIES = Sql(f"""
SELECT
    elapsed_ms AS "Elapsed",
    playback_state AS "State",
    current_bitrate AS "Bitrate",
    buffered_duration_ms AS "Buffer",
    rebuffer_count AS "Stalls",
    rebuffer_time_ms AS "Rebuffer time",
    total_dropped_frames AS "Dropped frames",
    network_type AS "Network",
    to_timestamp(least(timestamp_ms, 253402300799999) / 1000.0) AS "Client's time"
FROM session_timeline
WHERE {_THIS}
ORDER BY elapsed_ms, timestamp_ms
LIMIT 5000
""")

_OF_THIS: Final = {
    session_rows.ITS_STARTUP: "startup_time_ms",
    session_rows.ITS_REBUFFERING: "100 * rebuffer_ratio::float8",
    session_rows.ITS_WATCH_TIME: "watch_time_ms",
    session_rows.ITS_BITRATE: "mean_video_format_bitrate",
    session_rows.ITS_ERRORS: "error_count",
}


def session() -> Dashboard:
    """Build it."""
    dashboard = new_dashboard(
        "m3w-session",
        "Media3Watch Session",
        "What happened in this one session?",
        since="now-24h",
        refresh="",
    )
    dashboard.with_variable(text("session_id", "Session", "Its whole id; the dashboard Sessions leads here"))
    dashboard.with_row(Row("Session $session_id"))
    dashboard.with_panel(
        stat_panel(session_rows.ITS_OUTCOME, _value("outcome", "Outcome"))
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields("/^Outcome$/").values(False))
        .mappings([OUTCOME_COLOURS])
    )
    for definition, expression in _OF_THIS.items():
        dashboard.with_panel(stat_panel(definition, _value(expression, definition.title)))
    dashboard.with_panel(
        listing(
            session_rows.EVERY_FIELD.title,
            [session_rows.EVERY_FIELD],
            _EVERY_FIELD,
            columns={"Field": [setting("custom.width", 260)]},
            width=12,
            height=14,
        )
    )
    dashboard.with_panel(
        listing(
            session_rows.AGAINST_THE_DAY.title,
            [session_rows.AGAINST_THE_DAY],
            _AGAINST_THE_DAY,
            columns={
                "Times the median": [setting("unit", "none"), setting("decimals", 2)],
                "This session": [setting("unit", "short")],
                "Median of the day": [setting("unit", "short")],
            },
            width=12,
            height=14,
        )
    )
    dashboard.with_row(Row("Course"))
    dashboard.with_panel(
        course(session_rows.STATE, _course(_STATE_NUMBER, "State"))
        .max(len(STATES) - 1)
        .decimals(0)
        .mappings([_STATE_NAMES])
    )
    dashboard.with_panel(course(session_rows.BITRATE, _course("current_bitrate", "Bitrate")))
    dashboard.with_panel(course(session_rows.BUFFER, _course("buffered_duration_ms", "Buffer"), steps=False))
    dashboard.with_panel(course(session_rows.STALLS, _course("rebuffer_time_ms", "Rebuffer time")))
    return dashboard.with_panel(
        listing(
            session_rows.ENTRIES.title,
            [session_rows.ENTRIES],
            _ENTRIES,
            columns={
                "Elapsed": [setting("unit", "ms")],
                "Bitrate": [setting("unit", "bps")],
                "Buffer": [setting("unit", "ms")],
                "Stalls": [setting("unit", "short")],
                "Rebuffer time": [setting("unit", "ms")],
                "Dropped frames": [setting("unit", "short")],
                "Client's time": [setting("unit", "dateTimeAsIso")],
            },
            height=12,
        )
    )
