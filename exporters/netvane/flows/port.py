"""An interface that is listened to: its two rings, its bell, and for how long they may be left alone.

Names are read one packet at a time, so that their number is limited: what comes beyond that stays in its small ring
until that is full, and the kernel counts the rest as dropped. Counting goes on.
"""

import contextlib
from dataclasses import dataclass, field
from typing import NamedTuple

from netvane.flows.bell import Bell
from netvane.flows.namefilter import PROGRAM, SNAPLEN
from netvane.flows.ring import BLOCK_BYTES, Counts, Ring

NAME_RING_BYTES = 3 * BLOCK_BYTES
LONGEST_SECONDS, SHORTEST_SECONDS = 0.5, 0.02
# How much of a ring is used is known in these steps; above the last it is drained.
STEPS, NAME_STEPS = (1 / 4, 3 / 8, 1 / 2, 5 / 8), (1 / 4, 1 / 2, 3 / 4)
# How often the bell rings while a ring fills, on average: it fails to ring in three quarters once in 160,000 times.
RINGS_IN_A_FILL = 16
HASTIER = 4  # times faster than until now packets may come: whoever does so sooner is heard by the bell
HASTY_RATE, HASTY_USE = 1.5, 1 / 8  # while it fills that often in a second, it is drained above that share
NAMES_A_SECOND = 2_000  # a home of 50 devices has some 20


class Rings(NamedTuple):
    """`frames` has the beginning of each, to be counted; `names` those few whole that names are read from. `bell` says
    that `frames` fills.
    """

    frames: Ring
    names: Ring
    bell: Bell


@dataclass(slots=True)
class Port:
    """One interface: its rings while they are open, and what all its rings together counted."""

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
        with contextlib.ExitStack() as opened:
            frames = opened.enter_context(
                contextlib.closing(Ring(self.name, size, promiscuous=promiscuous, counts=self.counts))
            )
            names = opened.enter_context(
                contextlib.closing(
                    Ring(self.name, NAME_RING_BYTES, slot_bytes=SNAPLEN, program=PROGRAM, counts=self.name_counts)
                )
            )
            self.rings = Rings(frames, names, Bell(self.name, frames.slots // RINGS_IN_A_FILL))
            opened.pop_all()

    def close(self) -> None:
        """What waits is lost."""
        if self.rings is not None:
            for each in self.rings:
                each.close()
        self.rings = None
        self.up = False

    def pause(self, now: float) -> float:
        """For how many seconds it may be left alone unless its bell rings; 0: it must be drained."""
        if self.rings is None:
            return LONGEST_SECONDS
        frames, names, _ = self.rings
        used = _use(names, NAME_STEPS)
        pause = (1 - used) * names.slots / NAMES_A_SECOND
        if used == 1:
            # They do not press while they have to wait.
            pause = (names.slots * NAME_STEPS[-1] - self._allowed(names, now)) / NAMES_A_SECOND
            if pause <= 0:
                return 0.0
        elapsed = now - self.measured
        hasty = HASTY_RATE * elapsed
        if hasty < STEPS[-1] and frames.is_used(int(hasty * frames.slots)):
            return 0.0 if frames.is_used(int(HASTY_USE * frames.slots)) else SHORTEST_SECONDS
        used = _use(frames, STEPS)
        if used == 1:
            return 0.0
        if used > STEPS[0]:  # until then the bell is sure to be heard in time
            pause = min(pause, (1 - used) / used * elapsed / HASTIER)
        return min(max(pause, SHORTEST_SECONDS), LONGEST_SECONDS)

    def measure(self, now: float) -> tuple[int, int]:
        """How many frames wait, and how many names that may be read now: after a quiet time as many as there are.

        All of both are to be taken before the next call.
        """
        if self.rings is None:
            return 0, 0
        frames, names, _ = self.rings
        waiting = frames.ready()
        self.highest_use = max(self.highest_use, waiting / frames.slots)
        # Behind the frames: whatever belongs to one of those is among the names.
        allowed = self._allowed(names, now)
        readable = min(names.ready(), int(allowed))
        self.names_allowed, self.measured = allowed - readable, now
        return waiting, readable

    def _allowed(self, names: Ring, now: float) -> float:
        return min(self.names_allowed + (now - self.measured) * NAMES_A_SECOND, names.slots)


def _use(ring: Ring, steps: tuple[float, ...]) -> float:
    """The first of `steps` that the use of `ring` is below; 1 if there is none."""
    return next((step for step in steps if not ring.is_used(int(step * ring.slots))), 1.0)
