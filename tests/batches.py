"""Frames as the engine is given them."""

from collections.abc import Sequence

import numpy as np

from netvane.common.clock import NANOSECONDS
from netvane.flows.batch import I64, LEAD, TAIL, Batch


def batch_of(captured: Sequence[tuple[bytes, int]], ts: int | I64 = NANOSECONDS) -> Batch:
    """A batch of frames, each with its length on the wire; `ts` in Unix ns, one for all or each its own.

    Its buffer may be written to.
    """
    lengths = np.array([len(frame) for frame, _ in captured], dtype=np.int64)
    data = bytearray(bytes(LEAD) + b"".join(frame for frame, _ in captured) + bytes(TAIL))
    return Batch(
        np.frombuffer(data, dtype=np.uint8),
        LEAD + np.cumsum(lengths) - lengths,
        lengths.astype(np.uint64),
        np.array([wire for _, wire in captured], dtype=np.uint64),
        np.full(len(captured), ts, dtype=np.int64),
    )
