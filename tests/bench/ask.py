"""`netvane ask` for a month of one device among 50, in a store of ten million rows, as its owner types it."""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from netvane.common.clock import NANOSECONDS, rfc3339
from netvane.common.event_file import open_database
from netvane.common.event_schema import Dns, Encoder, Flow
from netvane.common.events import event_file_of
from tests.lab.processes import PYTHON_ENV

ROWS = 10_000_000
DEVICES = 50
MONTH_NS = 31 * 86_400 * NANOSECONDS
ROUNDS = 5
_INSERT = "INSERT INTO events (ts, event, mac, name, body) VALUES (?, ?, ?, ?, ?)"
VIEWS = ("--peers", "--flows", "--dns")

Row = tuple[int, str, str, str, str]


def run(rows: int = ROWS) -> dict[str, Any]:
    """Seconds from the command to its end, medians of five; the exporter is stopped, so that the file is opened too."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        file = event_file_of(directory, "flows")
        file.parent.mkdir()
        with closing(open_database(file)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -400000")
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO events (ts, event, mac, name, body) VALUES (?, ?, ?, ?, ?)", _rows(rows)
            )
            connection.execute("COMMIT")
        places = [f"--storage.data-dir={directory}", f"--storage.run-dir={directory}"]
        seconds = {f"{view} --format={form}": _seconds([*places, view, f"--format={form}"]) for view, form in _cases()}
        return {
            "rows": rows,
            "rows_of_the_device": rows // DEVICES,
            "file_bytes": file.stat().st_size,
            "seconds": seconds,
            "goal": "under 2 s",
        }


def _cases() -> Iterator[tuple[str, str]]:
    for view in VIEWS:
        yield view, "table"
    yield "--peers", "json"


def _mac(device: int) -> str:
    return f"24:0a:c4:00:00:{device:02x}"


def _seconds(arguments: list[str]) -> float:
    command = [sys.executable, "-m", "netvane.cli", "ask", "--device", _mac(7), "--last", "31d", *arguments]
    spent = []
    for _ in range(ROUNDS):
        start = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env={**os.environ, **PYTHON_ENV}, timeout=120)
        spent.append(time.monotonic() - start)
    return round(statistics.median(spent), 2)


def _rows(count: int) -> Iterator[Row]:
    """A month: 40 peers and names for each device, a flow and a DNS question in turn."""
    choice = random.Random(1)  # noqa: S311 - to be repeated, not to be secret
    encoder = Encoder("home", "pi")
    now = time.time_ns()
    for number in range(count):
        device, peer = number // 2 % DEVICES, choice.randrange(40)
        ts = now - MONTH_NS + (MONTH_NS - NANOSECONDS) * number // count
        event = _flow(device, peer, ts) if number % 2 else _question(peer)
        mac, name = _mac(device), f"gadget{device}"
        yield ts, "flow" if number % 2 else "dns", mac, name, encoder.encode(event, ts, mac, name).decode()


def _flow(device: int, peer: int, ts: int) -> Flow:
    return Flow(
        protocol="tcp",
        address=f"198.51.100.{20 + device}",
        peer_address=f"203.0.113.{peer}",
        start=rfc3339(ts - 30 * NANOSECONDS),
        end=rfc3339(ts),
        tx_bytes=1000 + peer,
        rx_bytes=40_000,
        tx_packets=12,
        rx_packets=40,
        state="closed",
        port=50_000,
        peer_port=443,
        peer_name=f"api{peer}.cloud.example",
        peer_country="DE",
        scope="wan",
        tcp_flags=("SYN", "ACK", "FIN"),
        pattern="heartbeat",
    )


def _question(peer: int) -> Dns:
    return Dns(
        qname=f"api{peer}.cloud.example",
        qtype="A",
        rcode="NOERROR",
        answers=(f"203.0.113.{peer}",),
        latency_seconds=0.012,
        transport="udp",
    )
