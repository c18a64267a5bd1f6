"""A batch of captured frames: where each lies in a buffer, how long it was, when it came."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

LEAD = 2  # bytes before a frame that are read with it, so that its addresses fall into two words of eight
# Bytes that the buffer holds beyond the end of any frame: Ethernet, a tag, IPv4 with options, TCP up to its flags.
TAIL = 96

_ADDRESSES = np.dtype([("before", "u8"), ("source", "u8")])


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

    def addresses(self) -> tuple[U64, U64]:
        """Of each frame destination MAC << 16 with what lies before it, and source MAC | ethertype << 48, both in the
        order of the frame.
        """
        found = gather(self.data, self.offsets - LEAD, _ADDRESSES)
        return found["before"], found["source"]


def gather(data: U8, offsets: I64, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """What lies at `offsets`, read as `kind`: a copy, which may begin anywhere."""
    # As opaque bytes: fields would be copied one by one.
    size = kind.itemsize
    view = np.ndarray((len(data) - size + 1,), dtype=f"V{size}", buffer=data, strides=(1,))
    found: npt.NDArray[Any] = view[offsets].view(kind)
    return found
