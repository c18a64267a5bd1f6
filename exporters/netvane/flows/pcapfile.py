"""Capture files (pcap and pcapng) as batches, megabytes at a time.

Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Only the chain of record lengths is followed in Python;
all else is read as columns.
"""

import itertools
import struct
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from netvane.flows import linktype
from netvane.flows.batch import I64, LEAD, TAIL, U8, U64, Batch

CHUNK = 4 << 20
MAX_CAPTURED = 1 << 18  # the largest packet that libpcap and Wireshark take; more is damage

_PCAP_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_PCAP_HEADER, _RECORD = 24, 16
_LENGTH = 8  # where a record's header has the captured length
_PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_TIMES_RESOLUTION, _TIMES_OFFSET = 9, 14


class CaptureFileError(Exception):
    """No capture file, or one that cannot be read; the text says which."""


class _Interface(NamedTuple):
    link: int
    snaplen: int
    resolution: int  # if_tsresol: 10^-n seconds, or 2^-n with the top bit set
    offset: int  # seconds


class _Packets(NamedTuple):
    """Columns of the packets found in the buffer."""

    offsets: I64
    captured: U64
    wire: U64
    ts: I64
    link: int


class _Buffer:
    """A file's bytes, `start` to `end`, with room around them for Batch's LEAD and TAIL."""

    def __init__(self, file: FileIO, size: int) -> None:
        self._file = file
        self.size = size
        self.bytes = bytearray(LEAD + size + TAIL)
        self.start = self.end = LEAD

    def fill(self) -> bool:
        """Move what is left to the front and read on; False where nothing more came."""
        left = self.end - self.start
        self.bytes[LEAD : LEAD + left] = self.bytes[self.start : self.end]
        self.start, self.end = LEAD, LEAD + left
        before = self.end
        with memoryview(self.bytes) as view:
            while self.end < LEAD + self.size:
                got = self._file.readinto(view[self.end : LEAD + self.size])
                if not got:
                    break
                self.end += got
        return self.end > before

    def array(self) -> U8:
        return np.frombuffer(self.bytes, dtype=np.uint8)


