"""``netvane analyze``: the packet engine over a capture file."""

import argparse
import csv
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np

from netvane.flows import dns
from netvane.flows import keys as k
from netvane.flows.batch import I64, U64
from netvane.flows.classnames import CLASSES
from netvane.flows.decode import TCP
from netvane.flows.dnsnames import DnsError
from netvane.flows.engine import Engine, Processed
from netvane.flows.flowevents import protocol_name
from netvane.flows.payload import payload_of
from netvane.flows.pcapfile import CaptureFile, CaptureFileError
from netvane.flows.prefixes import PRIVATE, Prefixes
from netvane.flows.tables import print_columns
from netvane.flows.totals import RX, TX

MAX_DEVICES = 65_536
CHUNK = 16 << 20  # larger batches take less time a packet
EXPIRE_NS = 60_000_000_000
END_OF_TIME = 2**62

_DNS_PORT = 0x3500  # 53, read as a little-endian machine reads it


class DeviceCounts(msgspec.Struct, frozen=True, gc=False):
    tx_frames: int
    tx_bytes: int
    rx_frames: int
    rx_bytes: int


class DnsLine(msgspec.Struct, frozen=True, gc=False):
    """A DNS message; `mac` is the device that asks, `rcode` None in a query."""

    ts: str
    mac: str
    name: str
    type: str
    rcode: str | None
    answers: tuple[str, ...]
    response: bool


class Analysis(msgspec.Struct, frozen=True):
    """What a capture holds; `problem` says why it was not read to its end, None where it was."""

    frames: int
    bytes: int
    classes: dict[str, int]
    devices: dict[str, DeviceCounts]
    flows: dict[str, int]
    dns: list[DnsLine]
    malformed: int
    slow_path: int
    other_frames: int  # counted without their addresses, because the flow table was full
    problem: str | None


def analyze(path: Path) -> Analysis:
    """Raises CaptureFileError."""
    engine = Engine(Prefixes(PRIVATE), max_devices=MAX_DEVICES, groups=True)
    ended: list[U64] = []
    messages: list[DnsLine] = []
    next_expiry = 0
    with CaptureFile(path, CHUNK) as capture:
        for batch in capture.batches():
            processed = engine.process(batch)
            _read_dns(processed, messages)
            now = int(batch.ts[-1])
            if now >= next_expiry or engine.table.full:
                ended.append(engine.expire(now, tell=0).ended)
                next_expiry = now + EXPIRE_NS
        problem = capture.problem
    ended.append(engine.expire(END_OF_TIME, tell=0).ended)
    totals = engine.totals
    return Analysis(
        frames=totals.all_frames,
        bytes=totals.all_bytes,
        classes={name: int(count) for name, count in zip(CLASSES, totals.class_frames, strict=True)},
        devices={
            mac: DeviceCounts(
                tx_frames=int(totals.frames[number, TX].sum()),
                tx_bytes=int(totals.bytes[number, TX].sum()),
                rx_frames=int(totals.frames[number, RX].sum()),
                rx_bytes=int(totals.bytes[number, RX].sum()),
            )
            for mac, number in engine.devices.items()
        },
        flows=_by_protocol(np.concatenate(ended)),
        dns=messages,
        malformed=engine.counts.malformed,
        slow_path=engine.counts.slow_path,
        other_frames=engine.table.folded_frames,
        problem=problem,
    )


def _by_protocol(ended: U64) -> dict[str, int]:
    counts = Counter(ended.tolist())
    return {protocol_name(protocol): count for protocol, count in counts.most_common()}


def _dns_rows(last: U64) -> I64:
    protocol = (last >> np.uint64(k.PROTOCOL_SHIFT)) & np.uint64(0xFF)
    port53 = (last & np.uint64(0xFFFF) == _DNS_PORT) | ((last >> np.uint64(16)) & np.uint64(0xFFFF) == _DNS_PORT)
    return np.flatnonzero(port53 & ((protocol == 6) | (protocol == 17)))


def _read_dns(processed: Processed, messages: list[DnsLine]) -> None:
    batch = processed.batch
    rows = _dns_rows(processed.last)
    times = np.datetime_as_string(np.maximum(batch.ts[rows], 0).astype("datetime64[ns]")).tolist()
    for frame, wire, ts in zip(batch.frames_at(rows), batch.wire[rows].tolist(), times, strict=True):
        payload = payload_of(frame, wire)
        if payload is None:
            continue
        found = dns.tcp_messages(payload.data) if payload.protocol == TCP else (payload.data,)
        for raw in found:
            try:
                message = dns.decode(raw)
            except DnsError:
                continue
            if message.name is None or message.type is None:
                continue
            mac = payload.destination_mac if message.response else payload.source_mac
            answers = tuple([answer.text for answer in message.answers])
            line = DnsLine(f"{ts}Z", mac.hex(":"), message.name, message.type, message.rcode, answers, message.response)
            messages.append(line)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="netvane analyze", allow_abbrev=False)
    parser.add_argument("file", type=Path, help="a pcap or pcapng file")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    options = parser.parse_args(argv)
    try:
        analysis = analyze(options.file)
    except CaptureFileError as error:
        print(f"netvane analyze: {error}", file=sys.stderr)  # noqa: T201 - the answer to whoever typed the command
        return 1
    if analysis.problem is not None:
        print(f"netvane analyze: {options.file}: {analysis.problem}", file=sys.stderr)  # noqa: T201
    try:
        _FORMATS[options.format](analysis, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads it has read enough; nothing more is to be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _write_json(analysis: Analysis, out: TextIO) -> None:
    out.write(msgspec.json.format(msgspec.json.encode(analysis), indent=1).decode() + "\n")


def _write_csv(analysis: Analysis, out: TextIO) -> None:
    """One line a device."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["mac", *DeviceCounts.__struct_fields__])
    for mac, counts in analysis.devices.items():
        writer.writerow([mac, *msgspec.structs.astuple(counts)])


def _write_table(analysis: Analysis, out: TextIO) -> None:
    out.write(f"{analysis.frames} frames, {analysis.bytes} bytes")
    out.write(f", {analysis.malformed} malformed, {analysis.slow_path} not plain\n\n")
    rows: list[list[Any]] = [["device", "tx frames", "tx bytes", "rx frames", "rx bytes"]]
    by_bytes = sorted(analysis.devices.items(), key=lambda item: -(item[1].tx_bytes + item[1].rx_bytes))
    rows += [[mac, *msgspec.structs.astuple(counts)] for mac, counts in by_bytes]
    _columns(rows, out)
    _columns([["class", "frames"], *([name, count] for name, count in analysis.classes.items() if count)], out)
    _columns([["protocol", "flows"], *([name, count] for name, count in analysis.flows.items())], out)
    names = Counter(line.name for line in analysis.dns if not line.response)
    _columns([["name asked for", "queries"], *([name or ".", count] for name, count in names.most_common(20))], out)


def _columns(rows: list[list[Any]], out: TextIO) -> None:
    print_columns(rows, out)
    out.write("\n")


_FORMATS = {"json": _write_json, "csv": _write_csv, "table": _write_table}
