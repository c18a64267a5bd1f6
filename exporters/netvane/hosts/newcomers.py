"""New MAC addresses wait here for a moment: one is a stranger at the door, ten thousand are somebody's forgery.

Pure. What answered Netvane's own question comes in at once: there are never more of those than a subnet has
addresses. What only spoke up waits `HOLD_SECONDS`; where too many do within that time, none of them comes in.
"""

from collections import deque
from typing import NamedTuple

from netvane.common.clock import NANOSECONDS
from netvane.hosts.evidence import SOLICITED, Evidence

HOLD_SECONDS = 3
CROWD = 32  # so many new ones within the hold are no household's
CALM_SECONDS = 60  # in which fewer than a crowd came, before newcomers are believed again
MAX_HELD = 2_048  # while a sweep calls them forth
PIECES = 8  # of evidence held of each
REMEMBERED = 512  # refused ones that are not counted again when they go on talking

_HOLD_NS, _CALM_NS = HOLD_SECONDS * NANOSECONDS, CALM_SECONDS * NANOSECONDS


class Flood(NamedTuple):
    """A crowd of new MACs that is not let in; `turned_away` counts them since the start."""

    at: int
    turned_away: int


class Newcomers:
    """Evidence of MACs that are not registered goes in, and comes out when it may be registered."""

    def __init__(self) -> None:
        self._held: dict[str, list[Evidence]] = {}
        self._since: dict[str, int] = {}  # wall time at which each was first held here
        self._arrivals: deque[int] = deque(maxlen=CROWD + 1)
        self._sweeping = False
        self._crowded_at: int | None = None
        self._crowd_seen = 0
        self._turned_away: set[str] = set()
        self.refused = 0
        self.floods = 0

    @property
    def flooded(self) -> bool:
        return self._crowded_at is not None

    def offer(self, piece: Evidence, now_ns: int) -> list[Evidence]:
        """What may be registered now: nothing, or all that is held of this MAC."""
        if piece.source in SOLICITED:
            return [*self._release(piece.mac), piece]
        if piece.mac in self._held:
            if len(self._held[piece.mac]) < PIECES:
                self._held[piece.mac].append(piece)
            return []
        if piece.mac in self._turned_away:
            return []
        if not (self._sweeping and piece.is_answer):
            self._note_arrival(piece.at, now_ns)
        if self.flooded or len(self._held) >= MAX_HELD:
            self._turn_away(piece.mac)
            return []
        self._held[piece.mac] = [piece]
        self._since[piece.mac] = now_ns
        return []

    def sweep_begins(self) -> None:
        """From now on, answers of new MACs by the hundred are no crowd."""
        self._sweeping = True

    def sweep_ends(self, now_ns: int) -> None:
        """What the sweep's own answers have not confirmed by now is judged by its number like everything else."""
        self._sweeping = False
        if len(self._held) > CROWD:
            self._crowd(now_ns)

    def due(self, now_ns: int) -> list[Evidence]:
        """What has waited long enough."""
        if self._crowded_at is not None and not 0 <= now_ns - self._crowd_seen < _CALM_NS:
            self._crowded_at = None
            self._turned_away.clear()
        if self._sweeping and len(self._held) > CROWD:  # judged when the sweep is over
            return []
        # A wall clock that was set back must not hold anybody for long.
        ready = [mac for mac, since in self._since.items() if not 0 <= now_ns - since < _HOLD_NS]
        return [piece for mac in ready for piece in self._release(mac)]

    def all_held(self) -> list[Evidence]:
        """Whoever waits, as the first sweep ends: they were here before Netvane was."""
        return [piece for mac in list(self._held) for piece in self._release(mac)]

    def flood(self) -> Flood | None:
        """The crowd that is being kept out."""
        return Flood(self._crowded_at, self.refused) if self._crowded_at is not None else None

    def _note_arrival(self, at: int, now_ns: int) -> None:
        """Counted by when they were seen, so that a helper that hands over its memory is no crowd."""
        self._arrivals.append(at)
        window = _CALM_NS if self.flooded else _HOLD_NS
        if len(self._arrivals) > CROWD and abs(at - self._arrivals[0]) < window:
            self._crowd_seen = now_ns
            if not self.flooded:
                self._crowd(now_ns)

    def _crowd(self, now_ns: int) -> None:
        self._crowded_at = self._crowd_seen = now_ns
        self.floods += 1
        for mac in list(self._held):
            self._release(mac)
            self._turn_away(mac)

    def _turn_away(self, mac: str) -> None:
        self.refused += 1
        if len(self._turned_away) >= REMEMBERED:
            self._turned_away.clear()
        self._turned_away.add(mac)

    def _release(self, mac: str) -> list[Evidence]:
        self._since.pop(mac, None)
        return self._held.pop(mac, [])