class CaptureFile:
    """`problem` says, once all batches were taken, why the file was not read to its end; None where it was."""

    def __init__(self, path: Path, chunk: int = CHUNK) -> None:
        """`chunk`: bytes in memory at a time, at least CHUNK. Raises CaptureFileError."""
        try:
            self._file = path.open("rb", buffering=0)
            self._buffer = _Buffer(self._file, chunk)
            self._buffer.fill()
        except OSError as error:
            raise CaptureFileError(f"{path}: {error.strerror}") from error
        self.problem: str | None = None
        magic = bytes(self._buffer.bytes[LEAD : LEAD + 4])
        if magic not in _PCAP_MAGIC and magic != _PCAPNG_MAGIC:
            self._file.close()
            raise CaptureFileError(f"{path}: neither pcap nor pcapng")
        self._source = self._pcapng() if magic == _PCAPNG_MAGIC else self._pcap(*_PCAP_MAGIC[magic])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def batches(self) -> Iterator[Batch]:
        """A batch is good until the next one is asked for. Raises CaptureFileError where the disk fails."""
        try:
            for packets in self._source:
                if packets.link == linktype.ETHERNET:
                    data = self._buffer.array()
                    yield Batch(data, packets.offsets, packets.captured, packets.wire, packets.ts)
                elif len(packets.offsets):
                    yield _reframed(self._buffer.array(), packets)
        except OSError as error:
            raise CaptureFileError(f"{self._file.name}: {error.strerror}") from error

    def _pcap(self, order: str, nanoseconds: int) -> Iterator[_Packets]:
        buffer = self._buffer
        if buffer.end - buffer.start < _PCAP_HEADER:
            self.problem = "cut short in the file's header"
            return
        (link,) = struct.unpack_from(order + "I", buffer.bytes, buffer.start + 20)
        link &= 0x03FFFFFF  # above: length of the frame check sequence
        buffer.start += _PCAP_HEADER
        header = struct.Struct(order + "I")
        while True:
            offsets = self._records(header)
            if offsets.size:
                fields = _fields(buffer.array(), offsets - _RECORD, 4, order)
                damaged = np.flatnonzero(fields[2] > MAX_CAPTURED)
                if damaged.size:
                    self.problem = f"damaged: a packet of {fields[2][damaged[0]]} bytes"
                    offsets = offsets[: damaged[0]]
                    fields = [column[: damaged[0]] for column in fields]
                ts = (fields[0] * np.uint64(10**9) + fields[1] * np.uint64(nanoseconds)).astype(np.int64)
                yield _Packets(offsets, fields[2], fields[3], ts, link)
            if self.problem or not buffer.fill():
                break
        if buffer.end > buffer.start and not self.problem:
            self.problem = "cut short within a packet"

    def _records(self, length: struct.Struct) -> I64:
        """Where the packets of the records begin that are whole in the buffer, which is moved on behind them."""
        buffer = self._buffer
        unpack = length.unpack_from
        found: list[int] = []
        append = found.append
        at = buffer.start + _LENGTH
        captured = 0
        # The one loop over all packets: it ends where the header is not whole.
        with memoryview(buffer.bytes)[: max(buffer.end - _RECORD + _LENGTH + 4, 0)] as lengths, suppress(struct.error):
            while True:
                (captured,) = unpack(lengths, at)
                append(at)
                at += captured + _RECORD
        # The last one found may go on behind the end, and a wrong length leads behind it anyway.
        if found and at - _LENGTH > buffer.end:
            at = found.pop()
            if captured > MAX_CAPTURED:
                self.problem = f"damaged: a packet of {captured} bytes"
        buffer.start = at - _LENGTH
        return np.array(found, dtype=np.int64) + (_RECORD - _LENGTH)

    def _pcapng(self) -> Iterator[_Packets]:
        buffer = self._buffer
        blocks = _Blocks()
        while True:
            yield from self._blocks(blocks)
            if self.problem or not buffer.fill():
                break
        if buffer.end > buffer.start and not self.problem:
            self.problem = "cut short within a block"

    def _blocks(self, blocks: "_Blocks") -> Iterator[_Packets]:
        """The packets of all blocks that are whole in the buffer, in runs of one kind."""
        buffer = self._buffer
        run: list[int] = []
        kind = 0
        while buffer.end - buffer.start >= 12:
            at = buffer.start
            order = blocks.order_at(buffer.bytes, at)
            this, size = struct.unpack_from(order + "II", buffer.bytes, at)
            if size < 12 or size % 4 or size > CHUNK:
                self.problem = f"damaged: a block of {size} bytes"
                break
            if at + size > buffer.end:
                break
            if run and this != kind:
                yield from self._run(kind, run, blocks)
                run = []
            if this == _SECTION:
                blocks.begin_section(order)
            elif this == _INTERFACE:
                blocks.add_interface(bytes(buffer.bytes[at + 8 : at + size - 4]))
            elif this in {_PACKET, _OLD_PACKET, _SIMPLE_PACKET}:
                kind = this
                run.append(at)
            buffer.start += size
        if run:
            yield from self._run(kind, run, blocks)

    def _run(self, kind: int, run: list[int], blocks: "_Blocks") -> Iterator[_Packets]:
        starts = np.array(run, dtype=np.int64)
        data = self._buffer.array()
        fields = _fields(data, starts, 4 if kind == _SIMPLE_PACKET else 7, blocks.order)
        size = fields[1]
        if kind == _SIMPLE_PACKET:
            number = np.zeros(len(starts), dtype=np.uint64)
            wire = fields[2]
            snaplen = blocks.interfaces[0].snaplen if blocks.interfaces else 0
            captured = np.minimum(wire, np.uint64(snaplen or MAX_CAPTURED))
            raw = np.zeros(len(starts), dtype=np.uint64)
            offsets, around = starts + 12, 16
        else:
            number = fields[2]
            if kind == _OLD_PACKET:
                number = number >> np.uint64(16) if blocks.order == ">" else number & np.uint64(0xFFFF)
            raw = fields[3] << np.uint64(32) | fields[4]
            captured, wire = fields[5], fields[6]
            offsets, around = starts + 28, 32
        good = (captured + np.uint64(around) <= size) & (captured <= MAX_CAPTURED) & (number < len(blocks.interfaces))
        stop = len(starts) if good.all() else int(np.argmin(good))
        if stop < len(starts):
            self.problem = "damaged: a packet that does not fit its block, or of no interface"
        for first, last in _same(number[:stop]):
            part = slice(first, last)
            interface = blocks.interfaces[int(number[first])]
            ts = _nanoseconds(raw[part], interface)
            yield _Packets(offsets[part], captured[part], wire[part], ts, interface.link)


