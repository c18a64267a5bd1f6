"""Outages: one record from the first probe that missed to the first good one that lasted. Pure.

An outage opens with a verdict in `OUTAGES`, beginning at the moment the evidence says things went silent. It closes
when `ok` (or a mere warning) has held for `CLOSE_SECONDS`, and its end is the first of that `ok`. What breaks again
before that is the same outage, flapping; its culprit is the nearest segment that was ever to blame.
"""

from dataclasses import dataclass, replace

from netvane.common.clock import NANOSECONDS
from netvane.latency.verdict import NAMES, Verdict, is_cut, is_outage

CLOSE_SECONDS = 60
FARTHER_SECONDS = 6
NAMES_SECONDS = 15
AGAIN_SECONDS = 0.5  # less than from one look to the next


@dataclass(frozen=True, slots=True)
class Outage:
    """Times are wall clock nanoseconds. `spells` counts how often it broke; `end_ns` is None while it lasts."""

    culprit: str
    start_ns: int
    end_ns: int | None = None
    spells: int = 1


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the exporter started, and the last outage that is known of (wall clock ns; 0: none)."""

    count: dict[str, int]
    seconds: dict[str, float]
    last_start_ns: int = 0
    last_end_ns: int = 0
    last_culprit: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """The open outage, and since when it has been good again (wall and monotonic ns), None while it is not."""

    outage: Outage | None = None
    good_since: tuple[int, int] | None = None


def step(state: State, verdict: Verdict, since_ns: int, monotonic_ns: int) -> tuple[State, Outage | None]:
    """The state after `verdict` was found at that moment, and an outage that this closed.

    `since_ns` is when the evidence for the verdict began (wall clock): the first missed probe, or the first good one.
    """
    outage = state.outage
    if is_outage(verdict):
        if outage is None:
            return State(Outage(verdict.name, since_ns)), None
        spells = outage.spells + (state.good_since is not None)
        return State(replace(outage, culprit=nearer(outage.culprit, verdict.name), spells=spells)), None
    if outage is None:
        return state, None
    if state.good_since is None:
        return State(outage, (since_ns, monotonic_ns)), None
    # How long is measured by the monotonic clock, when by the wall: a clock that is set closes nothing early.
    if monotonic_ns - state.good_since[1] < CLOSE_SECONDS * NANOSECONDS:
        return state, None
    return State(), replace(outage, end_ns=max(state.good_since[0], outage.start_ns))


@dataclass(slots=True)
class ComingBack:
    """As a line comes back its segments answer one after the other: while an outage lasts, a farther culprit (or that
    only IPv6 is missing) has to stand for some seconds before it is believed, and nothing is well before a name could
    be resolved, or could not. As it may be coming back before anything was believed, a cut has to be found twice.
    """

    _since_ns: int | None = None

    def step(
        self, believed: Verdict | None, found: Verdict | None, now_ns: int, *, names_known: bool = True
    ) -> Verdict | None:
        """What to believe at `now_ns` (monotonic), given what was believed and what was found.

        `names_known`: whether it is known if names are resolved.
        """
        wait = 0.0
        if is_cut(found) and not is_outage(believed) and found != Verdict("link"):
            wait = AGAIN_SECONDS
        elif believed is not None and found is not None and is_outage(believed):
            if not names_known:
                wait = NAMES_SECONDS
            elif found.name == "ipv6" or (is_outage(found) and nearer(believed.name, found.name) != found.name):
                wait = FARTHER_SECONDS
        if not wait:
            self._since_ns = None
            return found
        if self._since_ns is None:
            self._since_ns = now_ns
        return found if now_ns - self._since_ns >= wait * NANOSECONDS else believed


def nearer(one: str, other: str) -> str:
    """The segment that is nearer to home."""
    names = list(map(str, NAMES))
    return min(one, other, key=names.index)


def counted(totals: Totals, closed: Outage) -> Totals:
    """`totals` with an outage that has ended."""
    assert closed.end_ns is not None  # noqa: S101 - it has ended
    seconds = (closed.end_ns - closed.start_ns) / NANOSECONDS
    return Totals(
        {**totals.count, closed.culprit: totals.count.get(closed.culprit, 0) + 1},
        {**totals.seconds, closed.culprit: totals.seconds.get(closed.culprit, 0.0) + seconds},
        closed.start_ns,
        closed.end_ns,
        closed.culprit,
    )
