"""The dashboards' JSON: complete, consistent, and what grafana/build makes of its sources."""

import re
from typing import Any

import pytest
import yaml

from grafana.build.catalogue import files
from tests.dashboards.expressions import DASHBOARDS, dashboards, panels

ALL = dashboards()
UIDS = {dashboard["uid"] for dashboard in ALL}
ROOT = DASHBOARDS.parents[1]
PROVISIONING = DASHBOARDS.parent / "provisioning"
COLUMNS = 24
# Grafana 9.4 to 13 load it; later ones bring it up to their own.
NEWEST_SCHEMA = 38

BUILT_IN = {"__rate_interval", "__interval", "__range", "__url_time_range"}
VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|([a-z_]\w*))")  # $1 is label_replace's
LINK = re.compile(r"/d/([\w-]+)")

KINDS = {
    *("timeseries", "state-timeline", "status-history", "table", "stat", "gauge", "bargauge", "heatmap", "geomap"),
    *("barchart", "piechart", "logs", "text"),
}

# What the name of a metric says of its unit, and which units of Grafana are that. The first match counts.
UNITS = (
    (r"_timestamp_seconds\b", {"dateTimeAsIso", "dateTimeFromNow", "s"}),
    (r"rate\([^)]*_bytes_total\b|_bytes:rate", {"Bps"}),
    (r"_cpu_seconds_total\b", {"percentunit"}),
    (r"sum_over_time\(\w+:\w+:max1m\b", {"m"}),  # one sample a minute
    (r"_bytes(_total)?\b", {"bytes", "percentunit"}),
    (r"loss:ratio|available:|_ratio\b|_active:max1m", {"percentunit"}),
    (r"_bits_per_second\b", {"bps"}),
    (r"_dbm\b", {"dBm"}),
    (r"_celsius\b|_temp\b", {"celsius"}),
    (r"rate\([^)]*(_packets_total|_drop_total|capture_dropped_total)\b", {"pps", "none"}),
    (r"rate\([^)]*_seconds_(sum|count|bucket)\b|_seconds(_total|:\w+)?\b", {"s", "none"}),
)


