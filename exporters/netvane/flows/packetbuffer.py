"""A capture file's bytes, some megabytes at a time, and the packets found in them as columns."""

from io import FileIO
from typing import NamedTuple

import numpy as np

from netvane.flows.batch import I64, LEAD, TAIL, U8, U64

CHUNK = 4 << 20
MAX_CAPTURED = 1 << 18  # the largest packet that libpcap and Wireshark take; more is damage


class Packets(NamedTuple):
    """Columns of the packets found in the buffer."""

    offsets: I64
    captured: U64
    wire: U64
    ts: I64
    link: int


class Buffer:
    """A file's bytes, `start` to `end`, with room around them for Batch's LEAD and TAIL."""

    def __init__(self, file: FileIO, size: int) -> None:
        self._file = file
        self._size = size
        self.bytes = bytearray(LEAD + size + TAIL)
        self.start = self.end = LEAD
        self.problem: str | None = None  # with what follows; nothing more is read then

    def fill(self) -> bool:
        """Move what is left to the front and read on; False where nothing more came."""
        left = self.end - self.start
        self.bytes[LEAD : LEAD + left] = self.bytes[self.start : self.end]
        self.start, self.end = LEAD, LEAD + left
        before = self.end
        with memoryview(self.bytes) as view:
            while self.end < LEAD + self._size:
                got = self._file.readinto(view[self.end : LEAD + self._size])
                if not got:
                    break
                self.end += got
        return self.end > before

    def array(self) -> U8:
        return np.frombuffer(self.bytes, dtype=np.uint8)


def fields(data: U8, starts: I64, count: int, order: str) -> list[U64]:
    """The first `count` 32-bit fields of headers that begin at `starts`, as uint64 columns."""
    size = 4 * count
    rows = np.ndarray((len(data) - size + 1,), dtype=f"V{size}", buffer=data, strides=(1,))
    table = rows[starts].view(np.dtype(order + "u4")).reshape(-1, count)
    return [table[:, column].astype(np.uint64) for column in range(count)]
