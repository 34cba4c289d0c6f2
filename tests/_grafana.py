"""
What Grafana 11.4 does to a query before the data source has it, as its documentation says; and our dashboards as files.

Variables are expanded in the browser and macros in the server, in this order: a value that looks like a macro is
expanded with the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import frozen

ROOT = Path(__file__).parents[1]
DASHBOARDS = ROOT / "grafana" / "dashboards"

#: Uids of the data sources.
POSTGRES, PROMETHEUS = "m3w-postgres", "m3w-prometheus"

_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}")
_MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")


@frozen
class Choice:
    """
    What is chosen of a variable.

    Args:
        values: The values; of a variable that takes one only, one.
        several: Whether the variable takes several.
        everything: The custom value of "All" where that is chosen, which goes in as it stands.
    """

    values: tuple[str, ...] = ()
    several: bool = False
    everything: str | None = None

    def __format__(self, format_: str) -> str:
        if self.everything is not None:
            return self.everything
        quoted = ["'" + value.replace("'", "''") + "'" for value in self.values]
        if format_ == "sqlstring" or self.several:
            return ",".join(quoted)
        # What the PostgreSQL data source does where no format is given.
        return self.values[0].replace("'", "''")


def expand_variables(text: str, choices: Mapping[str, Choice]) -> str:
    """Put in the values of variables; what is no variable stays."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return format(choices[name], found[3] or "") if name in choices else found[0]

    return _VARIABLE.sub(value, text)


def expand_macros(sql: str, since: datetime, until: datetime, interval: timedelta) -> str:
    """
    Put in the macros of the PostgreSQL data source that our panels use.

    Raises:
        ValueError: At any other, as Grafana does at one that it does not know.
    """
    milliseconds = interval // timedelta(milliseconds=1)
    sql = sql.replace("$__interval_ms", str(milliseconds))

    def value(found: re.Match[str]) -> str:
        if found[1] == "__timeFrom":
            return f"'{_rfc3339(since)}'"
        if found[1] == "__timeTo":
            return f"'{_rfc3339(until)}'"
        msg = f"unknown macro {found[1]!r}"
        raise ValueError(msg)

    return _MACRO.sub(value, sql)


def expand_promql(expression: str, *, rate_interval: str, range_: str) -> str:
    """Put in the variables that Grafana has for Prometheus."""
    return expression.replace("$__rate_interval", rate_interval).replace("$__range", range_)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def dashboards() -> dict[str, dict[str, Any]]:
    """Read the files, by uid."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))
    }


@frozen
class Query:
    """
    A query of a panel or a variable.

    Args:
        place: Where it stands, for people.
        text: SQL or PromQL with macros and variables.
        kind: Of the panel, or ``variable``.
        format_: ``table`` or ``time_series``.
        panel: The panel.
        legend: How a series of PromQL is named.
    """

    place: str
    text: str
    kind: str
    format_: str
    panel: Mapping[str, Any]
    legend: str = ""


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the panels, without the rows between them."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(source: str) -> Iterator[Query]:
    """Give every query of a data source: those of panels, and those of variables."""
    for uid, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                if target["datasource"]["uid"] == source:
                    yield Query(
                        place=f"{uid}: {panel['title']} {target['refId']}",
                        text=target.get("rawSql") or target["expr"],
                        kind=panel["type"],
                        format_=target["format"],
                        panel=panel,
                        legend=target.get("legendFormat", ""),
                    )
        for variable in dashboard["templating"].get("list", []):
            if variable["type"] == "query" and variable["datasource"]["uid"] == source:
                yield Query(
                    place=f"{uid}: ${variable['name']}",
                    text=variable["query"],
                    kind="variable",
                    format_="table",
                    panel={},
                )


def variables(dashboard: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the variables by name."""
    return {variable["name"]: variable for variable in dashboard["templating"].get("list", [])}
