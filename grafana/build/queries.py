"""Queries of the two data sources. Which Prometheus and which Loki is a variable of every dashboard."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import loki as loki_builder
from grafana_foundation_sdk.builders import prometheus as prometheus_builder
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.loki import LokiQueryType
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${prometheus}")
LOKI = DataSourceRef(type_val="loki", uid="${loki}")

# Scraped every 15 s; the data source's own interval is that of all others, a minute (provisioning/datasources).
LATENCY = "15s"


@dataclass(frozen=True, slots=True)
class Promql:
    """`step`: how often what it reads is scraped, which $__rate_interval follows; by default a minute."""

    expr: str
    legend: str = ""
    instant: bool = False
    table: bool = False
    heatmap: bool = False
    step: str | None = None

    datasource = PROMETHEUS

    def build(self, ref_id: str) -> prometheus_builder.Dataquery:
        query = prometheus_builder.Dataquery().expr(self.expr).ref_id(ref_id).datasource(self.datasource)
        query = query.instant() if self.instant else query.range()
        if self.table:
            query = query.format(PromQueryFormat.TABLE)
        elif self.heatmap:
            query = query.format(PromQueryFormat.HEATMAP)
        if self.step:
            query = query.interval(self.step)
        return query.legend_format(self.legend) if self.legend else query


@dataclass(frozen=True, slots=True)
class Logql:
    """A query for lines, or for numbers made of lines: then `instant` counts over the whole range at once."""

    expr: str
    legend: str = ""
    instant: bool = False
    lines: int | None = None

    datasource = LOKI

    def build(self, ref_id: str) -> loki_builder.Dataquery:
        kind = LokiQueryType.INSTANT if self.instant else LokiQueryType.RANGE
        query = loki_builder.Dataquery().expr(self.expr).ref_id(ref_id).datasource(self.datasource).query_type(kind)
        if self.lines:
            query = query.max_lines(self.lines)
        return query.legend_format(self.legend) if self.legend else query


def named(promql: str) -> str:
    """`promql`, whose series have the label `mac`, with the label `name` of that device; its MAC where it has none."""
    names = 'max by (mac, name) (mac:netvane_device_info:named{site="$site"})'
    unnamed = f'label_replace({promql}, "name", "$1", "mac", "(.+)")'
    return f"{promql} * on (mac) group_left (name) {names} or on (mac) {unnamed}"


def named_device(promql: str) -> str:
    """The same for series with the label `device`."""
    names = 'max by (device, name) (mac:netvane_device_info:named{site="$site"})'
    return f"{promql} * on (device) group_left (name) {names}"
