"""The packet engine beside softflowd and tshark: the same packets, the same run, CPU seconds (user and system).

Offline on the 2-million-packet mix of the shared tools, live on a veth pair. Live figures are of processes that run as
their users run them: `netvane flows` with names, events and metrics, softflowd with its flow table, tshark with a few
fields.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from netvane.flows import dns
from netvane.flows.batch import TAIL, Batch
from netvane.flows.classnames import CLASSES
from netvane.flows.dnsnames import DnsError
from netvane.flows.engine import Engine
from netvane.flows.payload import payload_of
from netvane.flows.pcapfile import CaptureFile
from netvane.flows.prefixes import PRIVATE, Prefixes
from tests import frames
from tests.batches import batch_of
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.netns import Namespace
from tests.lab.processes import PYTHON, PYTHON_ENV, Process
from tests.lab.rack import Rack
from tests.lab.transfer import transfer
from tests.lab.wait import eventually

ROUNDS = 5
BATCH = 8192
SLOT = 512
SNAPLEN = 430
LIVE_SECONDS = 24.0  # flows that ended are told every 20 s
WARM_SECONDS = 4.0
TSHARK_FIELDS = ("frame.len", "eth.src", "eth.dst", "ip.src", "ip.dst", "ip.proto", "tcp.dstport", "udp.dstport")
_TOOLS = [parent / "shared" / "tools" / "gen_mix.py" for parent in Path(__file__).absolute().parents]
MIX_PREFIXES = ["192.168.50.0/24", "fd00:0:0:1::/64"]  # an access point would have them from its own addresses
OFFLOAD_PORTIONS = 432  # 20 MB
_SENDER = frames.GADGET.hex(":")
_TICKS = os.sysconf("SC_CLK_TCK")


def run() -> dict[str, Any]:
    tool = next((path for path in _TOOLS if path.is_file()), None)
    if tool is None or not shutil.which("softflowd") or not shutil.which("tcpreplay"):
        return {"skipped": "needs gen_mix.py beside the clone, softflowd and tcpreplay"}
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        mix = directory / "mix.pcap"
        subprocess.run([sys.executable, tool, mix, "1"], check=True, capture_output=True)
        small = directory / "small.pcap"  # for tshark, which would take minutes
        subprocess.run(["editcap", "-r", mix, small, "1-200000"], check=True, capture_output=True)
        return {
            "offline": _offline(mix, small),
            "engine": _engine(mix),
            "dns": _dns(mix),
            "fuzz": _fuzz(),
            "segmentation_offload": _offload(directory),
            "live": _live(directory, small),
        }


def _offline(mix: Path, small: Path) -> dict[str, Any]:
    ours, theirs, tshark = [], [], []
    netvane = [sys.executable, "-m", "netvane.cli", "analyze", "--format", "json", str(mix)]
    fields = [word for field in TSHARK_FIELDS for word in ("-e", field)]
    for number in range(ROUNDS):
        ours.append(_cpu_of(netvane))
        theirs.append(_cpu_of(["softflowd", "-r", str(mix), "-d"]))
        if number < 3:
            tshark.append(_cpu_of(["tshark", "-n", "-r", str(small), "-T", "fields", *fields]))
    packets = _packets(mix)
    rates = {
        "netvane": packets / statistics.median(ours),
        "softflowd": packets / statistics.median(theirs),
        "tshark": 200_000 / statistics.median(tshark),
    }
    return {
        "packets_per_cpu_second": {name: round(rate) for name, rate in rates.items()},
        "of_softflowd": round(rates["netvane"] / rates["softflowd"], 2),
        "of_tshark": round(rates["netvane"] / rates["tshark"], 1),
        "goal": "at least 0.75 x softflowd, 25 x tshark",
    }


def _cpu_of(command: list[str]) -> float:
    """CPU seconds of a command that runs to its end."""
    before = os.times()
    subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        env={**os.environ, **PYTHON_ENV},
        timeout=300,
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _packets(path: Path) -> int:
    with CaptureFile(path) as file:
        return sum(len(batch) for batch in file.batches())


def _slots(path: Path, limit: int) -> tuple[list[Batch], int]:
    """The first frames of a capture as a ring would hold them, in batches."""
    slots = np.zeros(limit * SLOT + TAIL, dtype=np.uint8)
    wires, times = np.zeros(limit, dtype=np.uint64), np.zeros(limit, dtype=np.int64)
    count = 0
    with CaptureFile(path) as file:
        for batch in file.batches():
            rows = np.arange(min(len(batch), limit - count))
            wires[count : count + len(rows)], times[count : count + len(rows)] = batch.wire[rows], batch.ts[rows]
            for frame in batch.frames_at(rows):
                start = count * SLOT + 82
                slots[start : start + min(len(frame), SNAPLEN)] = np.frombuffer(frame[:SNAPLEN], dtype=np.uint8)
                count += 1
            if count == limit:
                break
    captured = np.minimum(wires, np.uint64(SNAPLEN))
    offsets = np.arange(count, dtype=np.int64) * SLOT + 82
    parts = [slice(start, start + BATCH) for start in range(0, count, BATCH)]
    return [Batch(slots, offsets[part], captured[part], wires[part], times[part]) for part in parts], count


def _engine(mix: Path) -> dict[str, Any]:
    batches, count = _slots(mix, 50 * BATCH)
    softflowd = [_packets(mix) / _cpu_of(["softflowd", "-r", str(mix), "-d"]) for _ in range(ROUNDS)]
    rates = []
    for _ in range(ROUNDS):
        engine = Engine(Prefixes(PRIVATE))
        start = time.process_time()
        for batch in batches:
            engine.process(batch)
        engine.settle()
        rates.append(count / (time.process_time() - start))
    flood, places = _flood()
    return {
        "frames": count,
        "packets_per_cpu_second": round(statistics.median(rates)),
        "softflowd": round(statistics.median(softflowd)),
        "of_softflowd": round(statistics.median(rates) / statistics.median(softflowd), 2),
        "syn_flood_packets_per_cpu_second": flood,
        "syn_flood_table": places,
        "goal": "at least 2 x softflowd; a flood at 1 M/s with a bounded table",
    }


def _flood() -> tuple[int, dict[str, int]]:
    frame = np.frombuffer(frames.ethernet(frames.ipv4(frames.tcp(1024, 80, 2), 6)), dtype=np.uint8)
    total = 1_000_000
    slots = np.zeros((BATCH, SLOT), dtype=np.uint8)
    slots[:, 82 : 82 + len(frame)] = frame
    data = np.concatenate([slots.reshape(-1), np.zeros(TAIL, dtype=np.uint8)])
    sources = slots[:, 82 + 26 : 82 + 30]
    offsets = np.arange(BATCH, dtype=np.int64) * SLOT + 82
    length = np.full(BATCH, len(frame), dtype=np.uint64)
    rates = []
    engine = Engine(Prefixes(PRIVATE))
    for _ in range(3):
        engine = Engine(Prefixes(PRIVATE))
        spent = 0.0
        for start in range(0, total, BATCH):
            numbers = np.arange(start, start + BATCH, dtype=">u4")
            sources[:] = numbers.view(np.uint8).reshape(BATCH, 4)
            data[: BATCH * SLOT] = slots.reshape(-1)
            batch = Batch(data, offsets, length, length, np.full(BATCH, start * 1000, dtype=np.int64))
            begun = time.process_time()
            engine.process(batch)
            spent += time.process_time() - begun
        engine.settle()
        rates.append(total / spent)
    return round(statistics.median(rates)), {"entries": engine.table.taken, "places": engine.table.places}


def _dns(mix: Path) -> dict[str, Any]:
    messages: list[bytes] = []
    with CaptureFile(mix) as file:
        for batch in file.batches():
            for frame, wire in zip(batch.frames_at(np.arange(len(batch))), batch.wire.tolist(), strict=True):
                payload = payload_of(frame, wire)
                if payload and 53 in {payload.source_port, payload.destination_port}:
                    messages.append(payload.data)
            if len(messages) > 20_000:
                break
    rates = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for message in messages:
            _quietly(message)
        rates.append(len(messages) / (time.process_time() - start))
    return {"messages_per_cpu_second": round(statistics.median(rates)), "goal": 100_000}


def _quietly(message: bytes) -> bool:
    try:
        dns.decode(message)
    except DnsError:
        return False
    return True


def _fuzz() -> dict[str, Any]:
    """10 million mutated frames through the engine: a million different ones, each batch mutated again ten times.

    The first mutation of every batch is compared with a plain decoder on a sample.
    """
    random = np.random.default_rng(1)
    counted = wrong = 0
    for round_number in range(120):
        captured = list(frames.mutated(round_number, BATCH))
        batch = batch_of(captured, 0)
        data, wire = batch.data, batch.wire
        engine = Engine(Prefixes(PRIVATE), groups=True, bits=15)
        for repeat in range(11):
            if repeat:
                spots = random.integers(0, len(data), len(data) // 40)
                data[spots] = random.integers(0, 256, len(spots), dtype=np.uint8)
            engine.process(batch)
            counted += BATCH
            if repeat == 1 and round_number % 10 == 0:
                wrong += _differences(captured, batch)
        engine.settle()
        wrong += engine.totals.all_frames != 11 * BATCH
        wrong += engine.totals.all_bytes != 11 * int(wire.sum())
    return {"frames": counted, "wrong": wrong, "goal": "10 million, none wrong"}


def _differences(captured: list[tuple[bytes, int]], batch: Batch) -> int:
    """How many classes of a fresh engine differ from the plain decoder's, on the frames as they are now."""
    engine = Engine(Prefixes(PRIVATE))
    engine.process(batch)
    engine.settle()
    expected: Counter[str] = Counter()
    for row, (_frame, wire) in enumerate(captured):
        expected.update(frames.classes(batch.frame(row), wire))
    return sum(expected[name] != int(count) for name, count in zip(CLASSES, engine.totals.class_frames, strict=True))


