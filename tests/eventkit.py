"""Events of every kind, and the places that tests of the store and its neighbours start from."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netvane.common.clock import Clock, SystemClock
from netvane.common.event_inbox import Limits
from netvane.common.event_schema import Anomaly, Capture, Device, Dns, Event, Flow, Hop, Kind, Lease, Outage, Verdict
from netvane.common.event_search import Query
from netvane.common.events import EventStore

ROOT = Path(__file__).parents[1]
CHILD = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "exporters"), str(ROOT)])}  # of a Python child process

MAC = "b8:27:eb:00:00:01"
NOON = "2026-01-01T12:00:00.000000000Z"
EAGER = Limits(batch_seconds=0.0)

SAMPLES: dict[Kind, Event] = {
    "dns": Dns(
        qname="printer.example",
        qtype="A",
        rcode="NOERROR",
        answers=("198.51.100.9",),
        latency_seconds=0.012,
        address="198.51.100.7",
        server_address="198.51.100.1",
        transport="udp",
    ),
    "flow": Flow(
        protocol="tcp",
        address="198.51.100.7",
        peer_address="203.0.113.5",
        start=NOON,
        end=NOON,
        tx_bytes=1200,
        rx_bytes=48_000,
        tx_packets=12,
        rx_packets=40,
        state="closed",
        port=50_000,
        peer_port=443,
        peer_name="cloud.example",
        peer_country="IS",
        scope="wan",
        tcp_flags=("syn", "ack", "fin"),
        pattern="transfer",
    ),
    "device": Device(
        device=MAC,
        change="trusted",
        by="owner",
        previous="no",
        current="yes",
        address="198.51.100.7",
        vendor="Raspberry Pi",
        source="arp",
        network="home",
    ),
    "lease": Lease(
        change="new",
        address="198.51.100.7",
        source="dnsmasq",
        expires=NOON,
        host_name="pi",
        client_id="01:b8:27:eb:00:00:01",
        vendor_class="udhcp",
        fingerprint=(1, 3, 6),
        server_address="198.51.100.1",
    ),
    "verdict": Verdict(
        verdict="router",
        previous="ok",
        evidence={"router_loss_ratio": 1.0, "router_rtt_seconds": None},
        path=(
            Hop(ttl=1, address=None, rtt_seconds=None),
            Hop(ttl=2, address="203.0.113.1", rtt_seconds=0.004),
        ),
        path_error=None,
        segment="isp",
    ),
    "outage": Outage(
        state="ended",
        culprit="isp",
        start=NOON,
        end=NOON,
        duration_seconds=120.5,
        count=2,
        evidence={"anchors_reachable": 0},
    ),
    "anomaly": Anomaly(
        anomaly="port_scan",
        evidence={"ports": 900, "seconds": 4.5},
        detail="900 ports of one host in 4.5 s",
        address="198.51.100.7",
        peer_address="198.51.100.1",
        peer_name="router",
        pcap="scan.pcap",
    ),
    "capture": Capture(
        interface="wlan0",
        change="drops",
        detail="ring full",
        received_packets=1000,
        dropped_packets=3,
        file="last.pcap",
    ),
}


def dns(name: str) -> Dns:
    """A small bulk event."""
    return Dns(qname=name, qtype="A", rcode="NOERROR", answers=(), latency_seconds=0.01)


def verdict(name: str) -> Verdict:
    """A small precious event."""
    return Verdict(verdict=name, previous=None, evidence={}, path=None, path_error=None)


@contextmanager
def running_store(path: Path, clock: Clock | None = None, limits: Limits = EAGER) -> Iterator[EventStore]:
    store = EventStore(path, site="home", host="pi", clock=clock or SystemClock(), limits=limits)
    try:
        yield store
    finally:
        store.close(20)


def found(store: EventStore, **query: Any) -> list[str]:
    """What tells the events of a search apart, newest first."""
    events = [json.loads(body) for body in store.search(Query(**query))]
    return [event.get("qname") or event.get("verdict") or event["event"] for event in events]


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until `condition` holds. Raises AssertionError when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)
