"""The packet engine beside softflowd and tshark: the same packets, the same run, CPU seconds (user and system).

Offline on the 2-million-packet mix of the shared tools; live in tests.bench.flows_live.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
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
from tests.bench import flows_live
from tests.lab.processes import PYTHON_ENV

ROUNDS = 5
BATCH = 8192
SLOT = 512
SNAPLEN = 430
_TOOLS = [parent / "shared" / "tools" / "gen_mix.py" for parent in Path(__file__).absolute().parents]


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
            **flows_live.run(directory, small),
        }


def _offline(mix: Path, small: Path) -> dict[str, Any]:
    ours, theirs, tshark = [], [], []
    netvane = [sys.executable, "-m", "netvane.cli", "analyze", "--format", "json", str(mix)]
    fields = [word for field in flows_live.TSHARK_FIELDS for word in ("-e", field)]
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
