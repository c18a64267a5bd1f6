"""A cable with a sender at one end and the packet-flow exporter at the other, and what that has told."""

import json
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netvane.flows.pcapfile import CaptureFile
from tests.lab.netns import Namespace
from tests.lab.rack import Rack
from tests.lab.wait import eventually


@contextmanager
def cable() -> Iterator[tuple[Namespace, Namespace]]:
    """Two machines and a cable: `eth0` of the first, `ap` of the second, both silent by themselves."""
    with Rack() as rack:
        sender, watcher = rack.namespaces("sender", "watcher")
        for namespace in (sender, watcher):
            namespace.sysctl({"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"})
        plug(sender, watcher)
        yield sender, watcher


def plug(sender: Namespace, watcher: Namespace) -> None:
    sender.ip(f"link add eth0 type veth peer name ap netns {watcher.name}", "link set eth0 up", "link set lo up")
    watcher.ip("link set ap up", "link set lo up")
    wait_for_carrier(watcher)


def wait_for_carrier(watcher: Namespace) -> None:
    """The kernel says so up to a second later: net/core/link_watch.c."""
    eventually(lambda: "state UP" in watcher.run("ip link show ap").stdout, what="a carrier")


def send(namespace: Namespace, made: Iterable[bytes], interface: str = "eth0") -> None:
    def transmit() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as channel:
            channel.bind((interface, 0))
            for frame in made:
                channel.send(frame)

    namespace.call(transmit)


def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    """The events of an exporter that has ended, oldest first."""
    with sqlite3.connect(directory / "data" / "flows" / "events.db") as database:
        rows = database.execute("SELECT body FROM all_events WHERE event = ? ORDER BY ts, id", (kind,)).fetchall()
    database.close()
    return [json.loads(body) for (body,) in rows]


def packets_in(path: Path) -> list[tuple[bytes, int]]:
    """What was captured of each packet, and its length on the wire."""
    with CaptureFile(path) as file:
        return [(batch.frame(row), int(batch.wire[row])) for batch in file.batches() for row in range(len(batch))]


def packets_of_evidence(anomaly: dict[str, Any]) -> list[tuple[bytes, int]]:
    """The packets that show it, in a file for its owner only."""
    path = Path(anomaly["pcap"])
    assert path.stat().st_mode & 0o777 == 0o600
    return packets_in(path)
