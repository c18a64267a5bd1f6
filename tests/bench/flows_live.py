"""The packet-flow exporter on a veth pair, beside softflowd and tshark.

Figures are of processes that run as their users run them: `netvane flows` with names, events and metrics, softflowd
with its flow table, tshark with a few fields.
"""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests import frames
from tests.bench.processes import cpu_seconds, resident_mb
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.listening import cable, send
from tests.lab.netns import Namespace
from tests.lab.processes import PYTHON, Process
from tests.lab.transfer import transfer
from tests.lab.wait import eventually

LIVE_SECONDS = 24.0  # flows that ended are told every 20 s
WARM_SECONDS = 4.0
TSHARK_FIELDS = ("frame.len", "eth.src", "eth.dst", "ip.src", "ip.dst", "ip.proto", "tcp.dstport", "udp.dstport")
MIX_PREFIXES = ["192.168.50.0/24", "fd00:0:0:1::/64"]  # an access point would have them from its own addresses
OFFLOAD_PORTIONS = 432  # 20 MB
CROWD_DEVICES, CROWD_FLOWS = 50, 20_000
CROWD_PREFIXES = ["10.77.0.0/24"]
CROWD_A_SECOND = 1_000  # flows that begin: fewer connections of a device than are a flood
CROWD_SECONDS = 45.0  # two expiries
_SENDER = frames.GADGET.hex(":")


def run(directory: Path, mix: Path) -> dict[str, Any]:
    return {"segmentation_offload": _offload(directory), "live": _live(directory, mix), "memory": _memory(directory)}


def _offload(directory: Path) -> dict[str, Any]:
    """20 MB over TCP with segmentation offload and without: frames and bytes as they are on the wire."""
    found: dict[str, Any] = {}
    for state in ("on", "off"):
        with cable() as (sender, watcher):
            place = directory / f"offload-{state}"
            place.mkdir()
            with running_exporter("flows", watcher, place, {"flows": {"interfaces": ["ap"]}}) as exporter:
                sender.ip(f"link set eth0 address {_SENDER}")
                sent = transfer(sender, watcher, OFFLOAD_PORTIONS, offload=state == "on")
                eventually(partial(_has_frames, exporter, sent.segments), what="the frames of the transfer")
                found[state] = {
                    "frames": _of_sender(exporter, "packets"),
                    "bytes": _of_sender(exporter, "bytes"),
                    "segments_by_tcp_info": sent.segments,
                    "retransmitted": sent.retransmitted,
                    "slots": exporter.value("netvane_flows_capture_received_total", ring="frames"),
                }
    return {**found, "goal": "equal frames and bytes, ARP among them; fewer slots than frames: super-frames"}


def _has_frames(exporter: RunningExporter, count: int) -> bool:
    return _of_sender(exporter, "packets") >= count


def _of_sender(exporter: RunningExporter, what: str) -> float:
    return exporter.value(f"netvane_flows_device_{what}_total", mac=_SENDER, direction="tx")


_FLOOD = ["flood"]  # instead of tcpreplay's pace
FLOOD_RATE, FLOODERS = 510_000, 2


def _live(directory: Path, small: Path) -> dict[str, Any]:
    return {
        "8 Mbit/s": _watched(directory, small, ["--mbps=8"], ("netvane", "softflowd")),
        "100 Mbit/s": _watched(directory, small, ["--mbps=100"], ("netvane", "softflowd", "tshark")),
        "500 kpps": _watched(directory, small, _FLOOD, ("netvane", "softflowd")),
        "goal": "no drop; 0.4 % at 8 Mbit/s; 1 % at 100, not above softflowd, 40 x below tshark; 20 % at 500 kpps",
    }


def _watched(directory: Path, capture: Path, pace: list[str], watchers: tuple[str, ...]) -> dict[str, Any]:
    """One watcher after the other on the same packets: the share of a core that each took."""
    found: dict[str, Any] = {}
    for name in watchers:
        with cable() as (sender, watcher):
            found[name] = _WATCHERS[name](
                sender, watcher, directory / f"{name}{len(list(directory.iterdir()))}", capture, pace
            )
    return found


