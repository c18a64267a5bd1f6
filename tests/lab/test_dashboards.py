"""Every PromQL expression of dashboards, rules and docs against a Prometheus that has scraped a home in trouble."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.dashboards.expressions import Expression, dashboards, expressions, interpolated
from tests.lab import addresses as at
from tests.lab.home import Home
from tests.lab.household import arp_frame, send_frames
from tests.lab.internet_settings import latency_settings
from tests.lab.netns import Namespace
from tests.lab.processes import NETVANE, ROOT
from tests.lab.prometheus import Prometheus, hurried_prometheus, netvane_up
from tests.lab.wait import eventually

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(360)]

STRANGER = "00:0c:29:00:00:66"
DEVICE_DASHBOARD = "netvane-device"

# Everything every five seconds, so that minutes show what takes hours …
PACE = dict.fromkeys(("5s", "15s", "60s", "1m", "5m"), "5s")
# … and what Grafana would make of its own variables then.
WINDOWS = {"__rate_interval": "1m", "__interval": "30s", "__range": "5m"}

# Panels that have nothing to show in the lab: their metrics, and why.
EXPECTED_EMPTY = {
    "node_wifi_station": "the lab has no Wi-Fi",
    "node_thermal_zone_temp": "a virtual machine has no sensors",
}


def settings(home: Home) -> dict[str, Any]:
    return {
        "site": "lab",
        "latency": latency_settings(targets=[{"name": "nobody", "host": "nobody.example"}]),
        "hosts": {"interval": "2s", "ping_interval": "1s"},
        "dhcp": {
            "lease_files": [str(home.leases)],
            "pools": ["-".join(at.DHCP_POOL)],
            "dhcp_only": True,
            "server_check_interval": "10s",
            "server_check_seconds": 1,
        },
        "flows": {"interfaces": ["eth0"]},
        "loki": {"url": "http://203.0.113.11:1"},  # away, so that events wait for it
    }


def trouble(home: Home, asked: Prometheus) -> None:
    """Something of everything that the dashboards show."""
    good, twin = home.gadgets[0], home.gadgets[1]
    eventually(lambda: asked.holds('netvane_verdict{verdict="ok"} == 1'), within=60, what="the verdict ok")
    eventually(lambda: asked.holds("netvane_first_sweep_timestamp_seconds > 0"), within=30, what="the first sweep")
    kept = (f"--{kind}-dir={home.rack.directory / kind}" for kind in ("data", "run"))
    expect = [*NETVANE, "devices", *kept, "expect", good.mac]
    home.mon.run(expect)
    home.lease(home.gadgets[2].ns, hostname="fridge")
    send_frames(good.ns, arp_frame(STRANGER, "198.51.100.77", at.ROUTER4))
    twin.ns.ip(f"addr add {good.address}/24 dev eth0")
    scan(good.ns)
    for name in ("site1.example", "site2.example", "nobody.example"):
        home.mon.run(["getent", "hosts", name], check=False)
    with home.fault.wan_cut():
        eventually(lambda: asked.holds("max(netvane_outage_active) == 1"), within=60, what="an outage")
    eventually(lambda: asked.holds("sum(netvane_outages_total) == 1"), within=120, what="its end")
    for sign in (
        "netvane_anomaly_active == 1",
        'netvane_flows_anomalies_total{anomaly="port_scan"} > 0',
        "netvane_device_announced_timestamp_seconds > 0",
        "netvane_device_rtt_seconds > 0",
        "netvane_dhcp_server_known",
        "netvane_dhcp_address_without_lease == 1",
        "mac:netvane_flows_device_bytes:rate5m > 0",
        "sum_over_time(culprit:netvane_outage_active:max1m[5m]) > 0",
        'ALERTS{alertstate="firing", severity!="none"}',
    ):
        eventually(lambda sign=sign: asked.holds(sign), within=60, what=sign)  # type: ignore[misc]


def scan(namespace: Namespace) -> None:
    """One SYN to each of forty ports of Netvane's machine, where nobody listens."""
    for port in range(20000, 20040):
        with pytest.raises(ConnectionRefusedError):
            namespace.connect(at.MON4, port)


