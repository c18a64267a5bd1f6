"""`netvane ask` for a month of one device among 50, in a store of ten million rows, as its owner types it."""

import os
import random
import sqlite3
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
from tests.lab.exporters import running_exporter
from tests.lab.processes import PYTHON_ENV
from tests.lab.rack import Rack

ROWS = 10_000_000
DEVICES = 50
PEERS = 40
KINDS = ("dns", "flow")
MONTH_NS = 31 * 86_400 * NANOSECONDS
ROUNDS = 5
_INSERT = "INSERT INTO events (ts, event, mac, name, body) VALUES (?, ?, ?, ?, ?)"
VIEWS = ("--peers", "--flows", "--dns")

Row = tuple[int, str, str, str, str]


def run(rows: int = ROWS) -> dict[str, Any]:
    """Seconds from the command to its end, and of CPU, the running exporter's included; medians of five."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name, Rack() as rack:
        directory = Path(name)
        file = event_file_of(directory / "data", "flows")
        file.parent.mkdir(parents=True)
        with closing(open_database(file)) as connection:
            _fill(connection, rows)
        (machine,) = rack.namespaces("pi")
        machine.ip("link set lo up")
        places = [f"--storage.data-dir={directory / 'data'}", f"--storage.run-dir={directory}"]
        with running_exporter("flows", machine, directory, {"storage": {"events_max": "100GB"}}) as exporter:
            spent = {
                f"{view} --format={form}": _spent([*places, view, f"--format={form}"], exporter.process.pid)
                for view, form in _cases()
            }
        return {
            "rows": rows,
            "rows_of_the_device": rows // DEVICES,
            "file_bytes": file.stat().st_size,
            "seconds": {case: wall for case, (wall, _) in spent.items()},
            "cpu_seconds": {case: cpu for case, (_, cpu) in spent.items()},
            "goal": "under 2 s",
        }


def _cases() -> Iterator[tuple[str, str]]:
    for view in VIEWS:
        yield view, "table"
    yield "--peers", "json"


def _mac(device: int) -> str:
    return f"24:0a:c4:00:00:{device:02x}"


def _spent(arguments: list[str], exporter: int) -> tuple[float, float]:
    """(seconds, CPU seconds of the command and of the exporter)."""
    command = [sys.executable, "-m", "netvane.cli", "ask", "--device", _mac(7), "--last", "31d", *arguments]
    environment = {**os.environ, **PYTHON_ENV}
    walls, cpus = [], []
    for _ in range(ROUNDS):
        start, before = time.monotonic(), _cpu(exporter)
        subprocess.run(command, capture_output=True, check=True, env=environment, timeout=120)
        walls.append(time.monotonic() - start)
        cpus.append(_cpu(exporter) - before)
    return round(statistics.median(walls), 2), round(statistics.median(cpus), 2)


def _cpu(process: int) -> float:
    """CPU seconds of a process and of this one's children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ours = os.times()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + ours.children_user + ours.children_system


def _fill(connection: sqlite3.Connection, rows: int) -> None:
    """Without a journal, and the indexes last: faster, and the same file in the end."""
    connection.execute("PRAGMA journal_mode = OFF")
    indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''").fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    connection.execute("BEGIN")
    connection.executemany(_INSERT, _rows(rows))
    connection.execute("COMMIT")
    for _, definition in indexes:
        connection.execute(definition)
    connection.execute("PRAGMA journal_mode = WAL")


def _rows(count: int) -> Iterator[Row]:
    """A month: 40 peers and names for each device, a flow and a DNS question in turn. Bodies all have one time."""
    choice = random.Random(1)  # noqa: S311 - to be repeated, not to be secret
    now = time.time_ns()
    bodies = [[_bodies(device, peer, now) for peer in range(PEERS)] for device in range(DEVICES)]
    for number in range(count):
        device, kind = number // 2 % DEVICES, number % 2
        ts = now - MONTH_NS + (MONTH_NS - NANOSECONDS) * number // count
        yield ts, KINDS[kind], _mac(device), f"gadget{device}", bodies[device][choice.randrange(PEERS)][kind]


def _bodies(device: int, peer: int, ts: int) -> list[str]:
    encoder = Encoder("home", "pi")
    made: tuple[Dns | Flow, ...] = (_question(peer), _flow(device, peer, ts))
    return [encoder.encode(event, ts, _mac(device), f"gadget{device}").decode() for event in made]


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
