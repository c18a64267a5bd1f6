"""What is counted for one target: pure."""

from bisect import bisect_left
from dataclasses import dataclass, field

from netvane.common.clock import NANOSECONDS
from netvane.latency.quality import Window
from netvane.latency.verdict import MISSED_IN_A_ROW

AWAY_PROBES = 8  # whose loss in a row is not the line's quality
JITTER_GAIN = 1 / 16  # RFC 3550, section 6.4.1


@dataclass(slots=True)
class Series:
    """Counters and distribution of one target's probes. `counts` has one more place than `bounds`: above the last."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sent: int = 0
    rtt_sum: float = 0.0
    jitter: float = 0.0
    last_answer_ns: int = 0
    answered_probe_ns: int | None = None  # when the newest probe left that was answered
    errors: dict[str, int] = field(default_factory=dict)
    sent_since_answer: int = 0
    silent_since_ns: int | None = None
    answering_since_ns: int | None = None  # the first answer after a silence
    window: Window = field(default_factory=Window)
    _last_rtt: float | None = None

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def probe_sent(self, monotonic_ns: int) -> None:
        """A probe left, or could not, at that moment: either way an answer is owed."""
        self.sent += 1
        self.sent_since_answer += 1
        if self.silent_since_ns is None:
            self.silent_since_ns = monotonic_ns
        self.window.sent(monotonic_ns)

    def failed(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1

    def answered(self, sent_ns: int, rtt_seconds: float, wall_ns: int, arrived_ns: int | None = None) -> None:
        """The answer to the probe that was sent at `sent_ns` (monotonic); `wall_ns` is when it came, `arrived_ns` the
        same by the monotonic clock (None: a round-trip time after it was sent; but it may have waited to leave).

        Jitter is RFC 3550's: a running mean, with a gain of 1/16, of the difference between neighbouring transit times.
        """
        self.counts[bisect_left(self.bounds, rtt_seconds)] += 1
        self.rtt_sum += rtt_seconds
        if self._last_rtt is not None:
            self.jitter += (abs(rtt_seconds - self._last_rtt) - self.jitter) * JITTER_GAIN
        self._last_rtt = rtt_seconds
        self.last_answer_ns = wall_ns
        self.answered_probe_ns = max(sent_ns, self.answered_probe_ns or sent_ns)
        self.window.answered(sent_ns, rtt_seconds)
        if self.sent_since_answer >= MISSED_IN_A_ROW:
            later_ns = sent_ns + round(rtt_seconds * NANOSECONDS)
            self.answering_since_ns = later_ns if arrived_ns is None else arrived_ns
        if self.sent_since_answer > AWAY_PROBES:
            self.window.forget()
        self.sent_since_answer = 0
        self.silent_since_ns = None
