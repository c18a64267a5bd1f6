"""The alerts about the capture itself, and that of a packet surge, as Prometheus makes them of what really happens."""

import json
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests import frames
from tests.lab.exporters import running_exporter
from tests.lab.listening import cable, events, packets_of_evidence, send
from tests.lab.prometheus import Prometheus, hurried_prometheus
from tests.lab.wait import eventually

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(280)]

SLOTS = 2048  # of the smallest ring
SETTINGS = {
    "site": "lab",
    "flows": {
        "interfaces": ["ap", "later"],
        "local_prefixes": ["198.51.100.0/24"],
        "ring": "1MiB",
        "recorder": {"enabled": False},
        "anomalies": {"surge_packets_per_second": {"arp": 5}},
    },
}
PACE = dict.fromkeys(("5s", "15s", "60s", "1m", "5m"), "2s")
ARP = frames.ethernet(bytes(46), 0x0806, destination=frames.BROADCAST)


def is_firing(asked: Prometheus, name: str, **labels: str) -> bool:
    wanted = {"alertname": name, "alertstate": "firing", **labels}
    return asked.holds("ALERTS{" + ",".join(f"{label}={json.dumps(value)}" for label, value in wanted.items()) + "}")


def test_a_surge_drops_and_a_missing_interface_are_told(tmp_path: Path) -> None:
    with ExitStack() as stack:
        sender, watcher = stack.enter_context(cable())
        exporter = stack.enter_context(running_exporter("flows", watcher, tmp_path, SETTINGS))
        with hurried_prometheus(watcher, tmp_path, exporter.config, PACE) as asked:
            eventually(partial(asked.holds, "netvane_flows_capture_dropped_total"), within=30, what="a scrape")
            exporter.process.signal(signal.SIGSTOP)  # as on a machine that has no time for it
            send(sender, [ARP] * 3 * SLOTS)
            exporter.process.signal(signal.SIGCONT)
            # That was the first minute of the surge; in the next one it goes on.
            stalled = partial(is_firing, asked, "CaptureStalled", interface="later", cause="interface")
            eventually(stalled, within=90, what="CaptureStalled of an interface that is missing")
            sender.ip("link add eth1 type veth peer name later netns " + watcher.name, "link set eth1 up")
            watcher.ip("link set later up")
            drops = partial(is_firing, asked, "CaptureDrops", interface="ap", ring="frames")
            eventually(drops, within=60, what="CaptureDrops")

            def surges() -> bool:
                send(sender, [ARP] * 3)
                return is_firing(asked, "PacketSurge", mac=frames.GADGET.hex(":"))

            eventually(surges, within=130, what="PacketSurge")
            eventually(lambda: not stalled(), within=60, what="CaptureStalled over")
            assert not is_firing(asked, "CaptureStalled", interface="ap")
    (surge,) = [event for event in events(tmp_path, "anomaly") if event["anomaly"] == "packet_surge"]
    assert surge["mac"] == frames.GADGET.hex(":")
    assert surge["evidence"]["packets_per_second"] > surge["evidence"]["limit_packets_per_second"] == 5
    shown = packets_of_evidence(surge)
    assert shown
    assert set(shown) == {(ARP, len(ARP))}
    told = [(event["interface"], event["change"]) for event in events(tmp_path, "capture")]
    assert [change for interface, change in told if interface == "ap"] == ["started", "drops", "stopped"]
    assert [change for interface, change in told if interface == "later"] == ["missing", "started", "stopped"]
