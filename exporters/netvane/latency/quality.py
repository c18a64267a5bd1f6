"""Whether the line is worse than usual, and from which segment on: pure.

Loss and round-trip time over a window of 60 s are compared segment by segment: what is lost at the router is lost
everywhere behind it. So it has to show at the far end, and begins in the nearest segment that shows it as well; a
router that answers pings when it has time for them, and forwards all the rest, is not to blame. Nor does one far
target prove anything.
"""

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, NamedTuple

from netvane.common.clock import NANOSECONDS

WINDOW_SECONDS = 60
ANSWER_SECONDS = 2.0  # a probe without an answer for this long counts as lost here (and as late, should one come)
FILLED_SECONDS = 30
LATELY_SECONDS = 30
MIN_PROBES = 30
MIN_LOST = 3
SEVERAL = 3  # so many targets in a segment are enough to ask for a second one that says the same
LOSS = 0.02
SAME_LOSS = 0.2
USUAL_AFTER = 30  # answers before a target's usual round-trip time is known
USUAL_GAIN = 1 / 600  # a running median over about ten minutes of probes at 1/s
RISE_SECONDS = 0.05
RISE_FACTOR = 2.0
SLOW_DNS_SECONDS = 1.0
SETTLE_SECONDS = 3.0


class Degradation(NamedTuple):
    """Which segment, by what (loss, delay, or slow dns), and the figures that say so."""

    segment: str
    cause: Literal["loss", "delay", "dns"]
    loss: float
    rtt_seconds: float | None
    usual_seconds: float | None


@dataclass(slots=True)
class Window:
    """The last minute of one target's probes, and what is usual for it. Times are monotonic nanoseconds."""

    usual_seconds: float | None = None
    _probes: deque[tuple[int, float | None]] = field(default_factory=deque)
    _answers: int = 0

    def sent(self, number_ns: int) -> None:
        """A probe left at `number_ns`."""
        self._probes.append((number_ns, None))
        while self._probes and self._probes[0][0] < number_ns - WINDOW_SECONDS * NANOSECONDS:
            self._probes.popleft()

    def answered(self, sent_ns: int, rtt_seconds: float) -> None:
        """The probe that left at `sent_ns` came back."""
        for place in range(len(self._probes) - 1, -1, -1):
            if self._probes[place][0] <= sent_ns:
                if self._probes[place][0] == sent_ns:
                    self._probes[place] = (sent_ns, rtt_seconds)
                break
        self._answers += 1
        self._learn(rtt_seconds)

    def forget(self) -> None:
        """Begin the minute anew; what is usual stays known."""
        self._probes.clear()

    def _learn(self, rtt_seconds: float) -> None:
        """A running median: up a little for a slower answer, down a little for a faster one, however far off."""
        if self.usual_seconds is None:
            self.usual_seconds = rtt_seconds
            return
        gain = max(USUAL_GAIN, 1 / (self._answers + 1))
        step = gain * max(self.usual_seconds, 0.001)
        self.usual_seconds += step if rtt_seconds > self.usual_seconds else -step

    def counts(self, now_ns: int) -> tuple[int, int]:
        """Probes of the last minute that were due an answer, and how many of those got none."""
        settled = [
            rtt
            for sent_ns, rtt in self._probes
            if now_ns - WINDOW_SECONDS * NANOSECONDS <= sent_ns and (rtt is not None or _is_due(sent_ns, now_ns))
        ]
        return len(settled), sum(rtt is None for rtt in settled)

    def has_lost(self, now_ns: int) -> bool:
        """Whether a probe was lost lately."""
        since_ns = now_ns - LATELY_SECONDS * NANOSECONDS
        return any(rtt is None and _is_due(sent_ns, now_ns) for sent_ns, rtt in self._probes if sent_ns >= since_ns)

    def is_filled(self, now_ns: int) -> bool:
        """Whether it goes back far enough to say something."""
        return bool(self._probes) and now_ns - self._probes[0][0] >= FILLED_SECONDS * NANOSECONDS

    def median(self, now_ns: int) -> float | None:
        """Median round-trip time of the last minute in seconds."""
        since = now_ns - WINDOW_SECONDS * NANOSECONDS
        answers = [rtt for sent_ns, rtt in self._probes if sent_ns >= since and rtt is not None]
        return median(answers) if len(answers) >= MIN_PROBES else None

    def is_usual_known(self) -> bool:
        return self._answers >= USUAL_AFTER


