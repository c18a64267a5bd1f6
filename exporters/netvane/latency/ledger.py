"""Every probe on its way, and what becomes of it: pure, fed with stamps, asked for nothing but answers.

A probe is answered at most once, however late (up to `KEEP_SECONDS`), so that sent minus answered is the loss, exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from netvane.common.clock import NANOSECONDS

KEEP_SECONDS = 60
CLOCKS_AGREE_NS = 50_000_000


class Stamp(NamedTuple):
    """One moment: the kernel's wall-clock stamp of the packet (ns, None where it gave none), and both clocks as this
    process read them (ns).
    """

    kernel_ns: int | None
    wall_ns: int
    monotonic_ns: int


@dataclass(slots=True)
class Probe:
    """One echo request on its way."""

    target: str
    address: str
    payload_bytes: int
    sent: Stamp


class Answer(NamedTuple):
    """The one answer to the probe that left at `sent_ns` (monotonic). `stepped` says that the wall clock was set while
    it was on its way.
    """

    target: str
    sent_ns: int
    rtt_seconds: float
    stepped: bool


class Ledger:
    """Probes by number; numbers rise by one with each probe."""

    def __init__(self) -> None:
        self._probes: dict[int, Probe] = {}
        self._next = 0

    @property
    def next_number(self) -> int:
        return self._next

    def __len__(self) -> int:
        return len(self._probes)

    def sent(self, probe: Probe) -> None:
        """Enter `probe` under `next_number`, and forget those that nobody will answer any more."""
        self._probes[self._next] = probe
        self._next += 1
        for number in self._expired(probe.sent.monotonic_ns - KEEP_SECONDS * NANOSECONDS):
            del self._probes[number]

    def _expired(self, before_ns: int) -> list[int]:
        def oldest() -> Iterator[int]:
            for number, probe in self._probes.items():
                if probe.sent.monotonic_ns >= before_ns:
                    return
                yield number

        return list(oldest())

    def left(self, number: int, kernel_ns: int) -> None:
        """The kernel's stamp of the moment when probe `number` left."""
        if probe := self._probes.get(number):
            probe.sent = probe.sent._replace(kernel_ns=kernel_ns)

    def answered(self, number: int, address: str, payload_bytes: int, received: Stamp) -> Answer | str:
        """The answer that an echo reply is, or the reason why it is none: unknown, duplicate (or older than what is
        remembered), wrong_source, altered.
        """
        probe = self._probes.get(number)
        if probe is None:
            return "duplicate" if number < self._next else "unknown"
        if probe.address != address:
            return "wrong_source"
        if probe.payload_bytes != payload_bytes:
            return "altered"
        del self._probes[number]
        return Answer(probe.target, probe.sent.monotonic_ns, *round_trip(probe.sent, received))


def round_trip(sent: Stamp, received: Stamp) -> tuple[float, bool]:
    """Seconds between two stamps, and whether the wall clock was stepped in between.

    The kernel's stamps are the most exact: they know nothing of this process waiting for its turn. But they are wall
    time. Where the two clocks, each read by this process at both ends, disagree by more than 50 ms about how long it
    took, the wall clock was stepped and the monotonic one is believed.
    """
    monotonic = received.monotonic_ns - sent.monotonic_ns
    wall = received.wall_ns - sent.wall_ns
    if abs(wall - monotonic) > CLOCKS_AGREE_NS:
        return max(monotonic, 0) / NANOSECONDS, True
    begin = sent.wall_ns if sent.kernel_ns is None else sent.kernel_ns
    end = received.wall_ns if received.kernel_ns is None else received.kernel_ns
    return max(end - begin, 0) / NANOSECONDS, False
