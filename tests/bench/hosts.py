"""The hosts exporter: sweeps beside arp-scan, nmap and scapy; 500 devices in the registry; a week of their history.

All in namespaces of its own: 50 hosts on a /24, then 500 on a /22.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netvane.common import rawclient
from netvane.hosts.evidence import Evidence
from netvane.hosts.household import Household
from netvane.hosts.registry_file import RegistryFile
from netvane.hosts.registry_rows import take_unsaved
from netvane.hosts.vendors import load_now
from tests.bench.processes import cpu_seconds, resident_mb
from tests.clock import FakeClock
from tests.lab.crowd import crowd, mac_of
from tests.lab.exporters import running_exporter
from tests.lab.household import FAST, first_sweep
from tests.lab.netns import Namespace
from tests.lab.rack import Rack
from tests.lab.raw import RunningRaw, running_raw
from tests.lab.wait import eventually

HOSTS = 50
TURNS = 5
CROWD = 500
SCRAPES = 15
WEEK_SWEEPS = 2016
SWEEP_SECONDS = 300
SMALL, LARGE = "198.51.100.0/24", "198.18.0.0/22"

SCAPY = f"""
import time
began = time.time()
from scapy.layers.l2 import ARP, Ether
from scapy.sendrecv import srp
answered, _ = srp(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="{SMALL}"), iface="eth0", timeout=0.5, retry=1, verbose=0)
print(len(answered))
"""


def run() -> dict[str, Any]:
    return {
        "sweep_24_with_50_hosts": _small(),
        "500_devices_on_a_22": _large(),
        "week_of_500_devices": _week(),
        "goal": (
            "/24: all found, at most 1.2 x arp-scan, less than nmap, under 3 s CPU; 500 devices: scrape under 100 ms, "
            "exporter and helper under 80 MB, /22 within 10 s; week: under 20 MB, under 1 transaction per 5 s"
        ),
    }


def _small() -> dict[str, Any]:
    addresses = [f"198.51.100.{100 + number}" for number in range(HOSTS)]
    with Rack() as rack:
        mon, _ = crowd(rack, addresses)
        with running_raw(mon, rack.directory, "--interface=eth0") as raw:
            cpu = cpu_seconds(raw.process.pid)
            wall, found = _timed(lambda: _sweep(raw, SMALL))
            cpu = (cpu_seconds(raw.process.pid) - cpu) / TURNS
            arp_scan, _ = _timed(lambda: _count(mon, "arp-scan --interface=eth0 --quiet --plain " + SMALL))
            nmap, _ = _timed(lambda: _count(mon, "nmap -sn -n -oG - " + SMALL, "Status: Up"))
            scapy, _ = _timed(lambda: int(mon.run([sys.executable, "-c", SCAPY]).stdout))
    return {
        "found": found,
        "netvane_median_s": wall,
        "netvane_cpu_s": round(cpu, 3),
        "arp_scan_median_s": arp_scan,
        "nmap_median_s": nmap,
        "scapy_median_s": scapy,
        "times_arp_scan": round(wall / arp_scan, 2),
    }


def _large() -> dict[str, Any]:
    addresses = [f"198.18.{1 + number // 250}.{1 + number % 250}" for number in range(CROWD)]
    with Rack() as rack:
        mon, _ = crowd(rack, addresses, own="198.18.0.2/22")
        settings = {"hosts": {**FAST["hosts"], "interval": "10s"}}
        with (
            running_raw(mon, rack.directory, "--interface=eth0") as raw,
            running_exporter("hosts", mon, raw.socket.parent, settings) as exporter,
        ):
            eventually(lambda: first_sweep(exporter), within=60, what="the first sweep")
            eventually(lambda: exporter.value("netvane_sweeps_total") >= 3, within=60, what="more sweeps")
            times = []
            for _ in range(SCRAPES):
                began = time.perf_counter()
                text = mon.http(exporter.url + "/metrics").text
                times.append(time.perf_counter() - began)
                time.sleep(1)
            cpu = cpu_seconds(exporter.process.pid)
            for _ in range(SCRAPES):
                mon.http(exporter.url + "/metrics")
            cpu = (cpu_seconds(exporter.process.pid) - cpu) / SCRAPES
            exporter_mb = exporter.value("process_resident_memory_bytes") / 1e6
            helper_mb = resident_mb(raw.process.pid)
            return {
                "found": exporter.value("netvane_sweep_hosts"),
                "sweep_s": round(exporter.value("netvane_sweep_duration_seconds"), 2),
                "series": sum(not line.startswith("#") for line in text.splitlines()),
                "scrape_median_ms": round(1000 * statistics.median(times), 1),
                "scrape_max_ms": round(1000 * max(times), 1),
                "scrape_cpu_ms": round(1000 * cpu, 1),  # what the load of the machine leaves as it is
                "exporter_mb": round(exporter_mb, 1),
                "helper_mb": round(helper_mb, 1),
                "together_mb": round(exporter_mb + helper_mb, 1),
            }


def _week() -> dict[str, Any]:
    """2,016 rounds of 500 devices, a tenth of which sleep and a tenth of which come and go, written as in earnest: at
    once for what is new, else every five minutes.
    """
    load_now()
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        file = RegistryFile(Path(directory) / "registry.db", clock)
        stack.callback(file.close)
        events: list[object] = []
        household = Household(file.open().registry, clock, lambda event, _mac, _name: events.append(event))
        writes, seconds = 0, 0.0
        for number in range(WEEK_SWEEPS):
            clock.advance(SWEEP_SECONDS)
            household.begin_round()
            for device in range(CROWD):
                asleep = device % 10 == 0 and (number + device) % 6
                out = device % 10 == 1 and number % 288 > 180
                if asleep or out:
                    continue
                address = f"198.18.{device // 250}.{(device + number // 400) % 250 + 1}"
                household.take(Evidence(mac_of(device), clock.wall_ns(), "sweep", LARGE, address))
            household.end_round({LARGE}, frozenset())
            began = time.perf_counter()
            file.save(take_unsaved(household.registry)[0])
            seconds += time.perf_counter() - began
            writes += 1
        used = file.bytes()
        file.copy()
        copy = (Path(directory) / "registry.db.good").stat().st_size
    return {
        "registry_mb": round(used / 1e6, 2),
        "copy_mb": round(copy / 1e6, 2),
        "events": len(events),
        "transactions": writes,
        "seconds_per_transaction": round(WEEK_SWEEPS * SWEEP_SECONDS / writes, 1),
        "write_ms": round(1000 * seconds / writes, 1),
    }


def _timed(action: Callable[[], int]) -> tuple[float, int]:
    """Median wall time in seconds, and the smallest result."""
    times, results = [], []
    for _ in range(TURNS):
        began = time.perf_counter()
        results.append(action())
        times.append(time.perf_counter() - began)
    return round(statistics.median(times), 2), min(results)


def _sweep(raw: RunningRaw, subnet: str) -> int:
    sweep = asyncio.run(rawclient.arp_sweep(raw.socket, "eth0", subnet))
    assert sweep.error is None, sweep.error
    return len(sweep.answers)


def _count(namespace: Namespace, command: str, wanted: str = "") -> int:
    return sum(wanted in line for line in namespace.run(command, timeout=60).stdout.splitlines())