def _is_due(sent_ns: int, now_ns: int) -> bool:
    return now_ns - sent_ns > ANSWER_SECONDS * NANOSECONDS


@dataclass(slots=True)
class Settling:
    """Believes a degradation, another segment for it, or its end only once it has stood for some seconds.

    A delay near home shows in every segment behind it, and not everywhere in the same second.
    """

    believed: Degradation | None = None
    _segment: str | None = None
    _since_ns: int = 0

    def step(self, found: Degradation | None, now_ns: int) -> Degradation | None:
        """What to believe at `now_ns`, given what was found."""
        segment = found.segment if found else None
        if segment != self._segment:
            self._segment, self._since_ns = segment, now_ns
        same = segment == (self.believed.segment if self.believed else None)
        if same or now_ns - self._since_ns >= SETTLE_SECONDS * NANOSECONDS:
            self.believed = found
        return self.believed


class SegmentFigures(NamedTuple):
    """A segment's targets together over the window: probes due an answer, lost ones, and the smallest rise of a
    target's median over its usual round-trip time (both in seconds; None where no target's usual one is known yet).
    `one_alone`: only one of several targets has lost anything.
    """

    segment: str
    probes: int
    lost: int
    rtt_seconds: float | None
    usual_seconds: float | None
    filled: bool = True
    one_alone: bool = False

    @property
    def loss(self) -> float:
        return self.lost / self.probes if self.probes else 0.0

    def loses(self, *, still: bool = False) -> bool:
        """Too much is lost, and not just a packet or two; half of that is enough to lose `still`."""
        share = 0.5 if still else 1.0
        enough = self.lost >= MIN_LOST * share and self.loss >= LOSS * share
        return self.probes >= MIN_PROBES and enough

    @property
    def slow(self) -> bool:
        """Clearly slower than usual: twice as slow, and by 50 ms."""
        if self.rtt_seconds is None or self.usual_seconds is None:
            return False
        rise = self.rtt_seconds - self.usual_seconds
        return rise >= RISE_SECONDS and self.rtt_seconds >= self.usual_seconds * RISE_FACTOR


def figures(segment: str, windows: list[Window], now_ns: int) -> SegmentFigures:
    """The figures of the targets of one segment."""
    counts = [window.counts(now_ns) for window in windows]
    rises = []
    for window in windows:
        now = window.median(now_ns)
        if now is not None and window.usual_seconds is not None and window.is_usual_known():
            rises.append((now - window.usual_seconds, now, window.usual_seconds))
    _, rtt, usual = min(rises, default=(0.0, None, None))
    probes, lost = (sum(column) for column in zip(*counts, strict=True))
    filled = all(window.is_filled(now_ns) for window in windows)
    one_alone = len(counts) >= SEVERAL and sum(missing > 0 for _, missing in counts) == 1
    return SegmentFigures(segment, probes, lost, rtt, usual, filled, one_alone)


def assess(
    segments: list[SegmentFigures], dns_seconds: float | None, *, still_losing: bool = False
) -> Degradation | None:
    """Where the line is worse than it should be; `segments` nearest first, those that never answer left out.

    `dns_seconds` is the median time of the last minute's answered DNS questions; `still_losing`: it was losing before.
    """
    if not all(figure.filled for figure in segments):
        return None  # a far segment that is probed more often would be blamed for what begins nearer
    if segments:
        end = segments[-1]
        if end.slow:
            nearest = next(near for near in segments if near.slow)
            return Degradation(nearest.segment, "delay", end.loss, end.rtt_seconds, end.usual_seconds)
        if end.loses(still=still_losing):
            # A nearer segment that is probed less often shows the same loss later: it needs fewer lost to be blamed.
            nearest = next(near for near in segments if near.lost and near.loss >= end.loss * SAME_LOSS)
            if nearest is not end or not end.one_alone:
                return Degradation(nearest.segment, "loss", end.loss, end.rtt_seconds, end.usual_seconds)
    if dns_seconds is not None and dns_seconds >= SLOW_DNS_SECONDS:
        return Degradation("dns", "dns", 0.0, dns_seconds, None)
    return None