def values(home: Home, dashboard: str) -> dict[str, str]:
    """What the variables of a dashboard are set to."""
    mac = home.gadgets[0].mac
    chosen = {"site": "lab", "role": ".+", "target": ".+", "device": ".*", **WINDOWS}
    return {**chosen, "device": mac, "id": mac, "mac": mac} if dashboard == DEVICE_DASHBOARD else chosen


def is_expected_empty(expr: str) -> bool:
    return any(metric in expr for metric in EXPECTED_EMPTY)


def test_every_expression_is_answered_and_no_panel_is_empty() -> None:
    with (
        Home(gadgets=3) as home,
        netvane_up(home, settings(home)) as (_, configuration),
        hurried_prometheus(home.mon, home.rack.directory, configuration, PACE) as asked,
    ):
        trouble(home, asked)
        empty = [one for one in expressions() if one.datasource == "prometheus" and not shows(home, asked, one)]
        surprising = [(one.dashboard, one.panel, one.expr) for one in empty if not is_expected_empty(one.expr)]
        assert surprising == []
        # What is excused is empty indeed.
        assert {metric for metric in EXPECTED_EMPTY if any(metric in one.expr for one in empty)} == set(EXPECTED_EMPTY)
        assert_variables_have_values(home, asked)
        for expr in [*of_annotations(home), *of_rules(), *of_docs()]:
            asked.query(expr)


def shows(home: Home, asked: Prometheus, one: Expression) -> bool:
    expr = interpolated(one.expr, values(home, one.dashboard))
    return bool(asked.query(expr) if one.instant else asked.query_range(expr))


def assert_variables_have_values(home: Home, asked: Prometheus) -> None:
    for dashboard in dashboards():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                query = interpolated(variable["query"]["query"], values(home, dashboard["uid"]))
                assert choices(asked, query, variable.get("regex", "")), (dashboard["uid"], query)


def choices(asked: Prometheus, query: str, regex: str) -> set[str]:
    """What Grafana offers for ``label_values(selector, label)`` or, cut by `regex`, for ``query_result(expr)``."""
    if match := re.fullmatch(r"label_values\((.+), (\w+)\)", query):
        return {series["metric"][match[2]] for series in asked.query(match[1])}
    match = re.fullmatch(r"query_result\((.+)\)", query)
    assert match
    pattern = re.compile(regex.strip("/").replace("(?<", "(?P<"))  # JavaScript's and Python's groups with names
    found = set()
    for series in asked.query(match[1]):
        labels = {key: value for key, value in sorted(series["metric"].items()) if key != "__name__"}
        row = pattern.search("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "} 1 1000")
        assert row, labels
        found.add(row["value"])
        assert row["text"]
    return found


def of_annotations(home: Home) -> Iterator[str]:
    for dashboard in dashboards():
        for mark in dashboard["annotations"]["list"]:
            yield interpolated(mark["expr"], values(home, dashboard["uid"]))


def of_rules() -> Iterator[str]:
    for file in sorted((ROOT / "prometheus").glob("*/*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


def of_docs() -> Iterator[str]:
    """The last column of tables in docs/metrics.md, and all blocks of PromQL: one expression each, or a line each."""
    for file in sorted((ROOT / "docs").rglob("*.md")):
        text = file.read_text()
        yield from re.findall(r"^\| `\w+` \|.*\| `(.+)` \|$", text, re.MULTILINE) if file.name == "metrics.md" else ()
        for block in re.findall(r"^```promql\n(.+?)^```", text, re.MULTILINE | re.DOTALL):
            yield from re.split(r"\n(?=\S)", block.strip())
