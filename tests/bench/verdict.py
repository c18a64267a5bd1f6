"""The default set-up in the lab: CPU, memory, WAN bytes; and how long a verdict takes with 200 targets."""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from netvane.common.clock import NANOSECONDS
from netvane.latency.evidence import Observations, Surroundings
from netvane.latency.prober import Target
from netvane.latency.series import Series
from netvane.latency.verdict import judge
from tests.lab import addresses as at
from tests.lab.certificate import make_certificate
from tests.lab.exporters import running_exporter
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.processes import PYTHON_ENV
from tests.lab.wait import eventually

SECONDS = 600
DAY = 86_400
# A certificate of a large site, as the default page's is, has about so many names; its size is most of what TLS costs.
OTHER_NAMES = tuple(f"DNS:name{number}.service{number}.example" for number in range(100))


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        certificate = make_certificate(directory, "DNS:check.example", *OTHER_NAMES)
        raw = [sys.executable, "-m", "netvane.cli", "raw", "--run-dir", folder, "--interface", "eth0"]
        # The resolver beyond the WAN instead of the router's: then all that is asked of it counts.
        settings = {"network": {"resolvers": [at.RESOLVER4]}, "latency": latency_settings(certificate)}
        with (
            Home(gadgets=1, certificate=certificate) as home,
            home.mon.start(raw, env=PYTHON_ENV),
            running_exporter("latency", home.mon, directory, settings) as exporter,
        ):
            eventually(lambda: exporter.value("netvane_verdict", verdict="ok") == 1, within=60, what="ok")
            start = _reading(exporter, home)
            time.sleep(SECONDS)
            end = _reading(exporter, home)
            unanswered = {
                labels["probe"]: value for labels, value in exporter.samples("netvane_probe_errors_total") if value
            }
    seconds, cpu, counted, carried = (after - before for before, after in zip(start[:4], end[:4], strict=True))
    return {
        "cpu_percent": round(100 * cpu / seconds, 2),
        "rss_mb": round(end[4] / 1e6, 1),
        "wan_mb_a_day_counted": round(counted / seconds * DAY / 1e6, 1),
        "wan_mb_a_day_on_the_wire": round(carried / seconds * DAY / 1e6, 1),
        "probe_errors": unanswered,
        "verdict_ms_with_200_targets": round(1000 * _verdict_seconds(), 3),
        "goal": "under 3 % of one core, 70 MB, 100 MB a day, verdict under 5 ms",
    }


def _reading(exporter: Any, home: Home) -> tuple[float, float, float, float, float]:
    statistics_of = home.gw.run("cat /proc/net/dev").stdout
    wan = next(line.split() for line in statistics_of.splitlines() if line.strip().startswith("wan:"))
    frames, octets = int(wan[2]) + int(wan[10]), int(wan[1]) + int(wan[9])
    return (
        time.monotonic(),
        exporter.value("process_cpu_seconds_total"),
        exporter.value("netvane_probe_wan_bytes_total"),
        float(octets - 14 * frames),
        exporter.value("process_resident_memory_bytes"),
    )


def _verdict_seconds() -> float:
    """The median time of laying out the evidence of a full minute of 200 targets, and judging it."""
    snapshot = []
    roles = ["router", "isp", "anchor", "anchor", "anchor"] + ["target"] * 195
    for number, role in enumerate(roles):
        series = Series((0.001, 0.01, 0.1, 1.0))
        for second in range(60):
            series.probe_sent(second * NANOSECONDS)
            series.answered(second * NANOSECONDS, 0.02, second)
        snapshot.append((Target(f"t{number}", role, 4, "198.51.100.1", NANOSECONDS), series))
    observations = Observations(0)
    around = Surroundings(link_up=True, router_in_neighbour_table=True, ipv6_configured=True)
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        judge(observations.lay_out(snapshot, around, 62 * NANOSECONDS))
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
