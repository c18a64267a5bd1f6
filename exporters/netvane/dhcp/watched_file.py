"""When a lease file is believed: the rules, without files and clocks.

A server may be in the middle of writing; dnsmasq begins from an empty file each time. So a file is believed when it
has come to rest:

    - as soon as it pauses, where it is whole and no lease of before is missing from it;
    - `CONFIRM_SECONDS` later where leases are missing that had time left and of which nothing says that they ended;
    - `BROKEN_SECONDS` later where it breaks off in the middle of a record: nobody is going to finish that.
"""

from collections import Counter
from pathlib import Path

from netvane.dhcp.lease import Damage, Format, Lease
from netvane.dhcp.lease_file import Contents, FileState, is_growth

SETTLE_SECONDS = 0.1
MAX_SETTLE_SECONDS = 0.5  # the file of a busy server may never pause
CONFIRM_SECONDS = 0.5
BROKEN_SECONDS = 5.0
MISSING_SECONDS = 1.0  # some replace their file in two steps
POLL_SECONDS = 10.0
READING_SHARE = 4.0  # after a read that took a second, this many seconds pass before the next

# Written by adding to the end: what was there before more came is true all the same.
_GROWING: frozenset[Format | None] = frozenset({"kea4", "kea6", "isc"})


class WatchedFile:
    """One lease file and what is known from it. What other threads look at is replaced whole.

    `problem` is why it cannot be read, None while it can. `changed` is when it last said something new, in Unix
    seconds, 0 for never. `errors` counts damaged records by file, each once for as long as it stays there. All other
    times are in seconds of a clock that only moves forward.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lease_format: Format | None = None
        self.leases: dict[str, Lease] = {}
        self.damage: tuple[tuple[Path, Damage], ...] = ()
        self.new_damage: list[tuple[Path, Damage]] = []
        self.problem: str | None = None
        self.believed = False
        self.changed = 0.0
        self.reads = Counter(believed=0, unsettled=0, failed=0)
        self.errors: Counter[Path] = Counter({path: 0})
        self.due = 0.0
        self._states: tuple[FileState, ...] = ()
        self._touched = True
        self._first_touch = 0.0
        self._waiting: Contents | None = None
        self._since = 0.0
        self._failing = False
        self._pause = SETTLE_SECONDS

    def touch(self, now: float) -> None:
        """Something happened to the file."""
        if not self._touched:
            self._touched, self._first_touch = True, now
        self._waiting = None
        self.due = min(now + SETTLE_SECONDS, self._first_touch + MAX_SETTLE_SECONDS)

    def wants_reading(self, states: tuple[FileState, ...], now: float) -> bool:
        """Whether the file has to be read, now that it looks like this. From here to `take` it should stay so."""
        if not self._touched and not self._failing:
            if self._waiting is not None and self._waiting.states == states:
                return False
            if self._waiting is None and self._states == states:
                self.due = now + POLL_SECONDS
                return False
        self._touched, self._waiting = False, None
        return True

    def settle(self, now: float, wall: float) -> bool:
        """The file stayed as it was when it was read. Whether what it said then is believed now."""
        return self._waiting is not None and self._believe_or_wait(self._waiting, now, wall)

    def take(self, contents: Contents, later: tuple[FileState, ...], taken: float, now: float, wall: float) -> bool:
        """The file was read in `taken` seconds, and looked like `later` after that. Whether it is believed."""
        self._failing, self.problem = False, None
        disturbed = self._touched or later != contents.states
        grows = contents.lease_format in _GROWING and is_growth(contents.states, later)
        self._pause = max(SETTLE_SECONDS, READING_SHARE * taken)
        if disturbed and not grows:
            return self._wait(now + self._pause)
        self._since = now
        # Equal leases stay the same objects: there is no room for two of each.
        known = self.leases
        same = {at: old if (old := known.get(at)) == lease else lease for at, lease in contents.leases.items()}
        return self._believe_or_wait(contents._replace(leases=same), now, wall)

    def _believe_or_wait(self, contents: Contents, now: float, wall: float) -> bool:
        needed = self._seconds_needed(contents, wall)
        if now - self._since < needed:
            self._waiting = contents
            return self._wait(self._since + needed)
        known = frozenset(self.damage)
        self.new_damage = [found for found in contents.damage if found not in known]
        self.errors.update(file for file, _ in self.new_damage)
        if contents.leases != self.leases:
            self.changed = wall
        self.lease_format, self.leases, self.damage = contents.lease_format, contents.leases, contents.damage
        self._states, self._waiting, self.believed = contents.states, None, True
        self.reads["believed"] += 1
        self.due = now + (self._pause if self._touched else POLL_SECONDS)
        return True

    def fail(self, problem: str, now: float) -> bool:
        """The file could not be read. Whether that is news: not yet where it may just be being replaced."""
        if not self._failing:
            self._failing, self._since = True, now
        if now - self._since < MISSING_SECONDS:
            self.due = self._since + MISSING_SECONDS
            return False
        self.reads["failed"] += 1
        self.due = now + POLL_SECONDS
        is_news, self.problem = problem != self.problem, problem
        return is_news

    def _wait(self, until: float) -> bool:
        self.reads["unsettled"] += 1
        self.due = until
        return False

    def _seconds_needed(self, contents: Contents, wall: float) -> float:
        if not contents.complete:
            return BROKEN_SECONDS
        missing = self.leases.keys() - contents.leases.keys()
        return CONFIRM_SECONDS if any(self.leases[at].state_at(wall) == "active" for at in missing) else 0.0
