"""Running totals: by packet class, and by device. They only ever grow, whatever the flow table forgets."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from netvane.flows.batch import I64, U64
from netvane.flows.classnames import CLASSES
from netvane.flows.table import Drained

OTHER_DEVICE = 0  # where the frames of devices beyond the limit are counted
NO_DEVICE = 1  # group addresses and absent ones; never shown

TX, RX = 0, 1
LAN, WAN = 0, 1

_CLASS_COUNT = len(CLASSES)


@dataclass(slots=True)
class Totals:
    """Sums since the start. Arrays are indexed by device number (netvane.flows.totals.Devices).

    `frames`, `bytes`  uint64[devices, TX/RX, LAN/WAN]
    `classes`          uint64[devices, TX/RX, len(CLASSES)], frames
    """

    all_frames: int = 0
    all_bytes: int = 0
    class_frames: U64 = field(default_factory=lambda: np.zeros(_CLASS_COUNT, dtype=np.uint64))
    frames: U64 = field(default_factory=lambda: np.zeros((64, 2, 2), dtype=np.uint64))
    bytes: U64 = field(default_factory=lambda: np.zeros((64, 2, 2), dtype=np.uint64))
    classes: U64 = field(default_factory=lambda: np.zeros((64, 2, _CLASS_COUNT), dtype=np.uint64))

    def make_room(self, devices: int) -> None:
        if devices > len(self.frames):
            more = max(devices, 2 * len(self.frames)) - len(self.frames)
            self.frames, self.bytes, self.classes = (
                np.concatenate([old, np.zeros((more, *old.shape[1:]), dtype=np.uint64)])
                for old in (self.frames, self.bytes, self.classes)
            )

    def add(self, drained: Drained, *, classes: U64, scopes: U64, source: I64, destination: I64) -> None:
        """Add what was counted for n entries, with their accounts (netvane.flows.accounts)."""
        frames = drained.frames
        self.all_frames += int(frames.sum())
        self.all_bytes += int(drained.bytes.sum())
        # The far address of what a device sends is the destination, of what it receives the source.
        for direction, device, far in ((TX, source, np.uint64(2)), (RX, destination, np.uint64(1))):
            scope = np.where(scopes & far, LAN, WAN)
            cell = device * 4 + direction * 2 + scope
            np.add.at(self.frames.reshape(-1), cell, frames)
            np.add.at(self.bytes.reshape(-1), cell, drained.bytes)
        present = int(np.bitwise_or.reduce(classes))
        for number in [number for number in range(_CLASS_COUNT) if present >> number & 1]:
            rows = np.flatnonzero(classes & np.uint64(1 << number))
            counted = frames[rows]
            self.class_frames[number] += counted.sum()
            for direction, device in ((TX, source), (RX, destination)):
                np.add.at(self.classes[:, direction, number], device[rows], counted)


class Devices:
    """Numbers for MAC addresses, at most `limit` of them; never taken back, so that no counter ever goes."""

    def __init__(self, limit: int, *, groups: bool = False) -> None:
        """`groups`: group addresses and 00:00:00:00:00:00 (the loopback interface) count as devices too."""
        self._limit = limit
        self._groups = groups
        self._numbers: dict[int, int] = {}
        self.refused = 0  # how often an entry's address found no number

    def __len__(self) -> int:
        """One more than the largest number given so far."""
        return len(self._numbers) + 2

    def numbers(self, macs: U64) -> I64:
        """Device numbers of addresses as they lie in a frame, read as little-endian integers."""
        distinct, member = np.unique(macs, return_inverse=True)
        found = np.array([self._number(mac) for mac in distinct.tolist()], dtype=np.int64)
        return found[member]

    def items(self) -> list[tuple[str, int]]:
        """(address as text, number) in the order they were first seen."""
        return [(mac_text(mac), number) for mac, number in list(self._numbers.items())]

    def _number(self, mac: int) -> int:
        number = self._numbers.get(mac)
        if number is not None:
            return number
        if (mac == 0 or mac & 1) and not self._groups:
            return NO_DEVICE
        if len(self._numbers) >= self._limit:
            self.refused += 1
            return OTHER_DEVICE
        number = len(self._numbers) + 2
        self._numbers[mac] = number
        return number


@lru_cache(maxsize=4096)
def mac_text(mac: int) -> str:
    """``02:00:00:00:00:01`` of an address read as a little-endian integer."""
    return mac.to_bytes(6, "little").hex(":")
