"""Panels with what each of them must have: a title, a description, a unit, a size, queries of one data source."""

import string
from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    gauge,
    geomap,
    logs,
    piechart,
    stat,
    statetimeline,
    table,
    text,
)
from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.builders import timeseries as timeseries_builder
from grafana_foundation_sdk.builders.barchart import Panel as BarChart
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.text import TextMode

from grafana.build.queries import Logql, Promql

Query = Promql | Logql
Mapping = tuple[str, str]  # text and colour


class Panel(Protocol):
    """What all panel builders of the SDK have; they share no base class."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def datasource(self, datasource: model.DataSourceRef) -> Self: ...
    def with_target(self, target: Builder[Dataquery]) -> Self: ...
    def span(self, w: int) -> Self: ...
    def height(self, h: int) -> Self: ...
    def build(self) -> model.Panel: ...


P = TypeVar("P", bound=Panel)


def panel(kind: P, title: str, description: str, *queries: Query, unit: str, width: int = 12, height: int = 8) -> P:
    """`kind` completed. `width` in Grafana's 24 columns; `unit` is one of Grafana's ids, such as `s` or `binbps`."""
    kind.title(title).description(description).unit(unit).span(width).height(height)
    if queries:
        kind.datasource(queries[0].datasource)
    for ref_id, query in zip(string.ascii_uppercase, queries, strict=False):
        kind.with_target(query.build(ref_id))
    return kind


def timeseries(
    title: str, description: str, *queries: Query, unit: str, width: int = 12, height: int = 8, log: bool = False
) -> timeseries_builder.Panel:
    """Lines over time, the legend with the mean and the maximum."""
    lines = panel(timeseries_builder.Panel(), title, description, *queries, unit=unit, width=width, height=height)
    lines.line_width(1).fill_opacity(10).show_points(common_model.VisibilityMode.NEVER).legend(_legend("mean", "max"))
    lines.tooltip(_all_values())
    if log:
        return lines.scale_distribution(
            common.ScaleDistributionConfig().type(common_model.ScaleDistribution.LOG).log(10)
        )
    return lines.min(0)


def stat_panel(
    title: str, description: str, query: Query, *, unit: str, width: int = 4, steps: Sequence[tuple[float, str]] = ()
) -> stat.Panel:
    """One number. `steps`: from which value on it has which colour; green below."""
    number = panel(stat.Panel(), title, description, query, unit=unit, width=width, height=4)
    number.reduce_options(last_value()).graph_mode(common_model.BigValueGraphMode.NONE)
    number.color_mode(common_model.BigValueColorMode.BACKGROUND if steps else common_model.BigValueColorMode.NONE)
    return number.thresholds(thresholds(*steps)).no_value("none")


def gauge_panel(
    title: str, description: str, query: Query, *, unit: str, most: float, steps: Sequence[tuple[float, str]]
) -> gauge.Panel:
    dial = panel(gauge.Panel(), title, description, query, unit=unit, width=6)
    return dial.reduce_options(last_value()).min(0).max(most).thresholds(thresholds(*steps))


def bars(title: str, description: str, query: Query, *, unit: str, width: int = 12, height: int = 8) -> bargauge.Panel:
    """One horizontal bar for each series' last value."""
    horizontal = panel(bargauge.Panel(), title, description, query, unit=unit, width=width, height=height)
    horizontal.reduce_options(last_value()).orientation(common_model.VizOrientation.HORIZONTAL).min(0)
    return horizontal.display_mode(common_model.BarGaugeDisplayMode.BASIC).thresholds(thresholds())


def pie(title: str, description: str, query: Query, *, unit: str, width: int = 8) -> piechart.Panel:
    slices = panel(piechart.Panel(), title, description, query, unit=unit, width=width)
    legend = (
        piechart.PieChartLegendOptions().show_legend(show_legend=True).placement(common_model.LegendPlacement.RIGHT)
    )
    legend.display_mode(common_model.LegendDisplayMode.TABLE)
    return slices.reduce_options(last_value()).legend(legend)


