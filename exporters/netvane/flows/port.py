"""An interface that is listened to: its two rings, and for how long they may be left alone.

Names are read one packet at a time, so that their number is limited: what comes beyond that stays in its small ring
until that is full, and the kernel counts the rest as dropped. Counting goes on.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from netvane.flows.namefilter import PROGRAM, SNAPLEN
from netvane.flows.ring import BLOCK_BYTES, Counts, Ring

NAME_RING_BYTES = 3 * BLOCK_BYTES
# A ring must have room for what the fastest home brings while nobody looks.
FASTEST = 500_000  # packets a second
LONGEST_SECONDS, SHORTEST_SECONDS = 0.1, 0.02
STEPS = (1 / 4, 3 / 8, 1 / 2, 5 / 8)  # of a ring: how much of it is used is known in these steps; above it is drained
HASTY_RATE, HASTY_USE = 1.5, 1 / 8  # while it fills that often in a second, it is drained above that share
NAMES_USE = 3 / 4
NAMES_A_SECOND = 2_000  # a home of 50 devices has some 20


class Rings(NamedTuple):
    """`frames` has the beginning of each, to be counted; `names` those few whole that names are read from."""

    frames: Ring
    names: Ring


@dataclass(slots=True)
class Port:
    """One interface: its rings while there are any, and what all its rings together counted."""

    name: str
    counts: Counts = field(default_factory=Counts)
    name_counts: Counts = field(default_factory=Counts)
    rings: Rings | None = None
    up: bool = False
    highest_use: float = 0.0  # of the ring of frames, since whoever shows it last looked
    last_frame_ns: int = 0
    measured: float = 0.0  # when it was, in monotonic seconds
    names_allowed: float = 0.0  # how many might be read then

    def open(self, size: int, *, promiscuous: bool) -> None:
        """`size`: bytes of the ring of frames. Raises OSError: no such interface, no right, no memory."""
        frames = Ring(self.name, size, promiscuous=promiscuous, counts=self.counts)
        try:
            names = Ring(self.name, NAME_RING_BYTES, slot_bytes=SNAPLEN, program=PROGRAM, counts=self.name_counts)
        except OSError:
            frames.close()
            raise
        self.rings = Rings(frames, names)

    def close(self) -> None:
        """What waits is lost."""
        if self.rings is not None:
            self.rings.frames.close()
            self.rings.names.close()
        self.rings = None
        self.up = False

    def pause(self, now: float) -> float:
        """For how many seconds it may be left alone; 0: it must be drained. Names that have to wait do not press."""
        if self.rings is None:
            return LONGEST_SECONDS
        frames, names = self.rings
        few = int(names.slots * NAMES_USE)
        if names.is_used(few) and self._allowed(names, now) >= few:
            return 0.0
        hasty = HASTY_RATE * (now - self.measured)
        if hasty < STEPS[-1] and frames.is_used(int(hasty * frames.slots)):
            return 0.0 if frames.is_used(int(HASTY_USE * frames.slots)) else SHORTEST_SECONDS
        for used in STEPS:
            if not frames.is_used(int(used * frames.slots)):
                return min(max((1 - used) * frames.slots / FASTEST, SHORTEST_SECONDS), LONGEST_SECONDS)
        return 0.0

    def measure(self, now: float) -> tuple[int, int]:
        """How many frames wait, and how many names that may be read now: after a quiet time as many as there are.

        All of both are to be taken before the next call.
        """
        if self.rings is None:
            return 0, 0
        frames, names = self.rings
        waiting = frames.ready()
        self.highest_use = max(self.highest_use, waiting / frames.slots)
        # Behind the frames: whatever belongs to one of those is among the names.
        allowed = self._allowed(names, now)
        readable = min(names.ready(), int(allowed))
        self.names_allowed, self.measured = allowed - readable, now
        return waiting, readable

    def _allowed(self, names: Ring, now: float) -> float:
        return min(self.names_allowed + (now - self.measured) * NAMES_A_SECOND, names.slots)
