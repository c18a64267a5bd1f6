"""The blocks of a pcapng file: draft-ietf-opsawg-pcapng.

Only around odd blocks are blocks followed one at a time; packets are read as columns.
"""

import itertools
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from netvane.flows.batch import I64, U64
from netvane.flows.packetbuffer import CHUNK, MAX_CAPTURED, Buffer, Packets, fields
from netvane.flows.recordchain import BLOCK, follow_blocks

MAGIC = b"\x0a\x0d\x0d\x0a"
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_TIMES_RESOLUTION, _TIMES_OFFSET = 9, 14


class _Interface(NamedTuple):
    link: int
    snaplen: int
    resolution: int  # if_tsresol: 10^-n seconds, or 2^-n with the top bit set
    offset: int  # seconds


def packets_of(buffer: Buffer) -> Iterator[Packets]:
    """All packets, in runs of one interface; `buffer.problem` says what ended them early."""
    blocks = _Blocks()
    while True:
        yield from _together(buffer, blocks)
        if not buffer.problem:
            yield from _singly(buffer, blocks)
        if buffer.problem or not buffer.fill():
            break
    if buffer.end > buffer.start and not buffer.problem:
        buffer.problem = "cut short within a block"


def _together(buffer: Buffer, blocks: "_Blocks") -> Iterator[Packets]:
    """The packets that the buffer begins with, up to an odd block; none where they can only be followed singly."""
    if buffer.end - buffer.start < BLOCK:
        return
    (kind,) = struct.unpack_from(blocks.order + "I", buffer.bytes, buffer.start)
    if kind == _PACKET:
        edges = follow_blocks(buffer.array(), buffer.start, buffer.end, blocks.order)
        if edges.size:
            buffer.start = int(edges[-1])
            yield from _run(buffer, _PACKET, edges[:-1], blocks)


def _singly(buffer: Buffer, blocks: "_Blocks") -> Iterator[Packets]:
    """The packets of all blocks that are whole in the buffer, in runs of one kind."""
    run: list[int] = []
    kind = 0
    while buffer.end - buffer.start >= BLOCK:
        at = buffer.start
        order = blocks.order_at(buffer.bytes, at)
        this, size = struct.unpack_from(order + "II", buffer.bytes, at)
        if size < BLOCK or size % 4 or size > CHUNK:
            buffer.problem = f"damaged: a block of {size} bytes"
            break
        if at + size > buffer.end:
            break
        if run and this != kind:
            yield from _run(buffer, kind, np.array(run, dtype=np.int64), blocks)
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
        yield from _run(buffer, kind, np.array(run, dtype=np.int64), blocks)


def _run(buffer: Buffer, kind: int, starts: I64, blocks: "_Blocks") -> Iterator[Packets]:
    data = buffer.array()
    columns = fields(data, starts, 4 if kind == _SIMPLE_PACKET else 7, blocks.order)
    size = columns[1]
    if kind == _SIMPLE_PACKET:
        number = np.zeros(len(starts), dtype=np.uint64)
        wire = columns[2]
        snaplen = blocks.interfaces[0].snaplen if blocks.interfaces else 0
        captured = np.minimum(wire, np.uint64(snaplen or MAX_CAPTURED))
        raw = np.zeros(len(starts), dtype=np.uint64)
        offsets, around = starts + 12, 16
    else:
        number = columns[2]
        if kind == _OLD_PACKET:
            number = number >> np.uint64(16) if blocks.order == ">" else number & np.uint64(0xFFFF)
        raw = columns[3] << np.uint64(32) | columns[4]
        captured, wire = columns[5], columns[6]
        offsets, around = starts + 28, 32
    good = (captured + np.uint64(around) <= size) & (captured <= MAX_CAPTURED) & (number < len(blocks.interfaces))
    stop = len(starts) if good.all() else int(np.argmin(good))
    if stop < len(starts):
        buffer.problem = "damaged: a packet that does not fit its block, or of no interface"
    for first, last in _same(number[:stop]):
        part = slice(first, last)
        interface = blocks.interfaces[int(number[first])]
        ts = _nanoseconds(raw[part], interface)
        yield Packets(offsets[part], captured[part], wire[part], ts, interface.link)


class _Blocks:
    """What a pcapng section said of itself so far."""

    def __init__(self) -> None:
        self.order = "<"
        self.interfaces: list[_Interface] = []

    def order_at(self, data: bytearray, at: int) -> str:
        """The byte order of the block at `at`: a new section's own, which reads its length as none if it has none."""
        if data[at : at + 4] == MAGIC:
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
