"""The packet-flow exporter on real interfaces: what is counted, named and told, and what happens to the interface."""

import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netvane.flows import capture_command, evidence, recorder
from tests import frames, quicclient
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.listening import cable, events, packets_in, packets_of_evidence, plug, send
from tests.lab.rack import Rack
from tests.lab.transfer import transfer
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

GADGET = frames.GADGET.hex(":")
LISTEN = {"flows": {"interfaces": ["ap"], "local_prefixes": ["198.51.100.0/24"]}}


def frames_seen(exporter: RunningExporter) -> float:
    return exporter.value("netvane_flows_frames_total")


def counted(exporter: RunningExporter, count: int) -> None:
    eventually(lambda: frames_seen(exporter) >= count, what=f"{count} frames")
    assert frames_seen(exporter) == count


def dns(identifier: int, answer: bytes | None = None) -> bytes:
    question = b"\x03api\x07example\0\0\x01\0\x01"
    if answer is None:
        return struct.pack("!6H", identifier, 0x0100, 1, 0, 0, 0) + question
    return (
        struct.pack("!6H", identifier, 0x8180, 1, 1, 0, 0) + question + b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + answer
    )


def down(payload: bytes, protocol: int) -> bytes:
    packet = frames.ipv4(payload, protocol, frames.FAR, frames.LOCAL)
    return frames.ethernet(packet, source=frames.ROUTER, destination=frames.GADGET)


def test_every_kind_of_frame_is_counted_once_and_in_its_classes(tmp_path: Path) -> None:
    made = frames.samples() * 20
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        send(sender, made)
        counted(exporter, len(made))
        expected: dict[str, int] = {}
        for frame in made:
            for name in frames.classes(frame, len(frame)):
                expected[name] = expected.get(name, 0) + 1
        found = {labels["class"]: value for labels, value in exporter.samples("netvane_flows_packets_total") if value}
        assert found == expected
        assert exporter.value("netvane_flows_bytes_total") == sum(map(len, made))
        assert exporter.value("netvane_flows_device_bytes_total", mac=GADGET, direction="tx") == sum(map(len, made))
        assert exporter.value("netvane_flows_capture_dropped_total") == 0
        assert exporter.value("netvane_flows_capture_received_total", ring="frames") == len(made)
        # Group addresses are no devices.
        macs = {labels["mac"] for labels, _ in exporter.samples("netvane_flows_device_packets_total")}
        assert macs == {GADGET, frames.ROUTER.hex(":")}


def test_tagged_frames_count_with_their_tag_coming_and_going(tmp_path: Path) -> None:
    tagged = frames.ethernet(frames.ipv4(frames.udp(40000, 123, bytes(48)), 17), vlans=(20,))
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        send(sender, [tagged] * 3)
        send(watcher, [tagged] * 4, interface="ap")
        counted(exporter, 7)
        assert exporter.value("netvane_flows_bytes_total") == 7 * len(tagged)
        assert exporter.value("netvane_flows_packets_total", **{"class": "ntp"}) == 7


@pytest.mark.parametrize("offload", [True, False], ids=["with offload", "without"])
def test_tcp_counts_as_the_segments_on_the_wire(tmp_path: Path, offload: bool) -> None:
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        sender.ip(f"link set eth0 address {GADGET}")

        def frames_of(name: str) -> float:
            labels = {"mac": GADGET, "direction": "tx", "class": name}
            return exporter.value("netvane_flows_device_class_packets_total", **labels)

        sent = transfer(sender, watcher, 40, offload=offload)
        eventually(lambda: frames_of("tcp") >= sent.segments, what=f"{sent} counted")
        assert frames_of("tcp") == sent.segments
        assert exporter.value(
            "netvane_flows_device_bytes_total", mac=GADGET, direction="tx"
        ) == sent.wire_bytes + 42 * frames_of("arp")
        slots = exporter.value("netvane_flows_capture_received_total", ring="frames")
        assert (slots < sent.segments) is offload  # there were super-frames


