"""Lease files: 100,000 leases parsed, a million damaged lines, scrapes, and how soon a change is seen."""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from netvane.dhcp import formats
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.rack import Rack
from tests.leases import SERVERS, Server, damaged, leases, written_in

MANY = 100_000
FEW = 1_000
FAR = 1_900_000_000
DAMAGED_LINES = 1_000_000
LINES_AT_ONCE = 8
SCRAPES = 30
CHANGES = 10

_PARSE = """
import resource, sys, time
from netvane.dhcp import formats
text = open(sys.argv[1], "rb").read()
start = time.process_time()
parsed = formats.parse(text, formats.recognize(text))
print(time.process_time() - start, len(parsed.leases), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        return {
            "parse": {_name(server): _parse(server, Path(directory)) for server in SERVERS},
            "damage": {_name(server): _damage(server) for server in SERVERS},
            "exporter": _exporter(),
            "goal": "100,000 dnsmasq leases under 1 s of CPU and 150 MB; no wrong lease from a million damaged lines; "
            "scrape under 150 ms with 1,000 leases; a change visible within 1 s",
        }


def _name(server: Server) -> str:
    return server.format + ("-v6" if server.ipv6 and server.format == "dnsmasq" else "")


def _parse(server: Server, directory: Path) -> dict[str, float]:
    """In a process of its own, so that its memory is its own."""
    file = directory / "leases"
    file.write_bytes(server.file(list(leases(MANY, ipv6=server.ipv6))))
    done = subprocess.run([sys.executable, "-c", _PARSE, str(file)], capture_output=True, text=True, check=True)
    seconds, count, kibibytes = map(float, done.stdout.split())
    return {"leases": count, "cpu_seconds": round(seconds, 3), "peak_rss_mb": round(kibibytes * 1024 / 1e6, 1)}


def _damage(server: Server) -> dict[str, int]:
    """`wrong`: leases that no record in the damaged text says."""
    chance = random.Random(5)  # noqa: S311 - the same damage in each run
    truth = list(leases(LINES_AT_ONCE, ipv6=server.ipv6))
    text = server.file(truth)
    believed = {lease.address: lease for lease in truth}
    lines_a_text = text.count(b"\n")
    found: Counter[str] = Counter(lines=0, records_damaged=0, wrong=0)
    while found["lines"] < DAMAGED_LINES // len(SERVERS):
        broken = damaged(text, chance)
        parsed = formats.parse(broken, server.format)
        found["lines"] += lines_a_text
        found["records_damaged"] += len(parsed.damage)
        found["wrong"] += sum(
            1
            for lease in parsed.leases.values()
            if believed.get(lease.address) != lease and not written_in(server, lease, broken)
        )
    return dict(found)


def _exporter() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for count in (FEW, MANY):
        with Rack() as rack, tempfile.TemporaryDirectory() as directory:
            (namespace,) = rack.namespaces("dhcp")
            namespace.ip("link set lo up")
            file = Path(directory) / "dhcp.leases"
            text = SERVERS[0].file(list(leases(count, first_end=FAR)))
            file.write_bytes(text)
            settings = {
                "dhcp": {
                    "lease_files": [str(file)],
                    "expiry_per_lease": True,
                    "server_check": False,
                    "pools": ["10.0.0.0/16"],
                }
            }
            with running_exporter("dhcp", namespace, Path(directory), settings) as exporter:
                _wait_for(exporter, count)
                _wait_for_archive(exporter, count)
                scrapes = [_scrape(exporter) for _ in range(SCRAPES)]
                seen = [_change(exporter, file, text, count, number) for number in range(CHANGES)]
                figures[f"{count}_leases"] = {
                    "scrape_median_ms": round(1000 * statistics.median(scrapes), 1),
                    "scrape_max_ms": round(1000 * max(scrapes), 1),
                    "change_seen_median_ms": round(1000 * statistics.median(seen)),
                    "change_seen_max_ms": round(1000 * max(seen)),
                    "rss_mb": round(exporter.value("process_resident_memory_bytes") / 1e6, 1),
                }
    return figures


def _change(exporter: RunningExporter, file: Path, text: bytes, count: int, number: int) -> float:
    """Seconds until a lease more (or its end) is on /metrics; the file is written anew in place, as dnsmasq does.

    Changes come three seconds apart: a file that takes long to read is not read all the time.
    """
    time.sleep(3)
    more = b"1900000000 b8:27:eb:ff:ff:ff 10.250.0.1 new *\n" if number % 2 == 0 else b""
    with file.open("r+b") as writing:
        writing.truncate(0)
        writing.write(text + more)
    start = time.perf_counter()
    _wait_for(exporter, count + bool(more))
    return time.perf_counter() - start


def _scrape(exporter: RunningExporter) -> float:
    start = time.perf_counter()
    exporter.namespace.http(exporter.url + "/metrics")
    return time.perf_counter() - start


def _wait_for(exporter: RunningExporter, count: int) -> None:
    deadline = time.monotonic() + 60
    while exporter.value("netvane_dhcp_leases", state="active") != count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not {count} leases: {exporter.process.output()}")
        time.sleep(0.005)


def _wait_for_archive(exporter: RunningExporter, count: int) -> None:
    deadline = time.monotonic() + 120
    while exporter.value("netvane_dhcp_devices_seen") != count:
        if time.monotonic() > deadline:
            raise TimeoutError("the archive does not come")
        time.sleep(0.2)
