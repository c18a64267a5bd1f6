"""Continuous ICMP probes: sends what is due, reads what comes, counts. Runs in the event loop.

One slow or dead target never delays another: nothing here waits for an answer.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.log import get_logger
from netvane.latency import icmp
from netvane.latency.ledger import Ledger, Probe, Stamp
from netvane.latency.pinger import PingSocket, Received
from netvane.latency.schedule import Schedule
from netvane.latency.series import Series

log = get_logger("latency.prober")

IP_HEADER = {4: 20, 6: 40}
LATE_NS = 50_000_000
BURST_PROBES = 10
BURST_SECONDS = 0.2
REOPEN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Target:
    """Something to probe; `address` is None while its name is not resolved. `family` is 4 or 6."""

    name: str
    role: str
    family: int
    address: str | None
    interval_ns: int


@dataclass(slots=True)
class Totals:
    """What is counted for all targets together."""

    discarded: dict[str, int]
    wan_bytes: int = 0
    late_sends: int = 0
    clock_steps: int = 0

    def discard(self, reason: str) -> None:
        self.discarded[reason] = self.discarded.get(reason, 0) + 1


class Prober:
    """Probes the current targets from `start` to `stop`.

    `beat` is called with each round of work; `degraded(family, reason)` when a family's socket cannot be had, with
    None once it can.
    """

    def __init__(self, clock: Clock, beat: Callable[[], None], degraded: Callable[[int, str | None], None]) -> None:
        self.totals = Totals({})
        self._clock = clock
        self._beat = beat
        self._degraded = degraded
        self._targets: dict[str, Target] = {}
        self._series: dict[str, Series] = {}
        self._schedule = Schedule()
        self._ledger = Ledger()
        self._sockets: dict[int, PingSocket] = {}
        self._reopen_ns: dict[int, int] = {}
        self._cookie = os.urandom(8)
        self._payload_bytes = icmp.MIN_PAYLOAD
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self._burst_until_ns = 0

    def start(self) -> None:
        self._running = True
        self._arm()

    def stop(self) -> None:
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        for family in list(self._sockets):
            self._close(family)

    def configure(self, targets: list[Target], payload_bytes: int, buckets: tuple[float, ...]) -> None:
        """Probe `targets` from now on. One that stays (same name, role and family) keeps its counters and its beat."""
        self._payload_bytes = payload_bytes
        old, self._targets = self._targets, {target.name: target for target in targets}
        series: dict[str, Series] = {}
        for target in targets:
            kept = self._series.get(target.name)
            before = old.get(target.name)
            same = before is not None and (before.role, before.family) == (target.role, target.family)
            series[target.name] = kept if kept and same and kept.bounds == buckets else Series(buckets)
        self._series = series
        self._schedule.set({target.name: target.interval_ns for target in targets}, self._clock.monotonic_ns())
        if self._running:
            self._arm()

    def snapshot(self) -> list[tuple[Target, Series]]:
        """Targets with their counters, which go on counting."""
        series = self._series
        return [(target, series[target.name]) for target in list(self._targets.values()) if target.name in series]

    def burst(self, names: Iterable[str]) -> None:
        """Probe `names` five times a second for two seconds, beside their beats; one burst at a time."""
        now = self._clock.monotonic_ns()
        if now < self._burst_until_ns or not self._running:
            return
        self._burst_until_ns = now + round(BURST_PROBES * BURST_SECONDS * NANOSECONDS)
        loop = asyncio.get_running_loop()
        for turn in range(BURST_PROBES):
            loop.call_later(turn * BURST_SECONDS, self._probe_all, tuple(names))

    def _probe_all(self, names: tuple[str, ...]) -> None:
        for name in names:
            if self._running and name in self._targets:
                self._probe(self._targets[name], self._series[name])

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self._schedule.next_due()
        # With nothing to probe the loop still shows that it is alive.
        wake_ns = self._clock.monotonic_ns() + NANOSECONDS if due is None else due
        self._timer = asyncio.get_running_loop().call_at(wake_ns / NANOSECONDS, self._tick)

    def _tick(self) -> None:
        self._beat()
        while (due := self._schedule.take(self._clock.monotonic_ns())) is not None:
            name, late_ns = due
            self.totals.late_sends += late_ns > LATE_NS
            self._probe(self._targets[name], self._series[name])
        self._arm()

    def _probe(self, target: Target, series: Series) -> None:
        now = self._clock.monotonic_ns()
        series.probe_sent(now)
        if target.address is None:
            series.failed("unresolved")
            return
        socket = self._socket(target.family, now)
        if socket is None:
            series.failed("no_socket")
            return
        number = self._ledger.next_number
        message = icmp.echo_request(target.family, self._cookie, number, self._payload_bytes)
        sent = Stamp(None, self._clock.wall_ns(), now)
        self._ledger.sent(Probe(target.name, target.address, self._payload_bytes, sent))
        try:
            try:
                socket.send(message, target.address)
            except OSError:
                # The kernel may have told of an earlier packet's trouble, perhaps another target's: once more, for
                # this one's own.
                socket.send(message, target.address)
        except OSError as error:
            series.failed(errno.errorcode.get(error.errno or 0, "unknown").lower())
        else:
            self._count_bytes(target)

    def _count_bytes(self, target: Target) -> None:
        """One packet of a probe to or from beyond the router."""
        if target.role != "router":
            self.totals.wan_bytes += IP_HEADER[target.family] + icmp.HEADER.size + self._payload_bytes

    def _socket(self, family: int, now_ns: int) -> PingSocket | None:
        if family in self._sockets or now_ns < self._reopen_ns.get(family, 0):
            return self._sockets.get(family)
        try:
            socket = PingSocket(family)
        except OSError as error:
            self._reopen_ns[family] = now_ns + REOPEN_SECONDS * NANOSECONDS
            hint = "; see sysctl net.ipv4.ping_group_range" if isinstance(error, PermissionError) else ""
            self._degraded(family, f"no IPv{family} ping socket: {error.strerror}{hint}")
            return None
        self._degraded(family, None)
        self._sockets[family] = socket
        asyncio.get_running_loop().add_reader(socket.fileno(), self._readable, socket)
        return socket

    def _close(self, family: int) -> None:
        socket = self._sockets.pop(family)
        asyncio.get_running_loop().remove_reader(socket.fileno())
        socket.close()

    def _readable(self, socket: PingSocket) -> None:
        # Send stamps first: an answer's probe must have its own by the time the answer is looked at.
        for number, kernel_ns in socket.sent_stamps(self._payload_bytes):
            self._ledger.left(number, kernel_ns)
        for received in socket.replies():
            self._take(socket.family, received)

    def _take(self, family: int, received: Received) -> None:
        stamp = Stamp(received.kernel_ns, self._clock.wall_ns(), self._clock.monotonic_ns())
        try:
            token = icmp.echo_reply(family, received.message)
        except icmp.Malformed as malformed:
            self.totals.discard(malformed.reason)
            return
        if token.cookie != self._cookie:
            self.totals.discard("unknown")
            return
        answer = self._ledger.answered(token.number, received.address, token.payload_bytes, stamp)
        if isinstance(answer, str):
            self.totals.discard(answer)
            return
        self.totals.clock_steps += answer.stepped
        if series := self._series.get(answer.target):
            series.answered(answer.sent_ns, answer.rtt_seconds, stamp.wall_ns, stamp.monotonic_ns)
            self._count_bytes(self._targets[answer.target])
