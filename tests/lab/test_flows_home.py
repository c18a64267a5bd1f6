"""Netvane as the access point of a home: a normal day in which nothing is unusual, then one gadget goes wrong."""

import json
import secrets
import socket
import struct
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests import frames
from tests.lab import access_point as ap
from tests.lab import addresses as at
from tests.lab.access_point import AccessPoint, Day
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.listening import packets_of_evidence, send
from tests.lab.netns import Namespace
from tests.lab.processes import NETVANE, run
from tests.lab.sinks import WebhookSink
from tests.lab.wait import eventually

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(280)]

MACS = {
    "hub": "b8:27:eb:0a:02:01",
    "lamp": "24:0a:c4:0a:02:02",
    "camera": "00:17:88:0a:02:03",
    "phone": "f0:18:98:0a:02:04",
    "rogue": "24:0a:c4:0a:02:66",
}
NORMAL_SECONDS = 60.0  # a third of them for learning
STORAGE_PORT = 8443
ALERTS = {
    "syn_flood": "SynFlood",
    "icmp_flood": "IcmpFlood",
    "port_scan": "PortScan",
    "off_network_address": "OffNetworkAddress",
    "unleased_address": "OffNetworkAddress",
    "dns_bypass": "DNSBypass",
    "dns_tunnel": "DNSTunnel",
    "new_destination": "NewDestination",
    "upload_surge": "UploadSurge",
}
WITH_PACKETS = {"syn_flood", "icmp_flood", "port_scan", "off_network_address", "unleased_address"}
OF_LAMP = {"new_destination", "new_port", "upload_surge"}
QUIET = {*ALERTS.values(), "PacketSurge", "CaptureDrops", "CaptureStalled"}


def settings(hook: WebhookSink, leases: Path) -> dict[str, Any]:
    return {
        "site": "lab",
        "latency": latency_settings(),
        "dhcp": {"lease_files": [str(leases)], "server_check": False},
        "notify": {"webhook": {"url": hook.url}},
        "flows": {
            "anomalies": {
                # Of a week, twenty seconds.
                "learning_days": 20 / 86_400,
                "learning_active_hours": 1,
                "lease_grace": "5s",
                "upload_min_bytes": "5MB",
                "surge_packets_per_second": {"arp": 100, "broadcast": 100, "mdns": 50},
            }
        },
    }


