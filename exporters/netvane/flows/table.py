"""The flow table: one entry per direction of a conversation, found by its keyed hash, updated a batch at a time.

Open addressing with linear probing over parallel arrays. Two keys are the same where their 64-bit hashes are (a chance
of at most 2^-33 for a pair that nobody can choose); keys are kept in full beside, written once, when a place is taken.

The only thing done for every packet is one addition of ``frames << 40 | bytes`` (with the time of the last frame, and
TCP flags where they are news). `drain` moves these sums out before 24 or 40 bits could overflow: see `pressing`.

A full table folds: an entry that no longer fits is counted under a key without addresses and ports (its classes and
scopes in their place), and where even those are too many, without MACs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from netvane.flows import keys as k
from netvane.flows.batch import I64, U8, U64
from netvane.flows.classes import classes_of
from netvane.flows.keys import Hasher

FRAMES_SHIFT = np.uint64(40)
BYTES_MASK = np.uint64((1 << 40) - 1)
MAX_FRAMES = 1 << 23  # half of what 24 bits hold: `pressing` is asked once a batch
MAX_BYTES = 1 << 39

FULL = 0.6  # share of places taken by flows; a fuller table makes for long searches
FOLDED_FULL = 0.7  # the same with folded entries by MAC; what lies above is enough for those without

_U = np.uint64


@dataclass(frozen=True, slots=True)
class Drained:
    """What was counted since the last drain: entries' positions and their new frames and bytes."""

    positions: I64
    frames: U64
    bytes: U64


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A batch of n frames to count: `weights` are frames << 40 | bytes, `tcp` flags; `frames`, `bytes` the sums.

    `keys_of(rows)` is asked for the keys uint64[rows, 7] of those rows that have no entry yet.
    """

    hashes: U64
    weights: U64
    ts: I64
    tcp: U8
    keys_of: Callable[[I64], U64]
    frames: int
    bytes: int


class FlowTable:
    """`keys` uint64[places, 7], `first` and `last` int64[places] (Unix ns), `tcp_flags` uint8[places].

    `scopes` gives, for keys uint64[n, 7], bit 0 where the source and bit 1 where the destination is local.
    """

    def __init__(self, hasher: Hasher, scopes: Callable[[U64], U64], *, bits: int = 17) -> None:
        places = 1 << bits
        self._hasher = hasher
        self._scopes = scopes
        self._shift = _U(64 - bits)
        self._mask = places - 1
        # Not np.zeros: the kernel is to find the pages now, and not one by one as flows come.
        self.hashes = np.full(places, 0, dtype=np.uint64)
        self._pending = np.full(places, 0, dtype=np.uint64)
        self.keys = np.full((places, k.WORDS), 0, dtype=np.uint64)
        self.first = np.full(places, 0, dtype=np.int64)
        self.last = np.full(places, 0, dtype=np.int64)
        self.tcp_flags = np.full(places, 0, dtype=np.uint8)
        self.taken = 0
        self.folded_frames = 0  # frames that came while the table was full and had no entry
        self.room = int(places * FULL)
        self._folded_room = int(places * FOLDED_FULL)
        self._waiting_frames = 0
        self._waiting_bytes = 0

    @property
    def places(self) -> int:
        return self._mask + 1

    @property
    def full(self) -> bool:
        return self.taken >= self.room

    @property
    def pressing(self) -> bool:
        """It must be drained before the next batch."""
        return self._waiting_frames > MAX_FRAMES or self._waiting_bytes > MAX_BYTES

    def add(self, arrivals: Arrivals) -> None:
        """Count a batch."""
        hashes, ts, tcp = arrivals.hashes, arrivals.ts, arrivals.tcp
        self._waiting_frames += arrivals.frames
        self._waiting_bytes += arrivals.bytes
        positions = (hashes >> self._shift).astype(np.int64)
        missed = np.flatnonzero(self.hashes[positions] != hashes)
        if missed.size:
            positions[missed] = self._search(arrivals, missed)
        np.add.at(self._pending, positions, arrivals.weights)
        self.last[positions] = ts
        news = np.flatnonzero(tcp & ~self.tcp_flags[positions])
        if news.size:
            np.bitwise_or.at(self.tcp_flags, positions[news], tcp[news])

    def find(self, keys: U64) -> I64:
        """Positions of the entries of keys; -1 where there is none."""
        return self._find(self._hasher.of_words(keys))

    def drain(self) -> Drained:
        """What was counted since the last time; the sums begin anew."""
        positions = np.flatnonzero(self._pending)
        waiting = self._pending[positions]
        self._pending[positions] = 0
        self._waiting_frames = self._waiting_bytes = 0
        return Drained(positions, waiting >> FRAMES_SHIFT, waiting & BYTES_MASK)

    def keep(self, positions: I64) -> I64:
        """Drop all entries but those at `positions`; returns where each of them is now. It must have been drained."""
        hashes, keys = self.hashes[positions], self.keys[positions]
        first, last, tcp = self.first[positions], self.last[positions], self.tcp_flags[positions]
        self.hashes[:] = 0
        self.taken = len(positions)
        places = self._claim(hashes)
        self.keys[places], self.first[places], self.last[places] = keys, first, last
        self.tcp_flags[places] = tcp
        return places

    def _search(self, arrivals: Arrivals, rows: I64) -> I64:
        """Positions of the entries of rows that are not at their first place, made where there are none."""
        hashes = arrivals.hashes[rows]
        places = self._find(hashes)
        new = np.flatnonzero(places < 0)
        if not new.size:
            return places
        # One row stands for all that are new with the same hash: the first, whose time is the entry's.
        distinct, leaders, member = np.unique(hashes[new], return_index=True, return_inverse=True)
        keys = arrivals.keys_of(rows[new[leaders]])
        times = arrivals.ts[rows[new[leaders]]]
        room = max(self.room - self.taken, 0)
        made = np.empty(len(distinct), dtype=np.int64)
        # First come, first served: np.unique sorted them by hash.
        order = np.argsort(leaders, kind="stable")
        fitting, left = order[:room], order[room:]
        made[fitting] = self._insert(distinct[fitting], keys[fitting], times[fitting])
        if left.size:
            made[left] = self._fold(keys[left], times[left])
            too_many = np.zeros(len(distinct), dtype=bool)
            too_many[left] = True
            self.folded_frames += int((arrivals.weights[rows[new[too_many[member]]]] >> FRAMES_SHIFT).sum())
        places[new] = made[member]
        return places

    def _fold(self, keys: U64, ts: I64) -> I64:
        """Positions of the entries of `other` for keys that found no room."""
        folded = np.zeros_like(keys)
        folded[:, 0:2] = keys[:, 0:2]
        folded[:, 2] = classes_of(keys)
        folded[:, 3] = self._scopes(keys)
        folded[:, 6] = keys[:, 6] & _U(0xFF << k.PROTOCOL_SHIFT) | _U((k.FOLDED | k.IP) << k.FLAGS_SHIFT)
        places = self._find_or_insert(folded, ts, self._folded_room)
        homeless = np.flatnonzero(places < 0)
        if homeless.size:
            folded[:, 0:2] = 0
            folded[:, 6] = _U((k.FOLDED | k.IP) << k.FLAGS_SHIFT)
            places[homeless] = self._find_or_insert(folded[homeless], ts[homeless], self.places)
        return places

    def _find_or_insert(self, keys: U64, ts: I64, room: int) -> I64:
        """Positions; -1 where there is no entry and `room` entries are taken."""
        hashes, leaders, member = np.unique(self._hasher.of_words(keys), return_index=True, return_inverse=True)
        places = self._find(hashes)
        new = np.flatnonzero(places < 0)[: max(room - self.taken, 0)]
        places[new] = self._insert(hashes[new], keys[leaders[new]], ts[leaders[new]])
        return places[member]

    def _find(self, hashes: U64) -> I64:
        """Positions of entries by their hash; -1 where there is none."""
        places = (hashes >> self._shift).astype(np.int64)
        open_rows = np.arange(len(hashes))
        while open_rows.size:
            there = self.hashes[places[open_rows]]
            empty = open_rows[there == 0]
            places[empty] = -1
            open_rows = open_rows[(there != 0) & (there != hashes[open_rows])]
            places[open_rows] = (places[open_rows] + 1) & self._mask
        return places

    def _insert(self, hashes: U64, keys: U64, ts: I64) -> I64:
        """Make entries for distinct hashes that have none; there is room for them."""
        places = self._claim(hashes)
        self.keys[places] = keys
        self.first[places] = self.last[places] = ts
        self.tcp_flags[places] = 0
        self.taken += len(hashes)
        return places

    def _claim(self, hashes: U64) -> I64:
        """Take a free place for each of distinct hashes. Of several that want one place the last one written has it."""
        places = (hashes >> self._shift).astype(np.int64)
        open_rows = np.arange(len(hashes))
        while open_rows.size:
            wanted = places[open_rows]
            free = self.hashes[wanted] == 0
            self.hashes[wanted[free]] = hashes[open_rows[free]]
            open_rows = open_rows[self.hashes[wanted] != hashes[open_rows]]
            places[open_rows] = (places[open_rows] + 1) & self._mask
        return places
