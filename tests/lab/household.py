"""The hosts exporter with its helper in a simulated home, and ways to speak on its LAN in every gadget's name."""

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netvane.common import control
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.listening import send
from tests.lab.netns import Namespace
from tests.lab.raw import running_raw

ETHERTYPE_ARP = 0x0806
BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "00:00:00:00:00:00"
FAST: dict[str, Any] = {"hosts": {"interval": "2s", "ping_interval": "1s"}}


@contextlib.contextmanager
def watching(
    namespace: Namespace, directory: Path, settings: dict[str, Any] | None = None
) -> Iterator[RunningExporter]:
    """`netvane raw` and `netvane hosts` in `namespace`; they find each other in the run directory of raw."""
    with (
        running_raw(namespace, directory, "--interface=eth0") as raw,
        running_exporter("hosts", namespace, raw.socket.parent, settings or FAST) as exporter,
    ):
        yield exporter


def ask(exporter: RunningExporter, action: str, **arguments: object) -> list[dict[str, Any]]:
    """What `netvane devices` gets."""
    path = control.socket_path(exporter.directory, "hosts")
    return [json.loads(item) for item in control.ask(path, "devices", {"action": action, **arguments})]


def devices(exporter: RunningExporter) -> dict[str, dict[str, Any]]:
    return {report["device"]: report for report in ask(exporter, "list")}


def state(exporter: RunningExporter, device: str) -> str:
    found = [
        labels["state"]
        for labels, value in exporter.samples("netvane_device_presence")
        if labels["device"] == device and value
    ]
    return found[0] if found else "unknown"


def events(exporter: RunningExporter, kind: str, **fields: object) -> list[dict[str, Any]]:
    """Stored events of that kind whose fields are these, oldest first."""
    path = control.socket_path(exporter.directory, "hosts")
    found = [json.loads(item) for item in control.ask(path, "events", {"event": kind})]
    return [event for event in reversed(found) if fields.items() <= event.items()]


def sweeps(exporter: RunningExporter) -> float:
    return exporter.value("netvane_sweeps_total")


def first_sweep(exporter: RunningExporter) -> bool:
    return exporter.value("netvane_first_sweep_timestamp_seconds") > 0


def arp_frame(
    mac: str,
    address: str,
    target: str,
    *,
    operation: int = 1,
    to: str = BROADCAST,
    target_mac: str = "00:00:00:00:00:00",
) -> bytes:
    """An Ethernet frame with an ARP request (1) or reply (2)."""
    sender, receiver, asked = (bytes.fromhex(text.replace(":", "")) for text in (mac, to, target_mac))
    header = receiver + sender + struct.pack("!H", ETHERTYPE_ARP)
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return header + fixed + sender + socket.inet_aton(address) + asked + socket.inet_aton(target)


def send_frames(namespace: Namespace, *frames: bytes, interface: str = "eth0") -> None:
    send(namespace, frames, interface)