def test_a_conversation_becomes_events_with_the_name_that_was_asked_for(tmp_path: Path) -> None:
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        made = [
            frames.ethernet(frames.ipv4(frames.udp(40000, 53, dns(7)), 17)),
            down(frames.udp(53, 40000, dns(7, frames.FAR)), 17),
            frames.ethernet(frames.ipv4(frames.udp(40001, 53, dns(8)), 17)),  # no answer
            frames.ethernet(frames.ipv4(frames.tcp(50000, 443, 0x02), 6)),
            down(frames.tcp(443, 50000, 0x12), 6),
            frames.ethernet(frames.ipv4(frames.tcp(50000, 443, 0x18, bytes(100)), 6)),
        ]
        send(sender, made)
        counted(exporter, len(made))
        eventually(
            lambda: exporter.value("netvane_events_stored_total", event="dns") == 2, within=20, what="dns events"
        )
    answered, silent = sorted(events(tmp_path, "dns"), key=lambda event: event["rcode"] is None)
    assert (answered["mac"], answered["qname"], answered["qtype"]) == (GADGET, "api.example", "A")
    assert (answered["rcode"], answered["answers"], answered["transport"]) == ("NOERROR", ["203.0.113.9"], "udp")
    assert 0 <= answered["latency_seconds"] < 1
    assert (silent["rcode"], silent["latency_seconds"]) == (None, None)
    (flow,) = [event for event in events(tmp_path, "flow") if event["protocol"] == "tcp"]
    assert (flow["mac"], flow["peer_address"], flow["peer_port"]) == (GADGET, "203.0.113.9", 443)
    assert (flow["peer_name"], flow["scope"], flow["tx_packets"], flow["rx_packets"]) == ("api.example", "wan", 2, 1)
    assert set(flow["tcp_flags"]) == {"SYN", "ACK", "PSH"}


def client_hello(name: str, padding: int) -> bytes:
    server = name.encode()
    extensions = struct.pack("!HHH", 21, padding, 0)[:4] + bytes(padding)
    extensions += struct.pack("!HHHBH", 0, len(server) + 5, len(server) + 3, 0, len(server)) + server
    body = (
        b"\x03\x03"
        + bytes(32)
        + b"\0"
        + b"\0\x02\x13\x01"
        + b"\x01\0"
        + struct.pack("!H", len(extensions))
        + extensions
    )
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


@pytest.mark.parametrize("padding", [10, 1500], ids=["one segment", "two segments"])
def test_a_flow_is_named_by_its_tls_hello(tmp_path: Path, padding: int) -> None:
    hello = client_hello("cloud.example", padding)
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        made, sequence = [], 1
        for part in (hello[:1400], hello[1400:]):
            segment = bytearray(frames.tcp(50000, 443, 0x18, part))
            segment[4:8] = sequence.to_bytes(4)
            sequence += len(part)
            made += [frames.ethernet(frames.ipv4(bytes(segment), 6))] if part else []
        send(sender, made)
        counted(exporter, len(made))
        eventually(lambda: exporter.value("netvane_flows_hellos_total") == 1, what="a hello")
    (flow,) = events(tmp_path, "flow")
    assert flow["peer_name"] == "cloud.example"


@pytest.mark.parametrize("version", [4, 6])
def test_a_flow_is_named_by_its_quic_hello(tmp_path: Path, version: int) -> None:
    datagram = frames.udp(50000, 443, quicclient.initial(quicclient.crypto(0, quicclient.STREAM)))
    packet = frames.ipv4(datagram, 17) if version == 4 else frames.ipv6(datagram, 17)
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        send(sender, [frames.ethernet(packet, 0x0800 if version == 4 else 0x86DD)])
        eventually(lambda: exporter.value("netvane_flows_hellos_total") == 1, what="a hello")
    (flow,) = events(tmp_path, "flow")
    assert (flow["peer_name"], flow["protocol"], flow["peer_port"]) == ("lamp.example.org", "udp", 443)


def capture_up(exporter: RunningExporter) -> bool:
    return exporter.value("netvane_flows_capture_up", interface="ap") == 1


def test_an_interface_that_goes_away_and_returns_is_waited_for(tmp_path: Path) -> None:
    made = [frames.ethernet(bytes(46), 0x0806)] * 10
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        eventually(lambda: capture_up(exporter), what="the interface up")
        send(sender, made)
        counted(exporter, 10)
        watcher.ip("link set ap down")
        eventually(lambda: not capture_up(exporter), what="the interface down")
        watcher.ip("link set ap up")
        eventually(lambda: capture_up(exporter), what="the interface up again")
        send(sender, made)
        counted(exporter, 20)
        watcher.ip("link set ap down", "link set ap name other", "link set other up")
        eventually(lambda: not capture_up(exporter), what="the interface renamed")
        watcher.ip("link del other")
        plug(sender, watcher)
        eventually(lambda: capture_up(exporter), what="another interface of that name")
        send(sender, made)
        counted(exporter, 30)
        assert exporter.process.running
    told = [event["change"] for event in events(tmp_path, "capture")]
    assert told == ["started", "missing", "started", "missing", "started", "stopped"]


