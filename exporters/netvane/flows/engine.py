"""The packet engine: batches in; running totals, and flows when they end, out."""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from netvane.flows import keys as k
from netvane.flows import slowpath
from netvane.flows.accounts import Accounts
from netvane.flows.batch import I64, U8, U64, Batch
from netvane.flows.classes import BIT, classes_of
from netvane.flows.decode import Columns, Decoder
from netvane.flows.flowrecords import Survey, is_lookup, pairs_of, survey
from netvane.flows.keys import Hasher
from netvane.flows.prefixes import Prefixes
from netvane.flows.table import FRAMES_SHIFT, Arrivals, FlowTable
from netvane.flows.totals import NO_DEVICE, OTHER_DEVICE, Devices, Totals

_U = np.uint64
_PACK_KEY = struct.Struct(f"={k.WORDS}Q").pack
_MAC_MASK = _U(0xFFFFFFFFFFFF)


@dataclass(slots=True)
class Counts:
    """What the engine says of its own work; only ever grows.

    `slow_path`: frames that are not plain, each of which costs more than others.
    """

    malformed: int = 0
    slow_path: int = 0


@dataclass(frozen=True, slots=True)
class Processed:
    """A batch that was counted; `last` is word 6 of each frame's key: ports, protocol, flags."""

    batch: Batch
    last: U64


@dataclass(frozen=True, slots=True)
class Begun:
    """Entries of IP that were made since the last time: keys uint64[n, 7], their scopes, and which open a conversation.

    A TCP connection is opened by its SYN; all else by the direction that came first. Of look-ups (netvane.flows.
    flowrecords), each from a port of its own, the first one of a device to a server does, until the next expiry.
    """

    keys: U64
    scopes: U64
    opening: npt.NDArray[np.bool_]


# More than this at once is a flood or a scan long since.
MAX_BEGUN = 2_000


# glibc gives memory that is freed back to the kernel, and asks for it anew, unless it has seen one block as large as
# this come and go (mallopt(3), M_MMAP_THRESHOLD): the columns of every batch would be page faults.
_LARGEST_COLUMN = 1 << 20


