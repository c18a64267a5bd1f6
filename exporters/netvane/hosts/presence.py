"""Whether a device is here, from which sweeps it was heard in: pure, counted in rounds, not in seconds.

A round is a sweep that worked, with all that was heard of a device since the one before. A device that answers every
round is missed after three; a sleeping phone that answers one in six is not, because how long its silences usually
are is learned from the rounds between two answers.

The rule takes silences as memoryless: where their mean is m rounds, one in e^k is longer than k * m. With k = 16, a
device that is heard every sixth round is wrongly called away less than once in fifty years. What counts as silence is
cut off where `away` begins, else every long absence would teach that absences are usual.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["present", "quiet", "away"]
STATES: tuple[State, ...] = ("present", "quiet", "away")

QUIET_AFTER = 2  # rounds in a row
BASE_ROUNDS = 3
FACTOR = 16.0
# Before anything is known of a device, one silence of half an hour (at the default interval) is assumed.
PRIOR_GAPS, PRIOR_MISSED = 1.0, 6.0
MEMORY = 200  # silences, the newest counting most
LONGEST_LIMIT = 288  # rounds; a day at the default interval


@dataclass(slots=True)
class Presence:
    """`gaps` and `missed` are the fading numbers of silences (of length zero too) and of rounds missed in them."""

    gaps: float = PRIOR_GAPS
    missed: float = PRIOR_MISSED
    run: int = 0  # rounds missed in a row up to now
    heard: bool = True  # since the last round; a device becomes known by being heard

    @property
    def limit(self) -> int:
        """How many rounds in a row it may miss before it is away."""
        return min(LONGEST_LIMIT, BASE_ROUNDS + round(FACTOR * self.missed / self.gaps))

    @property
    def state(self) -> State:
        if self.heard or self.run < QUIET_AFTER:
            return "present"
        return "quiet" if self.run < self.limit else "away"

    def end_round(self) -> None:
        """A round is over; learn from it and begin the next."""
        if not self.heard:
            self.run += 1
            return
        fade = 1 - 1 / MEMORY
        self.missed = self.missed * fade + min(self.run, self.limit)
        self.gaps = self.gaps * fade + 1
        self.run, self.heard = 0, False