def chart(title: str, description: str, query: Promql, *, unit: str, x: str, width: int = 12) -> BarChart:
    """One bar for each row of an instant query for a table, named by its label `x`."""
    columns = panel(BarChart(), title, description, query, unit=unit, width=width)
    return columns.x_field(x).legend(_legend().show_legend(show_legend=False))


def timeline(
    title: str, description: str, *queries: Query, values: dict[str, Mapping], width: int = 24, height: int = 4
) -> statetimeline.Panel:
    """A coloured band for each series; `values`: what a value stands for."""
    band = panel(statetimeline.Panel(), title, description, *queries, unit="none", width=width, height=height)
    band.mappings([mapping(values)]).show_value(common_model.VisibilityMode.AUTO).row_height(0.8).merge_values(
        merge_values=True
    )
    return band.fill_opacity(80).line_width(0).legend(_legend().show_legend(show_legend=False))


def log_panel(title: str, description: str, query: Logql, *, width: int = 24, height: int = 12) -> logs.Panel:
    """Lines as they came, the newest first; a line opens to its fields, which lead to the device."""
    lines = panel(logs.Panel(), title, description, query, unit="none", width=width, height=height)
    lines.show_time(show_time=True).wrap_log_message(wrap_log_message=True)
    lines.enable_log_details(enable_log_details=True)
    return lines.sort_order(common_model.LogsSortOrder.DESCENDING)


def note(title: str, description: str, markdown: str, *, width: int = 24, height: int = 4) -> text.Panel:
    """Words only."""
    words = panel(text.Panel(), title, description, unit="none", width=width, height=height)
    return words.mode(TextMode.MARKDOWN).content(markdown)


def table_panel(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    hidden: Sequence[str] = (),
    width: int = 24,
    height: int = 8,
) -> table.Panel:
    """The rows of instant queries, joined where there are several; without the columns `hidden`."""
    rows = panel(table.Panel(), title, description, *queries, unit=unit, width=width, height=height)
    rows.show_header(show_header=True)
    if len(queries) > 1:
        rows.with_transformation(transformation("merge"))
    excluded = dict.fromkeys(("Time", "__name__", "job", "instance", "site", *hidden), True)
    return rows.with_transformation(transformation("organize", excludeByName=excluded))


def column(rows: table.Panel, name: str, **properties: object) -> table.Panel:
    """How the column `name` is shown: field options of Grafana by their id, with `_` for the dot."""
    values = [model.DynamicConfigValue(id_val=key.replace("_", "."), value=value) for key, value in properties.items()]
    return rows.override_by_name(name, values)


def one_table(panel: geomap.Panel) -> None:
    """The series of an instant query as the rows of one table, their labels as its columns."""
    panel.with_transformation(transformation("labelsToFields", mode="columns"))
    panel.with_transformation(transformation("merge"))


def transformation(name: str, **options: object) -> model.DataTransformerConfig:
    return model.DataTransformerConfig(id_val=name, options=options)


def mapping(values: dict[str, Mapping]) -> model.ValueMap:
    results = {
        value: model.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(values.items())
    }
    return model.ValueMap(options=results)


def thresholds(*steps: tuple[float, str]) -> dashboard_builder.ThresholdsConfig:
    """Green below the first step."""
    marks = [model.Threshold(value=None, color="green"), *(model.Threshold(value=at, color=c) for at, c in steps)]
    return dashboard_builder.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(marks)


def last_value() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False)


def _legend(*calculations: str) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(show_legend=True).placement(common_model.LegendPlacement.BOTTOM)
    legend.display_mode(common_model.LegendDisplayMode.TABLE if calculations else common_model.LegendDisplayMode.LIST)
    return legend.calcs(list(calculations))


def _all_values() -> common.VizTooltipOptions:
    return (
        common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI).sort(common_model.SortOrder.DESCENDING)
    )