def test_what_a_full_ring_has_no_room_for_is_counted_as_dropped(tmp_path: Path) -> None:
    slots = (1 << 20) // 512
    settings = {"flows": {**LISTEN["flows"], "ring": "1MiB", "recorder": {"enabled": False}}}
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, settings) as exporter:
        send(sender, [frames.ethernet(bytes(46), 0x0806)])
        counted(exporter, 1)
        exporter.process.signal(signal.SIGSTOP)
        send(sender, [frames.ethernet(bytes(46), 0x0806)] * 3 * slots)
        exporter.process.signal(signal.SIGCONT)
        # Of one moment: the highest use of the ring is that since the last scrape.
        found = {
            (name.removeprefix("netvane_flows_"), labels.get("ring")): value
            for name, labels, value in eventually(lambda: late_scrape(exporter, slots), what="all that was in the ring")
        }
    assert found["frames_total", None] == 1 + slots
    assert found["capture_received_total", "frames"] == 1 + 3 * slots
    assert found["capture_dropped_total", "frames"] == 2 * slots
    assert found["capture_ring_use_ratio", None] == 1


def test_a_busy_hour_of_names_is_read_whole(tmp_path: Path) -> None:
    """Many at a time wait in a small ring, but no more than there is room for."""
    seconds, rate = 6, 600

    def asked() -> Iterator[bytes]:
        start = time.monotonic()
        for number in range(seconds * rate):
            time.sleep(max(start + number / rate - time.monotonic(), 0))
            yield frames.ethernet(frames.ipv4(frames.udp(1024 + number, 53, dns(number)), 17))

    settings = {"flows": {**LISTEN["flows"], "recorder": {"enabled": False}}}
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, settings) as exporter:
        send(sender, asked())
        counted(exporter, seconds * rate)
        assert exporter.value("netvane_flows_dns_messages_total") == seconds * rate
        assert exporter.value("netvane_flows_capture_dropped_total") == 0


def late_scrape(exporter: RunningExporter, count: int) -> list[tuple[str, dict[str, str], float]]:
    """A scrape, once at least `count` frames were counted."""
    found = exporter.scrape("netvane_flows_")
    return found if any(name == "netvane_flows_frames_total" and value >= count for name, _, value in found) else []


def test_a_flood_that_fills_the_table_is_counted_and_said(tmp_path: Path) -> None:
    """Each packet is a new flow, from an address of its own."""
    count = 120_000
    flood = [  # made beforehand: sent within seconds, before the first of them have expired
        frames.ethernet(frames.ipv4(frames.tcp(1024, 80, 0x02), 6, source=number.to_bytes(4)))
        for number in range(0x0B000000, 0x0B000000 + count)
    ]
    settings = {"flows": {**LISTEN["flows"], "recorder": {"enabled": False}}}
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, settings) as exporter:
        send(sender, flood)

        def seen() -> float:
            return count - exporter.value("netvane_flows_capture_dropped_total", ring="frames")

        eventually(lambda: frames_seen(exporter) == seen(), within=30, what="every frame counted or dropped")
        assert exporter.value("netvane_flows_packets_total", **{"class": "tcp_syn"}) == seen()
        assert exporter.value("netvane_flows_device_packets_total", mac=GADGET, direction="tx") == seen()
        room = exporter.value("netvane_flows_table_room")
        assert exporter.value("netvane_flows_folded_frames_total") >= seen() - room > 0
        said = "more conversations at once than the flow table has room for"
        eventually(lambda: said in watcher.http(exporter.url + "/").text, within=20, what="a word about the table")


def test_a_missing_interface_is_said_and_then_found(tmp_path: Path) -> None:
    with Rack() as rack:
        sender, watcher = rack.namespaces("sender", "watcher")
        watcher.ip("link set lo up")
        with running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
            assert exporter.value("netvane_flows_capturing") == 1
            assert not capture_up(exporter)
            assert "ap cannot be listened to: No such device" in watcher.http(exporter.url + "/").text
            plug(sender, watcher)
            eventually(lambda: capture_up(exporter), what="the interface")


