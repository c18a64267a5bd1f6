"""Where the records of a pcap file begin. Each says only how long it is: one leads to the next.

Followed one by one that would take longer than all else. So the bytes are cut into strips, a likely record is looked
for in each, and the chains from all of them are followed side by side. They count only if each ends where the next one
begins, since then all of them are the one chain from the first record; else that one is followed alone.

A record: seconds, fraction of a second, captured length, length on the wire (32 bits each), the packet.
"""

import struct
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from netvane.flows.batch import I64, U8
from netvane.flows.packetbuffer import MAX_CAPTURED, fields

RECORD = 16
_LENGTH = 8  # where a record has the captured length
_STRIPS = 512
_STRIP = 8192  # bytes at least: shorter strips are not worth it
_WINDOW = 1600  # a full Ethernet frame with its record: no more of a strip is searched


def follow(data: U8, start: int, end: int, order: str) -> I64:
    """Where the records begin that have their first 16 bytes before `end`; the first of them is at `start`.

    `order`: "<" or ">". Behind a record that is longer than MAX_CAPTURED nothing is found.
    """
    if end - start < RECORD:
        return np.zeros(0, dtype=np.int64)
    found = _side_by_side(data, _likely(data, start, end, order), end, order)
    return _one_by_one(data, start, end, order) if found is None else found


def _likely(data: U8, start: int, end: int, order: str) -> I64:
    """`start`, and from every strip behind it what looks like a record and leads to what looks like another."""
    first = np.array([start], dtype=np.int64)
    strip = max((end - start) // _STRIPS, _STRIP)
    strips = (end - start - _WINDOW - RECORD) // strip - 1
    if strips < 1:
        return first
    high, low = (3, 2) if order == "<" else (0, 1)  # the upper bytes of the seconds: they change every 18 hours
    searched = np.ndarray((strips, _WINDOW + 3), np.uint8, data, start + strip, (strip, 1))
    seconds = searched[:, high : high + _WINDOW] == data[start + high]
    seconds &= searched[:, low : low + _WINDOW] == data[start + low]
    rows, columns = np.divmod(np.flatnonzero(seconds), _WINDOW)
    at = start + (rows + 1) * strip + columns
    length, likely = _look(data, at, order)
    rows, at, follower = rows[likely], at[likely], (at + RECORD + length)[likely]
    inside = follower + RECORD <= end
    rows, at, follower = rows[inside], at[inside], follower[inside]
    likely = _look(data, follower, order)[1] & (data[follower + high] == data[start + high])
    _, leaders = np.unique(rows[likely], return_index=True)
    return np.concatenate([first, at[likely][leaders]])


def _look(data: U8, at: I64, order: str) -> tuple[I64, npt.NDArray[np.bool_]]:
    """The captured lengths that stand at `at`, and whether they and the fractions are what a record may have."""
    _, fraction, captured, wire = fields(data, at, 4, order)
    likely = (fraction < 10**9) & (captured <= wire) & (captured <= MAX_CAPTURED)
    return captured.astype(np.int64), likely


def _side_by_side(data: U8, begins: I64, end: int, order: str) -> I64 | None:
    """The records of the chains that begin there, each up to where the next one does; None if one misses that."""
    bounds = np.append(begins[1:], end - RECORD + 1)
    lengths = np.ndarray((len(data) - 3,), order + "u4", data, strides=(1,))
    found = []
    at, rows, ends = begins, np.arange(len(begins)), begins.copy()
    while at.size:
        found.append(at)
        at = at + lengths[at + _LENGTH] + RECORD
        going = at < bounds[rows]
        ends[rows] = at
        at, rows = at[going], rows[going]
    if not np.array_equal(ends[:-1], begins[1:]):
        return None
    return np.sort(np.concatenate(found))


def _one_by_one(data: U8, start: int, end: int, order: str) -> I64:
    found: list[int] = []
    unpack = struct.Struct(order + "I").unpack_from
    at = start + _LENGTH
    # It ends where the first 16 bytes are not whole.
    with data.data[: max(end - RECORD + _LENGTH + 4, 0)] as lengths, suppress(struct.error):
        while True:
            (captured,) = unpack(lengths, at)
            found.append(at)
            at += captured + RECORD
    return np.array(found, dtype=np.int64) - _LENGTH
