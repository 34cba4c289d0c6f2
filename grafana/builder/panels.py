"""
What panels of a kind have in common.

Titles, units, descriptions and thresholds come from definitions, so that a panel cannot say one thing and
colour another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from grafana_foundation_sdk.builders import heatmap, stat, table, timeseries, trend
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    HideSeriesConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery as PrometheusQuery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    HeatmapCellLayout,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale

from grafana.builder.definition import Definition
from grafana.builder.queries import POSTGRES, PROMETHEUS, Sql

Query: TypeAlias = Sql | PrometheusQuery

GOOD: Final = "green"
WARNING: Final = "yellow"
BAD: Final = "red"
NEUTRAL: Final = "blue"

# Of a chart on PostgreSQL: points of an hour from a week on, which the rollup has.
_POINTS: Final = 200

STAT_HEIGHT: Final = 4
CHART_HEIGHT: Final = 8


def source_of(query: Query) -> DataSourceRef:
    """Give the data source that a query belongs to."""
    return POSTGRES if isinstance(query, Sql) else PROMETHEUS


def thresholds(definition: Definition) -> ThresholdsConfig:
    """Give the colours of a number; one colour where no value is better than another."""
    steps = [Threshold(value=value, color=colour) for value, colour in _steps(definition)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _steps(definition: Definition) -> list[tuple[float | None, str]]:
    limits = definition.thresholds
    if limits is None:
        return [(None, NEUTRAL)]
    between = [(limits.warning, WARNING)] if limits.warning < limits.bad else []
    return [(None, GOOD), *between, (limits.bad, BAD)]


def describe(*definitions: Definition) -> str:
    """Describe a panel of several numbers: each by its title."""
    if len(definitions) == 1:
        return definitions[0].description
    return "\n\n".join(f"**{each.title}.** {each.description}" for each in definitions)


def stat_panel(
    definition: Definition, query: Query, *, width: int = 4, leads_to: DashboardLink | None = None
) -> stat.Panel:
    """Show one number, in the colour of its thresholds; a click on it may lead somewhere."""
    panel = (
        stat.Panel()
        .title(definition.title)
        .description(definition.description)
        .datasource(source_of(query))
        .with_target(query)
        .unit(definition.unit)
        .thresholds(thresholds(definition))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
        .no_value("no data")
        .height(STAT_HEIGHT)
        .span(width)
    )
    if leads_to is not None:
        panel.links([leads_to])
    return panel if definition.decimals is None else panel.decimals(definition.decimals)


def chart(
    title: str,
    definitions: Sequence[Definition],
    *queries: Query,
    width: int = 12,
    stacked: bool = False,
) -> timeseries.Panel:
    """
    Draw numbers of one unit over time; the thresholds are those of the last definition.

    Args:
        title: Of the panel.
        definitions: What is drawn, the most telling last.
        queries: Where it comes from.
        width: Of 24.
        stacked: Whether the series are parts of a whole.
    """
    last = definitions[-1]
    panel = (
        timeseries.Panel()
        .title(title)
        .description(describe(*definitions))
        .datasource(source_of(queries[0]))
        .unit(last.unit)
        .min(0)
        .thresholds(thresholds(last))
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(VisibilityMode.AUTO)
        .legend(_legend())
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .height(CHART_HEIGHT)
        .span(width)
    )
    if isinstance(queries[0], Sql):
        panel.interval("1m").max_data_points(_POINTS)
    for ref_id, query in zip("ABC", queries, strict=False):
        panel.with_target(query if isinstance(query, Sql) else query.ref_id(ref_id))
    if last.thresholds is not None:
        panel.thresholds_style(GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    if stacked:
        panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    return panel


def heat(definition: Definition, query: Query, *, width: int = 12) -> heatmap.Panel:
    """Draw a distribution over time: a column of the query for each bucket, named by its upper bound."""
    panel = (
        heatmap.Panel()
        .title(definition.title)
        .description(definition.description)
        .datasource(source_of(query))
        .with_target(query)
        .unit(definition.unit)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .fill("dark-orange")
            .scale(HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .y_axis(heatmap.YAxisConfig().unit(definition.unit))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(HeatmapCellLayout.LE))
        .cell_gap(1)
        # Grafana's own, stated so that its model reads back what it has written.
        .hide_from(HideSeriesConfig().legend(False).tooltip(False).viz(False))
        .height(CHART_HEIGHT)
        .span(width)
    )
    return panel.interval("1m").max_data_points(_POINTS) if isinstance(query, Sql) else panel


def course(definition: Definition, query: Sql, *, width: int = 12, steps: bool = True) -> trend.Panel:
    """
    Draw numbers over the time that a session has run: the first column of the query, in seconds.

    Not over the time of day, as a session of a minute is a hair in a range of a day.
    """
    return (
        trend.Panel()
        .title(definition.title)
        .description(definition.description)
        .datasource(POSTGRES)
        .with_target(query)
        .unit(definition.unit)
        .min(0)
        .thresholds(thresholds(definition))
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .x_field("elapsed")
        .override_by_name("elapsed", [setting("unit", "s")])
        .line_interpolation(LineInterpolation.STEP_AFTER if steps else LineInterpolation.LINEAR)
        .fill_opacity(8)
        .show_points(VisibilityMode.ALWAYS)
        .legend(_legend())
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .height(CHART_HEIGHT)
        .span(width)
    )


def listing(
    title: str,
    definitions: Sequence[Definition],
    query: Query,
    *,
    columns: Mapping[str, Sequence[DynamicConfigValue]],
    height: int = CHART_HEIGHT,
    width: int = 24,
    unit: str = "string",
) -> table.Panel:
    """
    Show rows.

    Args:
        title: Of the panel.
        definitions: What it holds.
        query: Where it comes from.
        columns: Settings of single columns, by their names.
        height: In rows of the grid.
        width: Of 24.
        unit: Of the columns that have no setting of their own.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(describe(*definitions))
        .datasource(source_of(query))
        .with_target(query)
        .unit(unit)
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(color=NEUTRAL)]))
        .filterable(True)
        .height(height)
        .span(width)
    )
    for name, settings in columns.items():
        panel.override_by_name(name, list(settings))
    return panel


def setting(name: str, value: Any) -> DynamicConfigValue:
    """Set one thing of a column."""
    return DynamicConfigValue(id_val=name, value=value)


def number(definition: Definition) -> list[DynamicConfigValue]:
    """Show a column as its definition says, with its colours."""
    settings = [setting("unit", definition.unit)]
    if definition.decimals is not None:
        settings.append(setting("decimals", definition.decimals))
    if definition.thresholds is not None:
        steps = [{"value": value, "color": colour} for value, colour in _steps(definition)]
        settings += [
            setting("thresholds", {"mode": "absolute", "steps": steps}),
            setting("custom.cellOptions", {"type": "color-text"}),
        ]
    return settings


def link(title: str, url: str) -> DynamicConfigValue:
    """Let the cells of a column lead somewhere."""
    return setting("links", [{"title": title, "url": url, "targetBlank": False}])


def _legend() -> VizLegendOptions:
    return (
        VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
