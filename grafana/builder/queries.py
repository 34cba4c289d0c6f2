"""
The parts of SQL that panels share, and the queries as Grafana keeps them.

Every value of a variable goes through ``:sqlstring``, which quotes it whatever it holds. "All" of a variable is
``NULL::text``, which Grafana puts in as it stands: a list of everything that devices call themselves could hold
the name of a macro, which Grafana would expand inside the quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders.prometheus import Dataquery as PrometheusQuery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.builder.definition import Definition

POSTGRES: Final = DataSourceRef(type_val="grafana-postgresql-datasource", uid="m3w-postgres")
PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="m3w-prometheus")

ALL_VALUES: Final = "NULL::text"

#: The time range of the dashboard, as the first two arguments of the ``qoe_`` functions.
RANGE: Final = "$__timeFrom()::timestamptz, $__timeTo()::timestamptz"
#: The width of a point of a chart.
STEP: Final = "$__interval_ms * interval '1 millisecond'"


def chosen(variable: str) -> str:
    """Give the values chosen of a variable as an array of text; one with a null in it is all of them."""
    return f"ARRAY[${{{variable}:sqlstring}}]::text[]"


FILTER_VARIABLES: Final = ("device_model", "os_version", "sdk_version", "connection_type")
#: The filters, as the last arguments of the ``qoe_`` functions.
FILTERS: Final = ",\n    ".join(map(chosen, FILTER_VARIABLES))


class Sql(Builder[UnknownDataquery]):
    """
    A query of PostgreSQL, for which the SDK has no class.

    Args:
        text: The SQL, with Grafana's macros and variables.
        time_series: Whether a column "time" is the x-axis; else it is a table.
        ref_id: Its name within the panel.
    """

    def __init__(self, text: str, *, time_series: bool = False, ref_id: str = "A") -> None:
        self._query = {
            "datasource": {"type": POSTGRES.type_val, "uid": POSTGRES.uid},
            "editorMode": "code",
            "format": "time_series" if time_series else "table",
            "rawQuery": True,
            "rawSql": text.strip(),
            "refId": ref_id,
        }

    def build(self) -> UnknownDataquery:
        """Give it as the SDK wants it."""
        return UnknownDataquery(self._query)


def promql(
    expression: str, legend: str = "", *, instant: bool = False, heatmap: bool = False
) -> PrometheusQuery:
    """
    Make a query of Prometheus.

    Args:
        expression: PromQL, with Grafana's macros.
        legend: Name of each series, ``{{label}}`` in it.
        instant: Whether only the last value is wanted.
        heatmap: Whether the series are the buckets of a histogram.
    """
    query = (
        PrometheusQuery()
        .expr(expression)
        .datasource(PROMETHEUS)
        .ref_id("A")
        .format(PromQueryFormat.HEATMAP if heatmap else PromQueryFormat.TIME_SERIES)
        .legend_format("{{le}}" if heatmap else legend)
    )
    return query.instant() if instant else query.range()


def pick(metric: Definition, alias: str | None = None) -> str:
    """Turn the rows of one metric into a column."""
    return f"""max(value) FILTER (WHERE metric = '{metric.name}') AS "{alias or metric.title}\""""


def pick_all(columns: Mapping[str, Definition]) -> str:
    """Turn the rows of several metrics into columns, of these names."""
    return ",\n    ".join(pick(metric, alias) for alias, metric in columns.items())
