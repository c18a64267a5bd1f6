"""Where the records of a capture file begin. Each says only how long it is: one leads to the next.

Followed one by one that would take longer than all else. So the bytes are cut into strips, a likely record is looked
for in each, and the chains from all of them are followed side by side. They count only if each ends where the next one
begins, since then all of them are the one chain from the first record; else that one is followed alone.

A record of pcap: seconds, fraction of a second, captured length, length on the wire (32 bits each), the packet.
A block of pcapng: type, its whole length, its content, its length again.
"""

import struct
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from netvane.flows.batch import I64, U8
from netvane.flows.packetbuffer import CHUNK, MAX_CAPTURED, fields

RECORD = 16
BLOCK = 12
_STRIPS = 512
_STRIP = 8192  # bytes at least: shorter strips are not worth it
_WINDOW = 1600  # a full Ethernet frame with its record: no more of a strip is searched


class _Form(NamedTuple):
    """A record has at least `least` bytes; its length is at `length_at`, and does not count `uncounted` bytes."""

    least: int
    length_at: int
    uncounted: int


_PCAP, _PCAPNG = _Form(RECORD, 8, RECORD), _Form(BLOCK, 4, 0)


def follow(data: U8, start: int, end: int, order: str) -> I64:
    """Where the records of a pcap file begin that have their first 16 bytes before `end`; the first is at `start`.

    `order`: "<" or ">". Behind a record that is longer than MAX_CAPTURED nothing is found.
    """
    if end - start < RECORD:
        return np.zeros(0, dtype=np.int64)
    found = _side_by_side(data, _likely_records(data, start, end, order), end, order, _PCAP)
    return _one_by_one(data, start, end, order) if found is None else found


def follow_blocks(data: U8, start: int, end: int, order: str) -> I64:
    """Where the blocks of a pcapng file begin, from `start` on, that are of the type of the first and end before `end`;
    and where the last of them ends. Nothing at all where they can only be followed one at a time.
    """
    likely = _likely_blocks(data, start, end, order)
    found = _side_by_side(data, likely, end, order, _PCAPNG) if likely.size > 1 else None
    if found is None:
        return np.zeros(0, dtype=np.int64)
    kind, size = fields(data, found, 2, order)
    good = (kind == kind[0]) & (size % np.uint64(4) == 0) & (size <= CHUNK)
    behind = found + size.astype(np.int64)
    good &= behind <= end
    count = len(found) if good.all() else int(np.argmin(good))
    return np.append(found[:count], behind[count - 1 : count])


def _likely_records(data: U8, start: int, end: int, order: str) -> I64:
    """`start`, and from every strip behind it what looks like a record and leads to what looks like another."""
    high, low = (3, 2) if order == "<" else (0, 1)  # the upper bytes of the seconds: they change every 18 hours
    rows, at = _alike(data, start, end, high, low)
    length, likely = _look(data, at, order)
    rows, at, follower = rows[likely], at[likely], (at + RECORD + length)[likely]
    inside = follower + RECORD <= end
    rows, at, follower = rows[inside], at[inside], follower[inside]
    likely = _look(data, follower, order)[1] & (data[follower + high] == data[start + high])
    return _leaders(start, rows[likely], at[likely])


def _likely_blocks(data: U8, start: int, end: int, order: str) -> I64:
    """`start`, and from every strip behind it what looks like a block of its type."""
    rows, at = _alike(data, start, end, *((0, 1) if order == "<" else (3, 2)))
    kind, size = fields(data, at, 2, order)
    first, _ = fields(data, np.array([start], dtype=np.int64), 2, order)
    behind = at + size.astype(np.int64)
    likely = (kind == first[0]) & (size >= BLOCK) & (behind <= end)
    rows, at, size, behind = rows[likely], at[likely], size[likely], behind[likely]
    (again,) = fields(data, behind - 4, 1, order)
    return _leaders(start, rows[again == size], at[again == size])


def _alike(data: U8, start: int, end: int, first: int, second: int) -> tuple[I64, I64]:
    """Strips, and places at their beginnings where the bytes at `first` and `second` are as those from `start` on."""
    strip = max((end - start) // _STRIPS, _STRIP)
    strips = (end - start - _WINDOW - RECORD) // strip - 1
    if strips < 1:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    searched = np.ndarray((strips, _WINDOW + 3), np.uint8, data, start + strip, (strip, 1))
    alike = searched[:, first : first + _WINDOW] == data[start + first]
    alike &= searched[:, second : second + _WINDOW] == data[start + second]
    rows, columns = np.divmod(np.flatnonzero(alike), _WINDOW)
    return rows, start + (rows + 1) * strip + columns


def _leaders(start: int, rows: I64, at: I64) -> I64:
    _, leaders = np.unique(rows, return_index=True)
    return np.concatenate([np.array([start], dtype=np.int64), at[leaders]])


def _look(data: U8, at: I64, order: str) -> tuple[I64, npt.NDArray[np.bool_]]:
    """The captured lengths that stand at `at`, and whether they and the fractions are what a record may have."""
    _, fraction, captured, wire = fields(data, at, 4, order)
    likely = (fraction < 10**9) & (captured <= wire) & (captured <= MAX_CAPTURED)
    return captured.astype(np.int64), likely


def _side_by_side(data: U8, begins: I64, end: int, order: str, form: _Form) -> I64 | None:
    """The records of the chains that begin there, each up to where the next one does; None if one misses that."""
    bounds = np.append(begins[1:], end - form.least + 1)
    lengths = np.ndarray((len(data) - 3,), order + "u4", data, strides=(1,))
    found = []
    at, rows, ends = begins, np.arange(len(begins)), begins.copy()
    while at.size:
        found.append(at)
        step = lengths[at + form.length_at] + np.int64(form.uncounted)
        if int(step.min()) < form.least:  # no record is that short: it would go round for ever
            return None
        at = at + step
        going = at < bounds[rows]
        ends[rows] = at
        at, rows = at[going], rows[going]
    if not np.array_equal(ends[:-1], begins[1:]):
        return None
    return np.sort(np.concatenate(found))


def _one_by_one(data: U8, start: int, end: int, order: str) -> I64:
    found: list[int] = []
    unpack = struct.Struct(order + "I").unpack_from
    at = start + _PCAP.length_at
    # It ends where the first 16 bytes are not whole.
    with data.data[: max(end - RECORD + _PCAP.length_at + 4, 0)] as lengths, suppress(struct.error):
        while True:
            (captured,) = unpack(lengths, at)
            found.append(at)
            at += captured + RECORD
    return np.array(found, dtype=np.int64) - _PCAP.length_at
