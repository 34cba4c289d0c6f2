"""
What every dashboard has: its uid, the links to the others, the time range; and the variables.

A link keeps the time range and the filters, so that nobody has to choose them again.
"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import (
    CustomVariable,
    Dashboard,
    DashboardLink,
    QueryVariable,
    TextBoxVariable,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
)

from grafana.builder.queries import ALL_VALUES, FILTER_VARIABLES, POSTGRES, RANGE

TAG: Final = "media3watch"

#: In a link: the time range of the page that it is on, and its variables.
KEEP_TIME: Final = "${__url_time_range}"
KEEP_ALL: Final = "${__url_time_range}&${__all_variables}"

LABELS: Final = {
    "device_model": "Device model",
    "os_version": "Android version",
    "sdk_version": "SDK version",
    "connection_type": "Connection type",
}


def new_dashboard(uid: str, title: str, description: str, *, since: str, refresh: str) -> Dashboard:
    """
    Start a dashboard.

    Args:
        uid: What links name it by; never changes.
        title: What people call it.
        description: The question that it answers.
        since: The start of the time range that it opens with, ``now-24h`` for instance.
        refresh: How often it asks anew, ``1m`` for instance.
    """
    return (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .time(since, "now")
        .refresh(refresh)
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            DashboardLink("Media3Watch")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(False)
            .keep_time(True)
            .include_vars(True)
        )
    )


def with_filters(dashboard: Dashboard) -> Dashboard:
    """Add the variables that every panel on PostgreSQL obeys."""
    for name in FILTER_VARIABLES:
        dashboard.with_variable(
            QueryVariable(name)
            .label(LABELS[name])
            .datasource(POSTGRES)
            .query(_values(name))
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(ALL_VALUES)
            .current(VariableOption(text=["All"], value=["$__all"], selected=True))
        )
    return dashboard


def choice(
    name: str, label: str, values: list[str], default: str, texts: list[str] | None = None
) -> CustomVariable:
    """Make a variable of fixed values, of which one is chosen; commas are not for their texts."""
    shown = texts or values
    pairs = [
        value if text == value else f"{text} : {value}" for text, value in zip(shown, values, strict=True)
    ]
    return (
        CustomVariable(name)
        .label(label)
        .values(",".join(pairs))
        .options(
            [
                VariableOption(text=text, value=value, selected=value == default)
                for text, value in zip(shown, values, strict=True)
            ]
        )
        .current(VariableOption(text=shown[values.index(default)], value=default, selected=True))
    )


def text(name: str, label: str, description: str) -> TextBoxVariable:
    """Make a variable that people type."""
    return (
        TextBoxVariable(name)
        .label(label)
        .description(description)
        .default_value("")
        .current(VariableOption(text="", value="", selected=True))
    )


def _values(dimension: str) -> str:
    # What Grafana would take for a macro of its own cannot be chosen by itself; "All" has it.
    return rf"""
SELECT dimension_value
FROM qoe_breakdown({RANGE}, '{dimension}')
WHERE metric = 'sessions'
  AND dimension_value !~ '[$]\w+[(]'
ORDER BY total_sessions DESC, dimension_value
LIMIT 1000
""".strip()
