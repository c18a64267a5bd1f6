"""200 ICMP targets at 1/s: CPU, memory, late sends, scrape time; smokeping_prober beside it on the same targets."""

import contextlib
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.lab.exporters import running_exporter
from tests.lab.netns import Namespace
from tests.lab.rack import Rack
from tests.lab.wait import eventually

TARGETS = 200
SECONDS = 60
SCRAPES = 15
ADDRESSES = [f"198.51.100.{number}" for number in range(2, TARGETS + 2)]


def run() -> dict[str, Any]:
    settings = {
        "latency": {
            # Everything but these targets is off: what is measured is ICMP, as in the peer.
            "buckets": [0.001, 0.01, 0.1, 1.0],
            "anchors": [],
            "dns": {"interval": None, "tcp_interval": None, "dot_interval": None},
            "sites": {"interval": None},
            "web": {"captive_interval": None, "https_interval": None},
            "targets": [{"name": f"t{number}", "host": host} for number, host in enumerate(ADDRESSES)],
        }
    }
    with Rack() as rack, tempfile.TemporaryDirectory() as directory:
        probe, hosts = rack.namespaces("probe", "hosts")
        probe.ip(f"link add eth0 type veth peer name eth0 netns {hosts.name}")
        probe.ip("addr add 198.51.100.1/24 dev eth0", "link set eth0 up", "link set lo up")
        hosts.ip(*(f"addr add {address}/24 dev eth0" for address in ADDRESSES), "link set eth0 up", "link set lo up")
        probe.sysctl({"net.ipv4.ping_group_range": "0 2147483647"})
        with running_exporter("latency", probe, Path(directory), settings) as exporter:
            eventually(lambda: exporter.value("netvane_probe_rtt_seconds_count") >= TARGETS, within=30, what="answers")
            cpu, began = exporter.value("process_cpu_seconds_total"), time.monotonic()
            scrapes = _scrapes(probe, exporter.url)
            time.sleep(max(0.0, SECONDS - (time.monotonic() - began)))
            cpu_share = (exporter.value("process_cpu_seconds_total") - cpu) / (time.monotonic() - began)
            figures = {
                "cpu_percent": round(100 * cpu_share, 2),
                "rss_mb": round(exporter.value("process_resident_memory_bytes") / 1e6, 1),
                "late_sends": exporter.value("netvane_probe_late_sends_total"),
                "sent": exporter.value("netvane_probe_sent_total"),
                "answered": exporter.value("netvane_probe_rtt_seconds_count"),
                "series": exporter.namespace.http(exporter.url + "/metrics").text.count("\n"),
                "scrape_median_ms": round(1000 * statistics.median(scrapes), 1),
                "scrape_max_ms": round(1000 * max(scrapes), 1),
            }
        peer = _smokeping(probe)
    return {
        "netvane": figures,
        "smokeping_prober": peer,
        "goal": "under 10 % of one core, under 60 MB, none late by more than 50 ms, scrape under 100 ms",
    }


def _scrapes(probe: Namespace, url: str) -> list[float]:
    times = []
    for _ in range(SCRAPES):
        start = time.perf_counter()
        probe.http(url + "/metrics")
        times.append(time.perf_counter() - start)
        time.sleep(1)
    return times


def _smokeping(probe: Namespace) -> dict[str, float]:
    url = "http://127.0.0.1:9374/metrics"

    def metric(name: str) -> float:
        with contextlib.suppress(OSError):
            match = re.search(rf"^{name} (\S+)$", probe.http(url).text, re.MULTILINE)
            return float(match[1]) if match else 0.0
        return 0.0

    command = ["prometheus-smokeping-prober", "--privileged", "--web.listen-address=127.0.0.1:9374", *ADDRESSES]
    with probe.start(command):
        eventually(lambda: metric("process_cpu_seconds_total"), what="smokeping_prober")
        time.sleep(5)
        cpu, began = metric("process_cpu_seconds_total"), time.monotonic()
        time.sleep(SECONDS / 2)
        share = (metric("process_cpu_seconds_total") - cpu) / (time.monotonic() - began)
        return {
            "cpu_percent": round(100 * share, 2),
            "rss_mb": round(metric("process_resident_memory_bytes") / 1e6, 1),
        }
