"""Whether a device is here, from which sweeps it was heard in: pure, counted in rounds, not in seconds.

A round is a sweep that worked, with all that was heard of a device since the one before. A device that answers every
round is missed after three; a sleeping phone that answers one in six is not, because how long its silences usually
are is learned from the rounds between two answers.

The rule takes silences as memoryless: where their mean is m rounds, one in e^k is longer than k * m. With k = 16, a
device that is heard every sixth round is wrongly called away less than once in fifty years. What counts as silence is
cut off where `away` begins, else every long absence would teach that absences are usual.

What is assumed before anything is known fades with each silence seen. Of a device that its owner expects it is that it
answers, so that it is missed soon; should it turn out to sleep, its first long silences teach that.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["present", "quiet", "away"]
STATES: tuple[State, ...] = ("present", "quiet", "away")

QUIET_AFTER = 2  # rounds in a row
BASE_ROUNDS = 3
FACTOR = 16.0
# Rounds: the one silence that is assumed before anything is known, half an hour at the default interval or …
ASSUMED_SILENCE = 6.0
ASSUMED_OF_EXPECTED = 0.2  # … so short that a device never heard since it is expected is away after six rounds
MEMORY = 200  # silences, the newest counting most
LONGEST_LIMIT = 288  # rounds; a day at the default interval


@dataclass(slots=True)
class Presence:
    """`gaps` and `missed` are the fading numbers of silences (of length zero too) and of rounds missed in them."""

    gaps: float = 0.0
    missed: float = 0.0
    run: int = 0  # rounds missed in a row up to now
    heard: bool = True  # since the last round; a device becomes known by being heard

    def limit(self, *, expected: bool) -> int:
        """How many rounds in a row it may miss before it is away."""
        assumed = ASSUMED_OF_EXPECTED if expected else ASSUMED_SILENCE
        return min(LONGEST_LIMIT, BASE_ROUNDS + round(FACTOR * (assumed + self.missed) / (1 + self.gaps)))

    def state(self, *, expected: bool) -> State:
        if self.heard or self.run < QUIET_AFTER:
            return "present"
        return "quiet" if self.run < self.limit(expected=expected) else "away"

    def end_round(self, *, expected: bool) -> None:
        """A round is over; learn from it and begin the next."""
        if not self.heard:
            self.run += 1
            return
        fade = 1 - 1 / MEMORY
        self.missed = self.missed * fade + min(self.run, self.limit(expected=expected))
        self.gaps = self.gaps * fade + 1
        self.run, self.heard = 0, False
