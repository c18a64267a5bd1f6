"""How well expected devices are reached: delay, jitter and loss of a light ping, pure."""

from dataclasses import dataclass

JITTER_GAIN = 1 / 16  # RFC 3550, section 6.4.1


@dataclass(slots=True)
class Reach:
    """Counters of one device; sent less answered is the loss. `rtt` is the last, `jitter` RFC 3550's running mean."""

    sent: int = 0
    answered: int = 0
    rtt: float | None = None
    jitter: float = 0.0
    owes: bool = False

    def asked(self) -> None:
        self.sent += 1
        self.owes = True

    def heard(self, rtt_seconds: float) -> None:
        """An answer; a second one to the same request counts for nothing."""
        if not self.owes:
            return
        self.owes = False
        self.answered += 1
        if self.rtt is not None:
            self.jitter += (abs(rtt_seconds - self.rtt) - self.jitter) * JITTER_GAIN
        self.rtt = rtt_seconds