def test_without_an_access_point_or_a_bridge_it_is_off_until_there_is_one(tmp_path: Path) -> None:
    with Rack() as rack:
        sender, watcher = rack.namespaces("sender", "watcher")
        plug(sender, watcher)
        watcher.ip("link add docker0 type bridge", "link set docker0 up")  # of containers, not of gadgets
        with running_exporter("flows", watcher, tmp_path, {}) as exporter:
            assert exporter.value("netvane_flows_capturing") == 0
            assert "this machine sees only its own traffic" in watcher.http(exporter.url + "/").text
            watcher.ip("link add br0 type bridge", "link set ap master br0", "link set br0 up")
            eventually(
                lambda: exporter.value("netvane_flows_capture_up", interface="br0") == 1, within=20, what="the bridge"
            )
            before = frames_seen(exporter)
            # Not for this machine: a bridge hands it over because of promiscuous mode only.
            send(sender, [frames.ethernet(bytes(46), 0x0806)])
            eventually(lambda: frames_seen(exporter) > before, what="a frame of the bridge")


def test_the_query_log_of_a_resolver_is_a_source_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "queries.log"
    with Rack() as rack:
        (watcher,) = rack.namespaces("watcher")
        watcher.ip("link set lo up")
        with running_exporter("flows", watcher, tmp_path, {"flows": {"query_log": str(log)}}) as exporter:
            assert exporter.value("netvane_flows_capturing") == 0
            missing = f"{log} cannot be read: No such file or directory"
            assert missing in watcher.http(exporter.url + "/").text
            log.touch()
            eventually(lambda: missing not in watcher.http(exporter.url + "/").text, within=20, what="the log read")
            log.write_text(
                "Nov 21 12:00:01 dnsmasq[812]: 7 198.51.100.7/5353 query[A] api.example from 198.51.100.7\n"
                "Nov 21 12:00:01 dnsmasq[812]: 7 198.51.100.7/5353 reply api.example is 203.0.113.9\n"
            )
            eventually(lambda: exporter.value("netvane_events_stored_total", event="dns") == 1, within=30, what="dns")
    (event,) = events(tmp_path, "dns")
    assert (event["qname"], event["answers"], event["address"]) == ("api.example", ["203.0.113.9"], "198.51.100.7")


def test_a_reload_keeps_what_was_counted(tmp_path: Path) -> None:
    made = [frames.ethernet(frames.ipv4(frames.udp(1, 2), 17))] * 10
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        send(sender, made)
        counted(exporter, 10)
        exporter.configure({"flows": {**LISTEN["flows"], "local_prefixes": ["203.0.113.0/24"]}})
        exporter.process.signal(signal.SIGHUP)
        eventually(lambda: "configuration reloaded" in exporter.process.output(), what="the reload")
        send(sender, made)
        counted(exporter, 20)
        for scope in ("wan", "lan"):
            labels = {"mac": GADGET, "direction": "tx", "scope": scope}
            assert exporter.value("netvane_flows_device_packets_total", **labels) == 10
        exporter.configure({"flows": {**LISTEN["flows"], "ring": "1MiB"}})
        exporter.process.signal(signal.SIGHUP)
        eventually(lambda: exporter.process.output().count("msg=listening") == 2, what="a new ring")
        send(sender, made)
        counted(exporter, 30)


def test_the_last_packets_of_a_device_can_be_exported(tmp_path: Path) -> None:
    other = frames.ethernet(frames.ipv4(frames.udp(1, 2), 17), source=bytes.fromhex("0017880000aa"))
    large = frames.ethernet(frames.ipv4(frames.udp(1, 2, bytes(1000)), 17))
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        recorded = tmp_path / "packets"
        eventually(lambda: exporter.value("netvane_flows_recorder_running") == 1, what="dumpcap")
        eventually(lambda: list(recorded.glob("*.pcapng")), what="a file")

        # dumpcap says nowhere when it has begun to listen.
        def is_recorded() -> bool:
            send(sender, [other])
            return exported(tmp_path, "00:17:88:00:00:aa")[0] > 0

        eventually(is_recorded, what="a packet")
        send(sender, [large, other, large])
        eventually(lambda: exported(tmp_path, GADGET)[0] == 2, what="the packets of the gadget")
        assert {path.stat().st_mode & 0o777 for path in recorded.iterdir()} == {0o600}
        listed = capture_command.main(["list", f"--directory={recorded}"])
        assert listed == 0
        output = tmp_path / "noted.pcap"
        assert exporting(tmp_path, output, f"--storage.run-dir={tmp_path}") == 0
    (noted,) = [event for event in events(tmp_path, "capture") if event["change"] == "exported"]
    assert (noted["mac"], noted["interface"], noted["file"]) == (GADGET, "ap", str(output))
    assert noted["detail"] == "2 packets of one device"
    frames_written = exported(tmp_path, GADGET)[1]
    assert frames_written == [(large[:128], len(large))] * 2
    assert (tmp_path / "export.pcap").stat().st_mode & 0o777 == 0o600


