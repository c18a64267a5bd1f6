"""A batch of captured frames: where each lies in a buffer, how long it was, when it came."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

LEAD = 2  # bytes before a frame that are read with it, so that its IP header falls on a multiple of eight
ROW_WORDS = 9  # two bytes, Ethernet 14, IPv6 40, TCP up to its flags and two more
ROW_BYTES = 8 * ROW_WORDS
# A tagged frame is read once more four bytes further on.
TAIL = ROW_BYTES + 8  # bytes that the buffer holds beyond the last byte of any frame


@dataclass(frozen=True, slots=True)
class Batch:
    """`n` Ethernet frames, in the order they came, as columns of length n.

    `data`     the buffer (uint8); every frame has LEAD readable bytes before it and TAIL after its end.
    `offsets`  int64: where a frame's first byte lies in `data`.
    `captured` uint64: bytes of it that are there.
    `wire`     uint64: bytes it had on the wire.
    `ts`       int64: Unix nanoseconds.
    `links`    uint64 or None for 0: the low 16 bits of a key's first word (netvane.flows.keys): a VLAN tag that the
               kernel took out of the frame, addresses that the link does not have.
    `frames`   uint64 or None for one each: frames that were on the wire (more than one for an offloaded super-frame).
    `counted`  uint64 or None for `wire`: bytes to count; differs for super-frames and for links other than Ethernet.
    """

    data: U8
    offsets: I64
    captured: U64
    wire: U64
    ts: I64
    links: U64 | None = None
    frames: U64 | None = None
    counted: U64 | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    def frame(self, row: int) -> bytes:
        """The captured bytes of one frame."""
        offset = int(self.offsets[row])
        return self.data[offset : offset + int(self.captured[row])].tobytes()

    def frames_at(self, rows: I64) -> list[bytes]:
        """The captured bytes of several frames."""
        starts = self.offsets[rows]
        ends = starts + self.captured[rows].astype(np.int64)
        data = self.data.data
        return [bytes(data[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def words(self) -> U64:
        """uint64[ROW_WORDS, n], as this machine reads it: the first bytes of every frame, and the LEAD before it."""
        return gather(self.data, self.offsets)


def gather(data: U8, offsets: I64) -> U64:
    """See Batch.words. A copy of each row by its offset, then one transposition: later columns are contiguous."""
    rows = np.ndarray((len(data) - ROW_BYTES + 1,), dtype=f"V{ROW_BYTES}", buffer=data, strides=(1,))
    picked = rows[offsets - LEAD].view(np.uint64).reshape(-1, ROW_WORDS)
    return np.ascontiguousarray(picked.T)