def _pair(rack: Rack) -> tuple[Namespace, Namespace]:
    sender, watcher = rack.namespaces("sender", "watcher")
    sender.ip(f"link add eth0 type veth peer name ap netns {watcher.name}", "link set eth0 up", "link set lo up")
    watcher.ip("link set ap up", "link set lo up")
    for namespace in (sender, watcher):
        namespace.sysctl({"net.ipv6.conf.all.disable_ipv6": "1"})
    return sender, watcher


def _offload(directory: Path) -> dict[str, Any]:
    """20 MB over TCP with segmentation offload and without: frames and bytes as they are on the wire."""
    found: dict[str, Any] = {}
    for state in ("on", "off"):
        with Rack() as rack:
            sender, watcher = _pair(rack)
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
        with Rack() as rack:
            sender, watcher = _pair(rack)
            found[name] = _WATCHERS[name](
                sender, watcher, directory / f"{name}{len(list(directory.iterdir()))}", capture, pace
            )
    return found


def _replay(sender: Namespace, capture: Path, pace: list[str], process: Process, seconds: float) -> tuple[float, int]:
    """(share of a core that `process` and its children took once they had run for a while, all packets sent)."""
    sent = _send(sender, capture, pace, WARM_SECONDS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    pids = [process.pid, *map(int, children)]
    before, start = sum(map(_cpu_seconds, pids)), time.monotonic()
    sent += _send(sender, capture, pace, seconds)
    time.sleep(0.5)
    return (sum(map(_cpu_seconds, pids)) - before) / (time.monotonic() - start), sent


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


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _netvane(sender: Namespace, watcher: Namespace, place: Path, capture: Path, pace: list[str]) -> dict[str, Any]:
    place.mkdir()
    settings = {"flows": {"interfaces": ["ap"], "local_prefixes": MIX_PREFIXES, "recorder": {"enabled": False}}}
    with running_exporter("flows", watcher, place, settings) as exporter:
        share, sent = _replay(sender, capture, pace, exporter.process, LIVE_SECONDS)
        eventually(lambda: _seen(exporter) >= 0, what="a scrape")
        start = time.monotonic()
        watcher.http(exporter.url + "/metrics")
        scrape = time.monotonic() - start
        status = Path(f"/proc/{exporter.process.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        return {
            **_cost(share, sent),
            "seen": round(_seen(exporter)),
            "dropped": round(exporter.value("netvane_flows_capture_dropped_total", ring="frames")),
            "names_dropped": round(exporter.value("netvane_flows_capture_dropped_total", ring="names")),
            "rss_mb": round(int(resident[1]) / 1024) if resident else None,
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
