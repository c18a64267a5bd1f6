"""What all dashboards have in common: variables, links to each other, marks of outages and anomalies."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from grafana.build.queries import PROMETHEUS

TAG = "netvane"

# Under which panel links and Loki's derived fields find the dashboards.
HOME = "netvane-home"
INTERNET = "netvane-internet"
DEVICES = "netvane-devices"
DEVICE = "netvane-device"
ACCESS_POINT = "netvane-access-point"
DHCP = "netvane-dhcp"
DNS_LOG = "netvane-dns-log"
SECURITY = "netvane-security"
ITSELF = "netvane-itself"

Variable = builder.QueryVariable | builder.DatasourceVariable | builder.TextBoxVariable | builder.CustomVariable


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Builder[model.Panel]] = field(default_factory=tuple)


def dashboard(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    variables: Sequence[Variable] = (),
    loki: bool = False,
    since: str = "now-24h",
) -> builder.Dashboard:
    """A dashboard of `rows`, one below the other. `loki`: whether one of its panels reads events."""
    board = builder.Dashboard(title).uid(uid).description(description).tags([TAG]).readonly()
    board.refresh("1m").time(since, "now").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    sources = [datasource("prometheus", "Prometheus")] + ([datasource("loki", "Loki")] if loki else [])
    site = query_variable("site", "Site", "label_values(netvane_build_info, site)")
    board.variables([*sources, site, *variables])
    board.links([_link_to_others()])
    board.annotations([_outages(), _anomalies()])
    identity = 0
    for row in rows:
        identity += 1
        board.with_row(builder.Row(row.title).id(identity))
        for panel in row.panels:
            identity += 1
            panel.build().id_val = identity  # builders hand out the object that they build
            board.with_panel(panel)
    return board


def datasource(name: str, label: str) -> builder.DatasourceVariable:
    return builder.DatasourceVariable(name).label(label).type(name)


def query_variable(
    name: str, label: str, query: str, *, several: bool = False, regex: str = "", hidden: bool = False
) -> builder.QueryVariable:
    """A variable whose values come from Prometheus; `several`: all of them unless some are chosen."""
    variable = builder.QueryVariable(name).label(label).query({"query": query, "refId": name}).datasource(PROMETHEUS)
    variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    variable.multi(several).include_all(several)
    if regex:
        variable.regex(regex)
    if hidden:
        variable.hide(model.VariableHide.HIDE_VARIABLE)
    return variable


_DEVICES = 'query_result(mac:netvane_device_info:named{site="$site"})'
_MAC_AND_NAME = '/mac="(?<value>[^"]+)".*name="(?<text>[^"]+)"/'


def any_device() -> builder.QueryVariable:
    """The variable `device`: MAC addresses, shown by name; all unless some are chosen, also those without a name."""
    return query_variable("device", "Device", _DEVICES, several=True, regex=_MAC_AND_NAME).all_value(".*")


def one_device() -> builder.QueryVariable:
    """The variable `device`: one MAC address, shown by name."""
    return query_variable("device", "Device", _DEVICES, regex=_MAC_AND_NAME)


def to_device(mac: str) -> builder.DashboardLink:
    """From one value of a panel to its device; `mac` is the label that holds any MAC address of it."""
    url = f"/d/{DEVICE}?${{__url_time_range}}&${{prometheus:queryparam}}&${{site:queryparam}}&var-device=${{{mac}}}"
    return builder.DashboardLink("Device").url(url)


def value_to_device() -> dict[str, str]:
    """The same from the cells of a table's column, as the field option `links` has it."""
    link = to_device("__value.raw").build()
    return {"title": link.title, "url": link.url}


def _link_to_others() -> builder.DashboardLink:
    link = builder.DashboardLink("Netvane").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(as_dropdown=True).keep_time(keep_time=True).include_vars(include_vars=True)


def _outages() -> builder.AnnotationQuery:
    # From Prometheus, because Loki need not be there.
    expr = 'max_over_time(culprit:netvane_outage_active:max1m{site="$site"}[$__interval]) == 1'
    return _annotation("Outages", expr, "red")


def _anomalies() -> builder.AnnotationQuery:
    metrics = ("netvane_anomaly_active", "netvane_flows_anomalies_going")
    found = " or ".join(f'max_over_time({metric}{{site="$site"}}[$__interval])' for metric in metrics)
    expr = f"max by (anomaly, mac) ({found}) > 0"
    return _annotation("Anomalies", expr, "orange")


def _annotation(name: str, expr: str, colour: str) -> builder.AnnotationQuery:
    mark = builder.AnnotationQuery().name(name).datasource(PROMETHEUS).expr(expr).icon_color(colour)
    return mark.enable(enable=True)