def parts(value: Any) -> list[str]:
    """All strings within."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in parts(item)]
    if isinstance(value, list):
        return [text for item in value for text in parts(item)]
    return [value] if isinstance(value, str) else []


EACH_DASHBOARD = [pytest.param(board, id=board["uid"]) for board in ALL]
PANELS = {f"{board['uid']}-{panel['id']}": panel for board in ALL for panel in panels(board)}
EACH_PANEL = [pytest.param(panel, id=name) for name, panel in PANELS.items()]
# All but those with words only.
EACH_WITH_DATA = [pytest.param(panel, id=name) for name, panel in PANELS.items() if panel["type"] != "text"]


def test_the_files_are_what_their_sources_make() -> None:
    """`make dashboards` writes them."""
    assert {file.name: file.read_text() for file in DASHBOARDS.glob("*.json")} == files()


def test_all_are_there_and_are_told_apart() -> None:
    titles = [dashboard["title"] for dashboard in ALL]
    assert sorted(titles) == sorted(
        ["Home", "Internet", "Devices", "Device", "Access point", "DHCP", "DNS log", "Security", "Netvane itself"]
    )
    assert len(UIDS) == len(ALL)
    assert all(8 <= len(uid) <= 40 for uid in UIDS)
    assert {panel["type"] for dashboard in ALL for panel in panels(dashboard)} == KINDS


@pytest.mark.parametrize("dashboard", EACH_DASHBOARD)
def test_manners(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] <= NEWEST_SCHEMA
    assert dashboard["editable"] is False
    assert (dashboard["refresh"], dashboard["graphTooltip"]) == ("1m", 1)
    assert dashboard["description"]
    assert {mark["name"] for mark in dashboard["annotations"]["list"]} == {"Outages", "Anomalies"}
    (link,) = dashboard["links"]
    assert (link["keepTime"], link["includeVars"], link["tags"]) == (True, True, dashboard["tags"])


@pytest.mark.parametrize("dashboard", EACH_DASHBOARD)
def test_panels_lie_on_the_grid_side_by_side(dashboard: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], int] = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["w"] > 0 < at["h"]
        assert 0 <= at["x"] <= COLUMNS - at["w"], panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["id"]) == panel["id"], panel["title"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.parametrize("dashboard", EACH_DASHBOARD)
def test_every_variable_is_known_and_used(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert {"prometheus", "site"} <= set(variables)
    content = {key: value for key, value in dashboard.items() if key != "templating"}
    texts = parts(content) + [text for variable in variables.values() for text in parts(variable.get("query"))]
    texts += [text for variable in variables.values() for text in parts(variable.get("datasource"))]
    named = {match[1] or match[2] for text in texts for match in VARIABLE.finditer(text)}
    assert named - BUILT_IN == set(variables)


@pytest.mark.parametrize("dashboard", EACH_DASHBOARD)
def test_links_lead_to_dashboards_that_exist_and_keep_the_variables(dashboard: dict[str, Any]) -> None:
    for url in (text for text in parts(dashboard) if text.startswith("/d/")):
        uid = LINK.match(url)
        assert uid is not None
        assert uid[1] in UIDS
        assert "${__url_time_range}" in url or "time.window=" in url
        assert "${prometheus:queryparam}" in url
        assert "${site:queryparam}" in url
        target = next(board for board in ALL if board["uid"] == uid[1])
        known = {variable["name"] for variable in target["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", url)) <= known


ALERTS = [
    rule
    for file in sorted([*(ROOT / "prometheus").glob("alerts/*.yml"), *(ROOT / "loki").glob("rules/*.yml")])
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alerts_lead_to_dashboards_that_exist_and_set_their_variables(rule: dict[str, Any]) -> None:
    link = re.fullmatch(r"/d/([\w-]+)(?:\?(.+))?", rule["annotations"]["dashboard_url"])
    assert link is not None
    target = next(board for board in ALL if board["uid"] == link[1])
    known = {variable["name"] for variable in target["templating"]["list"]}
    assert set(re.findall(r"var-(\w+)=", link[2] or "")) <= known


@pytest.mark.parametrize("panel", EACH_PANEL)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 10
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["options"] is not None  # Grafana adds its defaults to what is there


@pytest.mark.parametrize("panel", EACH_WITH_DATA)
def test_data_sources_are_variables(panel: dict[str, Any]) -> None:
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert {source["uid"] for source in sources} == {f"${{{source['type']}}}" for source in sources}
    assert len({source["type"] for source in sources}) == 1
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


@pytest.mark.parametrize("panel", EACH_WITH_DATA)
def test_rates_follow_the_interval_that_grafana_chooses(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        windows = re.findall(r"\b(?:rate|irate)\([^\[]*\[([^\]]+)\]", target["expr"])
        assert set(windows) <= {"$__rate_interval"}


@pytest.mark.parametrize("panel", EACH_WITH_DATA)
def test_units_match_the_metrics(panel: dict[str, Any]) -> None:
    shown = {panel["fieldConfig"]["defaults"]["unit"]}
    for override in panel["fieldConfig"]["overrides"]:
        shown |= {item["value"] for item in override["properties"] if item["id"] == "unit"}
    for target in panel["targets"]:
        if target["datasource"]["type"] == "prometheus" and not re.match(r"\W*(count|changes)\b", target["expr"]):
            allowed = next((units for suffix, units in UNITS if re.search(suffix, target["expr"])), None)
            assert allowed is None or shown & allowed, target["expr"]


def provisioned(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((PROVISIONING / name / "netvane.yml").read_text())
    return content


def test_data_sources_are_provisioned_without_addresses_and_secrets() -> None:
    sources = provisioned("datasources")["datasources"]
    assert [source["type"] for source in sources] == ["prometheus", "alertmanager", "loki"]
    for source in sources:
        assert source["url"] == f"${{NETVANE_{source['type'].upper()}_URL}}"
        assert not source.keys() & {"secureJsonData", "password", "basicAuth"}
        assert source["editable"] is False
    assert [source.get("isDefault", False) for source in sources] == [True, False, False]


def test_dashboards_are_provisioned_read_only() -> None:
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["options"]["path"] == "${NETVANE_DASHBOARDS}"
    assert (provider["allowUiUpdates"], provider["disableDeletion"]) == (False, True)


def test_a_mac_address_of_an_event_leads_to_its_device() -> None:
    loki = next(source for source in provisioned("datasources")["datasources"] if source["type"] == "loki")
    by_kind = {field["matcherType"]: field for field in loki["jsonData"]["derivedFields"]}
    device = next(dashboard for dashboard in ALL if dashboard["title"] == "Device")
    for field in by_kind.values():
        # Grafana takes a single dollar for a variable of the environment.
        assert field["url"] == f"/d/{device['uid']}?var-device=$${{__value.raw}}"
    assert by_kind["label"]["matcherRegex"] == "mac"
    found = re.search(by_kind["regex"]["matcherRegex"], '{"mac":"b8:27:eb:0a:00:01","address":"fd00:51::1"}')
    assert found is not None
    assert found[1] == "b8:27:eb:0a:00:01"
    assert not re.search(by_kind["regex"]["matcherRegex"], '{"address":"fd00:51::aa:bb"}')