def _replay(sender: Namespace, capture: Path, pace: list[str], process: Process, seconds: float) -> tuple[float, int]:
    """(share of a core that `process` and its children took once they had run for a while, all packets sent)."""
    sent = _send(sender, capture, pace, WARM_SECONDS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    pids = [process.pid, *map(int, children)]
    before, start = sum(map(cpu_seconds, pids)), time.monotonic()
    sent += _send(sender, capture, pace, seconds)
    time.sleep(0.5)
    return (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - start), sent


def _cost(share: float, sent: int) -> dict[str, Any]:
    """`sent` is of the time before the measured one too."""
    rate = sent / (WARM_SECONDS + LIVE_SECONDS)
    return {
        "cpu_percent": round(100 * share, 2),
        "sent": sent,
        "packets_per_second": round(rate),
        "cpu_us_per_packet": round(1e6 * share / rate, 2) if rate else None,
    }


def _send(sender: Namespace, capture: Path, pace: list[str], seconds: float) -> int:
    if pace == _FLOOD:
        # One core cannot send that many.
        with ThreadPoolExecutor(FLOODERS) as pool:
            return sum(
                pool.map(lambda _: _flood_from(sender, capture, FLOOD_RATE / FLOODERS, seconds), range(FLOODERS))
            )
    command = ["tcpreplay", "-i", "eth0", "--loop=0", f"--duration={int(seconds)}", *pace, str(capture)]
    sent = re.search(r"Actual: (\d+) packets", sender.run(command, timeout=seconds + 60).stdout)
    return int(sent[1]) if sent else 0


def _flood_from(sender: Namespace, capture: Path, rate: float, seconds: float) -> int:
    flood = [*PYTHON, "-m", "tests.bench.flood", "eth0", str(capture), str(rate), str(seconds)]
    return int(sender.run(flood, timeout=seconds + 60).stdout)


def _netvane(sender: Namespace, watcher: Namespace, place: Path, capture: Path, pace: list[str]) -> dict[str, Any]:
    place.mkdir()
    settings = {"flows": {"interfaces": ["ap"], "local_prefixes": MIX_PREFIXES, "recorder": {"enabled": False}}}
    with running_exporter("flows", watcher, place, settings) as exporter:
        share, sent = _replay(sender, capture, pace, exporter.process, LIVE_SECONDS)
        eventually(lambda: _seen(exporter) >= 0, what="a scrape")
        start = time.monotonic()
        watcher.http(exporter.url + "/metrics")
        scrape = time.monotonic() - start
        return {
            **_cost(share, sent),
            "seen": round(_seen(exporter)),
            "dropped": round(exporter.value("netvane_flows_capture_dropped_total", ring="frames")),
            "names_dropped": round(exporter.value("netvane_flows_capture_dropped_total", ring="names")),
            "rss_mb": round(resident_mb(exporter.process.pid)),
            "scrape_ms": round(1000 * scrape),
        }


def _seen(exporter: RunningExporter) -> float:
    return exporter.value("netvane_flows_frames_total")


def _softflowd(sender: Namespace, watcher: Namespace, place: Path, capture: Path, pace: list[str]) -> dict[str, Any]:
    place.mkdir()
    command = ["softflowd", "-i", "ap", "-d", "-6", "-p", str(place / "pid"), "-c", str(place / "control")]
    with watcher.start([*command, "-m", "65536"]) as process:
        time.sleep(1.0)
        share, sent = _replay(sender, capture, pace, process, LIVE_SECONDS)
        return _cost(share, sent)


def _tshark(sender: Namespace, watcher: Namespace, place: Path, capture: Path, pace: list[str]) -> dict[str, Any]:
    place.mkdir()
    fields = " ".join(f"-e {field}" for field in TSHARK_FIELDS)
    with watcher.start(["sh", "-c", f"exec tshark -n -i ap -l -T fields {fields} >/dev/null 2>&1"]) as process:
        time.sleep(2.0)
        share, sent = _replay(sender, capture, pace, process, LIVE_SECONDS)
        return _cost(share, sent)


_WATCHERS: dict[str, Callable[[Namespace, Namespace, Path, Path, list[str]], dict[str, Any]]] = {
    "netvane": _netvane,
    "softflowd": _softflowd,
    "tshark": _tshark,
}


def _memory(directory: Path) -> dict[str, Any]:
    """A house full of devices, each with hundreds of connections that stay open, all of which have a name."""
    place = directory / "memory"
    place.mkdir()
    settings = {"flows": {"interfaces": ["ap"], "local_prefixes": CROWD_PREFIXES, "recorder": {"enabled": False}}}
    with cable() as (sender, watcher), running_exporter("flows", watcher, place, settings) as exporter:
        started = time.monotonic()
        for first in range(0, CROWD_FLOWS, CROWD_A_SECOND // 10):
            send(sender, [made for flow in range(first, first + CROWD_A_SECOND // 10) for made in _connection(flow)])
            time.sleep(max(started + first / CROWD_A_SECOND - time.monotonic(), 0))
        time.sleep(CROWD_SECONDS)
        return {
            "devices": CROWD_DEVICES,
            "live_flows": CROWD_FLOWS,
            "table_entries": round(exporter.value("netvane_flows_table_entries")),
            "folded_frames": round(exporter.value("netvane_flows_folded_frames_total")),
            "dns_messages": round(exporter.value("netvane_flows_dns_messages_total")),
            "dropped": round(exporter.value("netvane_flows_capture_dropped_total")),
            "rss_mb": round(resident_mb(exporter.process.pid)),
            "goal": "less than 120 MB, nothing folded",
        }


def _connection(number: int) -> Iterator[bytes]:
    """A device asks for a name, and connects to what it is told; every tenth connection is to a name of its own."""
    device, host = number % CROWD_DEVICES, number // 10
    mac, local = frames.GADGET[:5] + bytes([device]), bytes([10, 77, 0, 20 + device])
    far = bytes([93, 184, host >> 8, host & 0xFF])
    port = 20_000 + number // CROWD_DEVICES
    if number % 10 == 0:
        question = b"\x05h%04d\x07example\x03com\0\0\x01\0\x01" % host
        answer = b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04" + far
        query = port.to_bytes(2) + bytes.fromhex("01000001000000000000") + question
        response = port.to_bytes(2) + bytes.fromhex("81800001000100000000") + question + answer
        yield _sent(mac, local, far, frames.udp(port, 53, query), 17)
        yield _received(mac, local, far, frames.udp(53, port, response), 17)
    yield _sent(mac, local, far, frames.tcp(port, 443, 0x02), 6)
    yield _received(mac, local, far, frames.tcp(443, port, 0x12), 6)
    yield _sent(mac, local, far, frames.tcp(port, 443, 0x18, bytes(100)), 6)


def _sent(mac: bytes, local: bytes, far: bytes, segment: bytes, protocol: int) -> bytes:
    return frames.ethernet(frames.ipv4(segment, protocol, local, far), source=mac)


def _received(mac: bytes, local: bytes, far: bytes, segment: bytes, protocol: int) -> bytes:
    packet = frames.ipv4(segment, protocol, far, local)
    return frames.ethernet(packet, source=frames.ROUTER, destination=mac)
