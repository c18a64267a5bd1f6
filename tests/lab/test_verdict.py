"""The fault matrix: each fault on real packets, the verdict it leads to, and back."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import addresses as at
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.faults import Fault, Faults
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.processes import PYTHON_ENV, Process
from tests.lab.wait import eventually

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(300)]


SETTINGS = {"network": {"resolvers": [at.ROUTER4]}, "latency": latency_settings()}


def running_raw(home: Home, directory: Path) -> Process:
    command = [sys.executable, "-m", "netvane.cli", "raw", "--run-dir", str(directory), "--interface", "eth0"]
    return home.mon.start(command, env=PYTHON_ENV)


@contextmanager
def watched(home: Home, directory: Path) -> Iterator[RunningExporter]:
    """The latency exporter with its helper, once its verdict is ok and the provider's hops are known."""
    with running_raw(home, directory), running_exporter("latency", home.mon, directory, SETTINGS) as exporter:
        eventually(lambda: verdict(exporter) == "ok", within=30, what="ok at the start")
        eventually(lambda: exporter.value("netvane_probe_rtt_seconds_count", role="isp") >= 3, within=60, what="hops")
        yield exporter


def verdict(exporter: RunningExporter) -> str:
    true = [labels["verdict"] for labels, value in exporter.samples("netvane_verdict") if value == 1]
    assert len(true) <= 1
    return true[0] if true else "none"


FAULTS: list[tuple[str, Callable[[Faults], Fault], str, float]] = [
    ("own_link_down", Faults.own_link_down, "link", 15),
    ("router_dead", Faults.router_unplugged, "router", 15),
    ("wan_cut", Faults.wan_cut, "isp", 15),
    ("isp_dead", Faults.isp_dead, "isp", 15),
    ("upstream_cut", Faults.upstream_cut, "upstream", 15),
    ("resolver_dead", lambda fault: fault.resolver("mute"), "dns", 20),
    ("resolver_nxdomain", lambda fault: fault.resolver("nxdomain"), "dns", 30),
    ("resolver_wrong", lambda fault: fault.resolver("wrong"), "dns", 30),
    ("ipv6_black_hole", Faults.ipv6_black_hole, "ipv6", 30),
    ("captive_portal", Faults.captive_portal, "captive_portal", 30),
    ("sites_refuse_tcp", Faults.sites_refuse_tcp, "web", 30),
]


@pytest.mark.parametrize(("fault", "expected", "within"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_fault(tmp_path: Path, fault: Callable[[Faults], Fault], expected: str, within: float) -> None:
    with Home(gadgets=1) as home, watched(home, tmp_path) as exporter:
        with fault(home.fault) as broken:
            seen = eventually(lambda: found if (found := verdict(exporter)) != "ok" else None, within=within)
            assert broken.began_ns is not None
            print(f"{broken.name}: {seen} after {(time.time_ns() - broken.began_ns) / 1e9:.1f} s")
            eventually(lambda: verdict(exporter) == expected, within=1, what=f"{expected}, not {verdict(exporter)}")
            time.sleep(5)
            assert verdict(exporter) == expected
        eventually(lambda: verdict(exporter) == "ok", within=20, what="ok again")
        assert broken.ended_ns is not None
        print(f"{broken.name}: ok {(time.time_ns() - broken.ended_ns) / 1e9:.1f} s after healing")


WORSE: list[tuple[str, Callable[[Faults], Fault], str]] = [
    ("resolver_slow", lambda fault: fault.resolver("slow"), "dns"),
    ("loss_at_the_provider", lambda fault: fault.wan_worse(loss=0.05), "isp"),
    ("slow_home_side", lambda fault: fault.lan_worse(delay=0.1, jitter=0.02), "router"),
]


@pytest.mark.parametrize(("fault", "segment"), [row[1:] for row in WORSE], ids=[row[0] for row in WORSE])
def test_degraded_names_where_it_begins(tmp_path: Path, fault: Callable[[Faults], Fault], segment: str) -> None:
    with Home(gadgets=1, lan_cable=True, wan_cable=True) as home, watched(home, tmp_path) as exporter:
        # What is usual has to be known before anything can be worse than that.
        eventually(lambda: exporter.value("netvane_probe_rtt_seconds_count", target="router") >= 40, within=60)
        with fault(home.fault) as worse:
            eventually(lambda: verdict(exporter) != "ok", within=90, what="another verdict")
            assert worse.began_ns is not None
            print(f"{worse.name}: {verdict(exporter)} after {(time.time_ns() - worse.began_ns) / 1e9:.1f} s")
            assert verdict(exporter) == "degraded"
            eventually(lambda: exporter.value("netvane_degraded", segment=segment) == 1, within=30, what=segment)
        eventually(lambda: verdict(exporter) == "ok", within=90, what="ok again")
        assert worse.ended_ns is not None
        print(f"{worse.name}: ok {(time.time_ns() - worse.ended_ns) / 1e9:.1f} s after healing")
        assert exporter.value("netvane_outage_last_start_timestamp_seconds") == 0


HARMLESS: list[tuple[str, Callable[[Faults], Fault]]] = [
    ("router_mute", Faults.router_mute),
    ("isp_mute", Faults.isp_mute),
    ("one_anchor_dead", lambda fault: fault.anchor_dead(0)),
]


@pytest.mark.parametrize("fault", [row[1] for row in HARMLESS], ids=[row[0] for row in HARMLESS])
@pytest.mark.parametrize("when", ["before", "during"])
def test_harmless(tmp_path: Path, fault: Callable[[Faults], Fault], when: str) -> None:
    """What was mute from the start, and what falls silent while all the rest goes on: nobody is blamed for it."""
    with Home(gadgets=1) as home:
        odd = fault(home.fault)
        if when == "before":
            odd.cut()
        with running_raw(home, tmp_path), running_exporter("latency", home.mon, tmp_path, SETTINGS) as exporter:
            eventually(lambda: verdict(exporter) == "ok", within=30, what="ok at the start")
            odd.cut()
            seen = set()
            for _ in range(40):
                time.sleep(0.5)
                seen.add(verdict(exporter))
            assert seen == {"ok"}
