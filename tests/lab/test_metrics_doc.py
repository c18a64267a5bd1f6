"""docs/metrics.md against live scrapes: every metric is listed with its type and labels, and nothing else is."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.lab import addresses as at
from tests.lab.dhcp import raw
from tests.lab.exporters import running_exporter
from tests.lab.home import Home
from tests.lab.household import FAST, arp_frame, ask, devices, first_sweep, send_frames, watching
from tests.lab.internet_settings import latency_settings
from tests.lab.wait import eventually

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"
_ROW = re.compile(
    r"\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>[^|]*) \| (?P<unit>[^|]*) \| .* \| `(?P<promql>.+)` \|"
)
_OWN_LABELS = {"le"}


def documented(section: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Metric name -> (type, labels) in the section of that heading and in the one that all exporters share."""
    text = DOC.read_text()
    rows: dict[str, tuple[str, frozenset[str]]] = {}
    for heading in ("Every exporter", section):
        body = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        assert body, heading
        for row in _ROW.finditer(body[1]):
            assert row["name"] not in rows, row["name"]
            rows[row["name"]] = (row["type"], frozenset(re.findall(r"`(\w+)`", row["labels"])))
    return rows


def scraped(text: str) -> dict[str, tuple[str, set[str]]]:
    """Metric name as it is queried -> (type, labels seen)."""
    found: dict[str, tuple[str, set[str]]] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            found[name] = (kind, set())
        elif not line.startswith("#"):
            match = re.match(r"(\w+)(?:\{(.*)\})? ", line)
            assert match, line
            name = match[1] if match[1] in found else re.sub(r"_(bucket|count|sum)$", "", match[1])
            found[name][1].update(re.findall(r'(\w+)="', match[2] or ""))
    return found


def test_every_example_is_promql(tmp_path: Path) -> None:
    examples = [row["promql"] for row in _ROW.finditer(DOC.read_text())]
    rules = [{"record": f"example_{number}", "expr": expression} for number, expression in enumerate(examples)]
    file = tmp_path / "examples.yml"
    file.write_text(json.dumps({"groups": [{"name": "examples", "rules": rules}]}))
    checked = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"{len(examples)} rules found" in checked.stdout


@pytest.mark.lab
def test_latency(tmp_path: Path) -> None:
    with Home(gadgets=1) as home:
        # Something of everything: a name that cannot be resolved, a Loki that is away, a line that got slow.
        settings = {
            "loki": {"url": "http://203.0.113.11:1"},
            "latency": latency_settings(targets=[{"name": "none", "host": "none.example"}]),
        }
        with running_exporter("latency", home.mon, tmp_path, settings) as exporter:
            eventually(lambda: exporter.value("netvane_resolve_failures_total") > 0, what="a failure to resolve")
            eventually(lambda: exporter.value("netvane_events_stored_total") > 0, within=30, what="an event")

            def all_have_answers() -> bool:
                probes = ("icmp", "dns_udp", "tcp", "captive")
                return all(exporter.value("netvane_probe_rtt_seconds_count", probe=probe) > 0 for probe in probes)

            eventually(all_have_answers, within=30, what="answers to every kind of probe")
            live = scraped(home.mon.http(exporter.url + "/metrics").text)
    assert_documented("latency", live)


@pytest.mark.lab
def test_dhcp(tmp_path: Path) -> None:
    leases = tmp_path / "leases"
    leases.write_text("1900000000 b8:27:eb:00:00:01 198.51.100.101 fridge *\ndamaged\n")
    with Home(gadgets=1) as home:
        settings = {
            "loki": {"url": "http://203.0.113.11:1"},
            "dhcp": {
                "lease_files": [str(leases)],
                "pools": ["198.51.100.100-198.51.100.199"],
                "expiry_per_lease": True,
                "server_check_interval": "10s",
                "server_check_seconds": 1,
            },
        }
        with raw(home.mon, home.rack, tmp_path), running_exporter("dhcp", home.mon, tmp_path, settings) as exporter:
            eventually(lambda: exporter.samples("netvane_dhcp_server_known"), within=30, what="the router")
            eventually(lambda: exporter.samples("netvane_dhcp_lease_expiry_timestamp_seconds"), what="the lease")
            live = scraped(home.mon.http(exporter.url + "/metrics").text)
    assert_documented("dhcp", live)


@pytest.mark.lab
def test_flows(tmp_path: Path) -> None:
    with Home(gadgets=1) as home:
        settings = {"loki": {"url": "http://203.0.113.11:1"}, "flows": {"interfaces": ["eth0"]}}
        with running_exporter("flows", home.mon, tmp_path, settings) as exporter:
            home.mon.run(["getent", "hosts", "site1.example"])
            eventually(lambda: exporter.value("netvane_flows_dns_messages_total") > 0, what="a message")
            eventually(lambda: exporter.value("netvane_events_stored_total") > 0, within=20, what="an event")
            live = scraped(home.mon.http(exporter.url + "/metrics").text)
    assert_documented("flows", live)


def assert_documented(section: str, live: dict[str, tuple[str, set[str]]]) -> None:
    rows = documented(section)
    assert sorted(live) == sorted(rows)
    for name, (kind, labels) in live.items():
        assert (name, kind) == (name, rows[name][0])
        # A metric of things that have not happened has no samples, so no labels to see.
        assert (name, labels - _OWN_LABELS - rows[name][1]) == (name, set())


@pytest.mark.lab
def test_hosts() -> None:
    with Home(gadgets=2) as home:
        # Something of everything: a stranger, an expected device, two with one address, a Loki that is away.
        home.gadgets[1].ns.ip(f"addr add {home.gadgets[0].address}/24 dev eth0")
        settings = {"loki": {"url": "http://203.0.113.11:1"}, "hosts": {**FAST["hosts"], "address_metrics": True}}
        with watching(home.mon, home.rack.directory, settings) as exporter:
            eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
            mac = home.gadgets[0].mac
            ask(exporter, "change", entries=[{"device": mac, "expected": True}])
            send_frames(home.gadgets[0].ns, arp_frame("00:0c:29:00:00:66", "198.51.100.77", at.ROUTER4))
            announced = "netvane_device_announced_timestamp_seconds"
            eventually(lambda: exporter.samples(announced), within=20, what="an announcement")
            eventually(lambda: exporter.samples("netvane_device_rtt_seconds"), what="an answered ping")
            eventually(lambda: exporter.samples("netvane_anomaly_active"), within=20, what="a conflict")
            assert mac in devices(exporter)
            live = scraped(home.mon.http(exporter.url + "/metrics").text)
    rows = documented("hosts")
    assert sorted(live) == sorted(rows)
    for name, (kind, labels) in live.items():
        assert (name, kind) == (name, rows[name][0])
        assert (name, labels - rows[name][1]) == (name, set())
