"""Round-trip times beside ping, blackbox_exporter and smokeping_prober, with two busy spinners on the cores.

All four probe the same lab host at the same time, so that they share whatever the machine is doing.
"""

import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.lab.netns import Namespace
from tests.lab.processes import PYTHON_ENV
from tests.lab.rack import Rack
from tests.lab.wait import eventually

ADDRESS = "198.51.100.2"
COUNT = 300
INTERVAL_MS = 200
FINE = [round(step * 5e-6, 7) for step in range(1, 101)]  # 5 µs to 500 µs: smokeping_prober only has a histogram
SPINNER = "while :; do :; done"


def run() -> dict[str, Any]:
    with Rack() as rack, tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as running:
        probe, host = rack.namespaces("probe", "host")
        probe.ip(f"link add eth0 type veth peer name eth0 netns {host.name}")
        for namespace, address in ((probe, "198.51.100.1"), (host, ADDRESS)):
            namespace.ip(f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up")
        probe.sysctl({"net.ipv4.ping_group_range": "0 2147483647"})
        for core in range(os.cpu_count() or 1):
            running.enter_context(host.start(["taskset", "-c", str(core), "timeout", "300", "sh", "-c", SPINNER]))
        log = Path(directory)
        seconds = INTERVAL_MS / 1000
        netvane = probe.start(
            [sys.executable, "-m", "tests.bench.rtt_recorder", ADDRESS, str(COUNT), str(INTERVAL_MS)],
            env=PYTHON_ENV,
            log=log / "netvane",
        )
        ping = probe.start(["ping", "-D", "-i", str(seconds), "-c", str(COUNT), ADDRESS], log=log / "ping")
        smokeping = probe.start(
            [
                *("prometheus-smokeping-prober", "--privileged", "--web.listen-address=127.0.0.1:9374"),
                *(f"--ping.interval={INTERVAL_MS}ms", "--buckets=" + ",".join(map(str, FINE)), ADDRESS),
            ]
        )
        running.enter_context(smokeping)
        (log / "blackbox.yml").write_text("modules: {icmp: {prober: icmp, icmp: {preferred_ip_protocol: ip4}}}\n")
        running.enter_context(
            probe.start(
                [
                    *("prometheus-blackbox-exporter", f"--config.file={log / 'blackbox.yml'}"),
                    "--web.listen-address=127.0.0.1:9115",
                ]
            )
        )
        blackbox = _blackbox(probe, until=time.monotonic() + COUNT * seconds)
        smoked = probe.http("http://127.0.0.1:9374/metrics").text
        netvane.wait(60)
        ping.wait(60)
        recorded = json.loads((log / "netvane").read_text().splitlines()[-1])
        pinged = [float(value) / 1000 for value in re.findall(r"time=([\d.]+) ms", (log / "ping").read_text())]
    ours, theirs = _summary(recorded), _summary(pinged)
    return {
        "netvane": ours,
        "ping": theirs,
        "blackbox_exporter": _summary(blackbox),
        "smokeping_prober": _from_histogram(smoked),
        "median_minus_ping_us": round(ours["median_us"] - theirs["median_us"], 1),
        "p99_minus_ping_us": round(ours["p99_us"] - theirs["p99_us"], 1),
        "goal": "median within 50 us of ping, p99 within 500 us",
    }


def _blackbox(probe: Namespace, until: float) -> list[float]:
    url = f"http://127.0.0.1:9115/probe?target={ADDRESS}&module=icmp"

    def once() -> str:
        with contextlib.suppress(OSError):
            return probe.http(url).text
        return ""

    eventually(once, what="blackbox_exporter")
    times = []
    while time.monotonic() < until:
        match = re.search(r'probe_icmp_duration_seconds\{phase="rtt"\} (\S+)', once())
        if match:
            times.append(float(match[1]))
        time.sleep(INTERVAL_MS / 1000)
    return times


def _summary(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {
        "answers": len(seconds),
        "median_us": round(statistics.median(seconds) * 1e6, 1),
        "p99_us": round(cuts[98] * 1e6, 1),
        "max_us": round(max(seconds) * 1e6, 1),
    }


def _from_histogram(metrics: str) -> dict[str, float]:
    buckets = [
        (float(edge), float(count))
        for edge, count in re.findall(r'smokeping_response_duration_seconds_bucket\{.*le="(.+?)"\} (\S+)', metrics)
    ]
    total = buckets[-1][1]
    return {
        "answers": total,
        "median_us_at_most": round(next(edge for edge, count in buckets if count >= total * 0.5) * 1e6, 1),
        "p99_us_at_most": round(next(edge for edge, count in buckets if count >= total * 0.99) * 1e6, 1),
    }