class _Blocks:
    """What a pcapng section said of itself so far."""

    def __init__(self) -> None:
        self.order = "<"
        self.interfaces: list[_Interface] = []

    def order_at(self, data: bytearray, at: int) -> str:
        """The byte order of the block at `at`: a new section's own, which reads its length as none if it has none."""
        if data[at : at + 4] == _PCAPNG_MAGIC:
            return _ORDERS.get(bytes(data[at + 8 : at + 12]), "<")
        return self.order

    def begin_section(self, order: str) -> None:
        self.order = order
        self.interfaces = []

    def add_interface(self, body: bytes) -> None:
        if len(body) < 8:
            self.interfaces.append(_Interface(-1, 0, 6, 0))
            return
        link, _, snaplen = struct.unpack_from(self.order + "HHI", body)
        resolution, offset = 6, 0
        at = 8
        while at + 4 <= len(body):
            code, size = struct.unpack_from(self.order + "HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if code == 0:
                break
            if code == _TIMES_RESOLUTION and len(value) == 1:
                resolution = value[0]
            elif code == _TIMES_OFFSET and len(value) == 8:
                (offset,) = struct.unpack(self.order + "q", value)
            at += 4 + (size + 3) // 4 * 4
        self.interfaces.append(_Interface(link, snaplen, resolution, offset))


def _fields(data: U8, starts: I64, count: int, order: str) -> list[U64]:
    """The first `count` 32-bit fields of headers that begin at `starts`, as uint64 columns."""
    size = 4 * count
    rows = np.ndarray((len(data) - size + 1,), dtype=f"V{size}", buffer=data, strides=(1,))
    table = rows[starts].view(np.dtype(order + "u4")).reshape(-1, count)
    return [table[:, column].astype(np.uint64) for column in range(count)]


def _nanoseconds(raw: U64, interface: _Interface) -> I64:
    power = interface.resolution & 0x7F
    if interface.resolution & 0x80 or power > 9:
        unit = 2**power if interface.resolution & 0x80 else 10**power
        ns = np.array([value * 10**9 // unit for value in raw.tolist()], dtype=object)
    else:
        ns = raw.astype(object) * 10 ** (9 - power) if power < 6 else raw * np.uint64(10 ** (9 - power))
    limit = 2**62  # a damaged time is none
    if ns.dtype == object:
        ns = np.array([min(int(value), limit) for value in ns], dtype=np.int64)
    return np.minimum(ns.astype(np.int64), limit) + max(min(interface.offset, 2**32), -(2**32)) * 10**9


def _same(number: U64) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of each run of equal numbers."""
    if len(number):
        edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(number)]
        yield from itertools.pairwise(edges)


def _reframed(data: U8, packets: _Packets) -> Batch:
    """The same packets as Ethernet frames in a buffer of their own."""
    frames: list[bytes] = []
    wires: list[int] = []
    links: list[int] = []
    for offset, captured, wire in zip(
        packets.offsets.tolist(), packets.captured.tolist(), packets.wire.tolist(), strict=True
    ):
        made = linktype.reframe(packets.link, data[offset : offset + captured].tobytes(), wire)
        frames.append(made.frame)
        wires.append(max(made.wire, len(made.frame)))
        links.append(made.link)
    lengths = np.array([len(frame) for frame in frames], dtype=np.int64)
    buffer = np.frombuffer(bytes(LEAD) + b"".join(frames) + bytes(TAIL), dtype=np.uint8)
    return Batch(
        buffer,
        LEAD + np.cumsum(lengths) - lengths,
        lengths.astype(np.uint64),
        np.array(wires, dtype=np.uint64),
        packets.ts,
        links=np.array(links, dtype=np.uint64),
        counted=packets.wire,
    )