def test_whole_packets_on_a_disk_are_recorded_when_the_owner_says_so(tmp_path: Path) -> None:
    large = frames.ethernet(frames.ipv4(frames.udp(1, 2, bytes(1000)), 17))
    packets = tmp_path / "packets"
    settings = {"flows": {**LISTEN["flows"], "recorder": {"full": True, "directory": str(packets)}}}
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, settings) as exporter:
        said = "packets are recorded on a disk" in exporter.process.output()
        assert said is ("bytes_a_day=" in exporter.process.output()) is recorder.on_disk(tmp_path)

        def is_recorded() -> bool:
            send(sender, [large])
            return (large, len(large)) in exported(tmp_path, GADGET)[1]

        eventually(lambda: list(packets.glob("*.pcapng")), what="a file")
        eventually(is_recorded, what="a whole packet")
        assert packets.stat().st_mode & 0o777 == 0o700


def exporting(directory: Path, output: Path, *words: str) -> int:
    """`netvane capture export` of what was recorded; of the gadget, if no other device is given."""
    command = ["export", f"--device={GADGET}", f"--directory={directory / 'packets'}", f"--output={output}", *words]
    return capture_command.main(command)


def exported(directory: Path, mac: str) -> tuple[int, list[tuple[bytes, int]]]:
    output = directory / "export.pcap"
    assert exporting(directory, output, f"--device={mac}", f"--storage.run-dir={directory / 'nowhere'}") == 0
    found = packets_in(output)
    return len(found), found


def test_a_port_scan_is_an_anomaly_with_the_packets_that_show_it(tmp_path: Path) -> None:
    victim = bytes([198, 51, 100, 30])
    scan = [
        frames.ethernet(
            frames.ipv4(frames.tcp(50000, port, 0x02), 6, destination=victim), source=bytes.fromhex("0017880000aa")
        )
        for port in range(1, 61)
    ]
    other = frames.ethernet(frames.ipv4(frames.udp(1, 2), 17))
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, LISTEN) as exporter:
        send(sender, [other, *scan, other])
        eventually(lambda: exporter.value("netvane_flows_anomalies_total", anomaly="port_scan") == 1, what="the scan")
        assert exporter.value("netvane_flows_anomalies_going", mac="00:17:88:00:00:aa", anomaly="port_scan") == 1
        eventually(
            lambda: exporter.value("netvane_events_stored_total", event="anomaly") >= 1, within=20, what="its event"
        )
    found, shown = anomaly_with_packets(tmp_path, "port_scan")
    assert (found["mac"], found["peer_address"]) == ("00:17:88:00:00:aa", "198.51.100.30")
    assert [frame for frame, _ in shown] == scan
    assert (tmp_path / "data" / "flows" / "learned.json").is_file()


def test_evidence_is_cut_and_says_the_true_length_without_a_recorder(tmp_path: Path) -> None:
    large = frames.ethernet(frames.ipv4(b"\x08" + bytes(1207), 1))
    settings = {"flows": {**LISTEN["flows"], "recorder": {"enabled": False}}}
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, settings) as exporter:
        send(sender, [large] * 2000)
        eventually(lambda: exporter.value("netvane_flows_anomalies_total", anomaly="icmp_flood") == 1, what="the flood")
    found, shown = anomaly_with_packets(tmp_path, "icmp_flood")
    assert found["evidence"]["packets_per_second"] > 100
    assert shown == [(large[:430], len(large))] * evidence.MAX_PACKETS


def anomaly_with_packets(directory: Path, kind: str) -> tuple[dict[str, Any], list[tuple[bytes, int]]]:
    """An event, and the packets that it names as evidence; the exporter has ended."""
    (found,) = [event for event in events(directory, "anomaly") if event["anomaly"] == kind]
    return found, packets_of_evidence(found)