class Engine:
    """Not thread-safe: one thread calls it."""

    def __init__(self, prefixes: Prefixes, *, max_devices: int = 1000, groups: bool = False, bits: int = 17) -> None:
        """`groups`: count group addresses as devices; `bits`: the flow table has 2^bits places."""
        hasher = Hasher()
        self._hasher = hasher
        self._decoder = Decoder(hasher)
        self.prefixes = prefixes
        self.table = FlowTable(hasher, self._scopes, bits=bits)
        self.accounts = Accounts(self.table.places)
        self.devices = Devices(max_devices, groups=groups)
        self.totals = Totals()
        self.counts = Counts()
        self._begun: list[I64] = []
        self._begun_count = 0
        self._looked_up: set[int] = set()
        # Behind the tables: those are better off with pages of their own, huge ones where the kernel has them.
        np.empty(_LARGEST_COLUMN, dtype=np.uint8)

    def process(self, batch: Batch) -> Processed:
        """Count a batch."""
        columns = self._decoder.decode(batch)
        slow = columns.slow
        self.counts.slow_path += slow.size + columns.unusual
        slow_keys, slow_tcp = self._slow(batch, slow)
        if slow.size:
            columns.hashes[slow] = self._hasher.of_words(slow_keys)
            columns.last[slow] = slow_keys[:, 6]
            columns.tcp[slow] = slow_tcp
        counted = batch.wire if batch.counted is None else batch.counted
        if batch.frames is None:
            weights, frames = counted + _U(1 << 40), len(batch)
        else:
            weights, frames = counted + (batch.frames << FRAMES_SHIFT), int(batch.frames.sum())

        def keys_of(rows: I64) -> U64:
            return _keys_of(columns, slow, slow_keys, rows)

        self.table.add(Arrivals(columns.hashes, weights, batch.ts, columns.tcp, keys_of, frames, int(counted.sum())))
        if self.table.pressing:
            self.settle()
        return Processed(batch, columns.last)

    def settle(self) -> None:
        """Bring totals and accounts up to the last frame."""
        drained = self.table.drain()
        at = drained.positions
        if not at.size:
            return
        accounts = self.accounts
        unknown = at[~accounts.known[at]]
        if unknown.size:
            self._describe(unknown)
        accounts.frames[at] += drained.frames
        accounts.bytes[at] += drained.bytes
        self.totals.make_room(len(self.devices))
        self.totals.add(
            drained,
            classes=accounts.classes[at].astype(np.uint64),
            scopes=accounts.scopes[at].astype(np.uint64),
            source=accounts.source[at].astype(np.int64),
            destination=accounts.destination[at].astype(np.int64),
        )

    def take_begun(self) -> Begun:
        """What was made since the last call, as far as it was settled; at most about MAX_BEGUN of it."""
        at = np.concatenate([np.zeros(0, dtype=np.int64), *self._begun])
        self._begun.clear()
        self._begun_count = 0
        keys = self.table.keys[at]
        flags = keys[:, 6] >> _U(k.FLAGS_SHIFT)
        is_ip = flags & _U(k.IP | k.FOLDED) == _U(k.IP)
        at, keys, flags = at[is_ip], keys[is_ip], flags[is_ip]
        back = self.table.find(k.reversed_keys(keys))
        later = (back >= 0) & (self.table.first[back] < self.table.first[at])
        classes = self.accounts.classes[at].astype(np.uint64)
        is_tcp = classes & BIT["tcp"] != 0
        opening = np.where(is_tcp, flags & _U(k.SYN) != 0, ~later)
        lookups = np.flatnonzero(opening & is_lookup(classes))
        for row, pair in zip(lookups.tolist(), self.accounts.pair[at[lookups]].tolist(), strict=True):
            opening[row] = pair not in self._looked_up
            self._looked_up.add(pair)
        return Begun(keys, self.accounts.scopes[at].astype(np.uint64), opening)

    def set_prefixes(self, prefixes: Prefixes) -> None:
        """From the next frame on; what was counted stays as it was."""
        self.settle()
        self.prefixes = prefixes
        begun, self._begun = self._begun, []
        self._describe(np.flatnonzero(self.accounts.known & (self.table.hashes != 0)))
        self._begun = begun

    def expire(self, now: int, *, tell: int) -> Survey:
        """Drop what is silent, and say what flows did, at most `tell` of them (see survey)."""
        self.settle()
        found = survey(self.table, self.accounts, now, tell=tell)
        if found.dropped:
            self._begun.clear()  # positions that are no more
            self._looked_up.clear()
            places = self.table.keep(found.kept)
            self.accounts.move(found.kept, places)
        return found

    def _scopes(self, keys: U64) -> U64:
        return self.prefixes.scopes(keys)

    def _slow(self, batch: Batch, rows: I64) -> tuple[U64, U8]:
        if not rows.size:
            return np.zeros((0, k.WORDS), dtype=np.uint64), np.zeros(0, dtype=np.uint8)
        links = [0] * len(rows) if batch.links is None else batch.links[rows].tolist()
        decoded = [
            slowpath.decode(frame, wire, link)
            for frame, wire, link in zip(batch.frames_at(rows), batch.wire[rows].tolist(), links, strict=True)
        ]
        # Packed first: NumPy takes four times as long to convert tuples.
        packed = b"".join([_PACK_KEY(*frame.key) for frame in decoded])
        keys = np.frombuffer(packed, dtype=np.uint64).reshape(-1, k.WORDS)
        tcp = np.array([frame.tcp_flags for frame in decoded], dtype=np.uint8)
        self.counts.malformed += sum(frame.malformed for frame in decoded)
        return keys, tcp

    def _describe(self, at: I64) -> None:
        """Fill the accounts of entries that are counted for the first time."""
        keys = self.table.keys[at]
        accounts = self.accounts
        folded = (keys[:, 6] >> _U(k.FLAGS_SHIFT)) & _U(k.FOLDED) != 0
        classes = np.where(folded, keys[:, 2], classes_of(keys))
        scopes = np.where(folded, keys[:, 3], self.prefixes.scopes(keys))
        accounts.classes[at], accounts.scopes[at] = classes, scopes
        # A folded entry without MACs stands for devices that nobody can tell apart any more.
        source, destination = keys[:, 1] & _MAC_MASK, keys[:, 0] >> _U(16)
        nameless = folded & (keys[:, 0] == 0) & (keys[:, 1] == 0)
        for column, macs, absent, unknown in (
            (accounts.source, source, _U(k.NO_SOURCE), OTHER_DEVICE),
            (accounts.destination, destination, _U(k.NO_DESTINATION), NO_DEVICE),
        ):
            there = np.flatnonzero((keys[:, 0] & absent == 0) & ~nameless)
            numbers = np.where(nameless, unknown, NO_DEVICE)
            numbers[there] = self.devices.numbers(macs[there])
            column[at] = numbers
        accounts.pair[at] = pairs_of(self._hasher, keys, scopes, classes)
        accounts.known[at] = True
        if self._begun_count < MAX_BEGUN:
            self._begun.append(at[:MAX_BEGUN])
            self._begun_count += len(at)


def _keys_of(columns: Columns, slow: I64, slow_keys: U64, rows: I64) -> U64:
    keys = columns.keys(rows)
    if slow.size:
        at = np.minimum(np.searchsorted(slow, rows), slow.size - 1)
        is_slow = slow[at] == rows
        keys[is_slow] = slow_keys[at[is_slow]]
    return keys
