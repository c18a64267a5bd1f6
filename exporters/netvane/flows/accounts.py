"""What is known of a flow-table entry beside its key: filled when it is first settled, not when it is made."""

import numpy as np

from netvane.flows.batch import I64


class Accounts:
    """Columns beside the flow table's, indexed by place.

    `known`                  bool, whether the others are filled
    `classes`, `scopes`      uint32 and uint8, bits (netvane.flows.classes, netvane.flows.prefixes)
    `source`, `destination`  int32, device numbers (netvane.flows.totals)
    `pair`                   uint64, the same for both directions of a conversation (netvane.flows.flowrecords)
    `frames`, `bytes`        uint64, since the flow was last told
    """

    def __init__(self, places: int) -> None:
        # Not np.zeros: see FlowTable.
        self.known = np.full(places, 0, dtype=bool)
        self.classes = np.full(places, 0, dtype=np.uint32)
        self.scopes = np.full(places, 0, dtype=np.uint8)
        self.source = np.full(places, 0, dtype=np.int32)
        self.destination = np.full(places, 0, dtype=np.int32)
        self.pair = np.full(places, 0, dtype=np.uint64)
        self.frames = np.full(places, 0, dtype=np.uint64)
        self.bytes = np.full(places, 0, dtype=np.uint64)

    def move(self, old: I64, new: I64) -> None:
        """Entries `old` are the only ones left, and at the places `new` now."""
        for column in (self.classes, self.scopes, self.source, self.destination, self.pair, self.frames, self.bytes):
            column[new] = column[old]
        known = self.known[old]
        self.known[:] = False
        self.known[new] = known
        gone = np.ones(len(self.frames), dtype=bool)
        gone[new] = False
        self.frames[gone] = 0
        self.bytes[gone] = 0