class Vane:
    """A running `netvane up`, and what the owner asks it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.places = [f"--storage.{kind}-dir={home.rack.directory / kind}" for kind in ("data", "run")]

    def firing(self) -> set[str]:
        query = quote('ALERTS{alertstate="firing"}')
        answer = json.loads(self._home.mon.http(f"http://127.0.0.1:9090/api/v1/query?query={query}").text)
        return {sample["metric"]["alertname"] for sample in answer["data"]["result"]}

    def exporter(self, name: str) -> str:
        """The sample lines of a metric of the flows exporter."""
        try:
            text = self._home.mon.http("http://127.0.0.1:9744/metrics").text
        except OSError:
            return ""
        return "\n".join(line for line in text.splitlines() if line.startswith(name))

    def netvane(self, *words: str) -> str:
        return run([*NETVANE, *words, *self.places]).stdout

    def anomalies(self) -> list[dict[str, Any]]:
        text = self.netvane("events", "--exporter=flows", "--event=anomaly", "--format=json")
        return [json.loads(line) for line in text.splitlines()]


def go_wrong(rogue: Namespace, lamp: Namespace, hub: str) -> None:
    """All at once; the lamp only does two things that it never did."""
    mac = bytes.fromhex(MACS["rogue"].replace(":", ""))

    def frame(source: str, payload: bytes, protocol: int) -> bytes:
        packet = bytearray(frames.ipv4(payload, protocol, source=socket.inet_aton(source), destination=frames.FAR))
        total = sum(struct.unpack_from("!10H", packet))
        packet[10:12] = (~(total + (total >> 16)) & 0xFFFF).to_bytes(2)  # a bridge may drop what has a wrong checksum
        return frames.ethernet(bytes(packet), source=mac)

    rogue.run(f"nmap -n -Pn -sS -p 1-60 --max-rate 60 {hub}")
    ap.ask_names(rogue, [f"{secrets.token_hex(20)}.tunnel.example" for _ in range(60)], ap.ADDRESS)
    ap.ask_names(rogue, ["site1.example"], at.RESOLVER4)
    send(rogue, [frame("203.0.113.200", frames.udp(40000, 9, b"made up"), 17)])
    rogue.ip("addr add 198.51.101.77/24 dev eth0")
    lamp.run("busybox wget -q -O /dev/null http://site99.example/")
    ap.upload(lamp, at.ANCHORS4[1], STORAGE_PORT, 12_000_000)
    for second in range(12):  # the address without a lease has to be used for three ticks
        ap.ask_names(rogue, ["site1.example"], ap.ADDRESS, source="198.51.101.77")
        if second == 6:
            rogue.run(f"ping -q -f -c 2000 -w 5 {hub}")
            send(rogue, [frame(ap.ADDRESS, frames.tcp(1024 + number, 80, 0x02), 6) for number in range(1500)])
        rogue.run("sleep 1")


def assert_named(found: list[dict[str, Any]], hub: str) -> None:
    """Each anomaly with who did it, its name, and evidence."""
    for event in found:
        culprit = "lamp" if event["anomaly"] in OF_LAMP else "rogue"
        assert (event["anomaly"], event["mac"]) == (event["anomaly"], MACS[culprit])
        assert event["evidence"]
        assert event["device_name"] == culprit
    by_kind = {event["anomaly"]: event for event in found}
    assert by_kind["port_scan"]["peer_address"] == hub
    assert by_kind["dns_bypass"]["peer_address"] == at.RESOLVER4
    assert by_kind["dns_tunnel"]["evidence"]["names"] >= 50
    assert by_kind["off_network_address"]["address"] == "203.0.113.200"
    assert by_kind["unleased_address"]["address"] == "198.51.101.77"
    assert by_kind["new_destination"]["peer_name"] == "site99.example"
    assert by_kind["upload_surge"]["evidence"]["bytes"] > 5_000_000
    shown = {kind: packets_of_evidence(by_kind[kind]) for kind in WITH_PACKETS}
    assert all(shown.values())
    made_up = socket.inet_aton("203.0.113.200")
    assert made_up in {frame[26:30] for frame, _ in shown["off_network_address"]}


def is_told(hook: WebhookSink, name: str, anomaly: str) -> bool:
    """Whether the owner got the alert, about the right device."""
    culprit = {"anomaly": anomaly, "mac": MACS["lamp" if anomaly in OF_LAMP else "rogue"]}
    return any(culprit.items() <= alert.labels.items() for alert in hook.alerts(name, "firing"))


def test_a_normal_day_is_quiet_and_every_misdeed_is_named() -> None:
    with ExitStack() as stack:
        home = stack.enter_context(Home(gadgets=1))
        access_point = AccessPoint(home, MACS)
        gadgets = {name: access_point.join(name) for name in MACS}
        hub = access_point.address("hub")
        stack.enter_context(ap.time_server(home.net))
        stack.enter_context(ap.storage(home.net, at.ANCHORS4[1], STORAGE_PORT))
        stack.enter_context(ap.mqtt_broker(home, gadgets["hub"]))
        hook = stack.enter_context(WebhookSink(home.gadgets[0].ns, home.gadgets[0].address))
        vane = Vane(home)
        config = home.rack.directory / "netvane.yml"
        config.write_text(json.dumps(settings(hook, access_point.leases)))
        command = [*NETVANE, "up", "--netns", home.mon.name, "--time-scale=0.1"]
        up = stack.enter_context(home.rack.processes.start([*command, f"--config.file={config}", *vane.places]))

        def captures() -> bool:
            assert up.running, up.output()
            return 'netvane_flows_capture_up{interface="ap0"} 1.0' in vane.exporter("netvane_flows_capture_up")

        eventually(captures, within=60, what="packets of the access point")
        day = Day(access_point, hub)
        day.live(NORMAL_SECONDS)
        assert day.rounds > 5
        counts = vane.exporter("netvane_flows_anomalies_total{").splitlines()
        assert counts
        assert {line.rpartition(" ")[2] for line in counts} == {"0.0"}
        assert vane.anomalies() == []
        assert not QUIET & vane.firing()
        seen = json.loads(vane.netvane("ask", "--device=lamp", "--dns", "--format=json"))
        assert [(row["name"], row["type"]) for row in seen if row["type"] == "A"] == [("site1.example", "A")]

        go_wrong(gadgets["rogue"], gadgets["lamp"], hub)
        found: list[dict[str, Any]] = []

        def all_found() -> bool:
            found[:] = vane.anomalies()
            return {event["anomaly"] for event in found} >= set(ALERTS)

        try:
            eventually(all_found, within=30, what="the anomalies")
        except AssertionError as error:
            raise AssertionError(f"missing: {set(ALERTS) - {event['anomaly'] for event in found}}") from error
        assert_named(found, hub)

        for anomaly, name in ALERTS.items():
            eventually(partial(is_told, hook, name, anomaly), within=100, what=f"{name} of {anomaly}")
        assert up.stop(grace=60) == 0, up.output()
