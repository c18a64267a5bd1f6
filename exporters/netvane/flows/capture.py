"""The working loop: drains the rings into the engine, and tells what flows and names there were.

It sleeps on a timer, because waiting for the socket would wake it for every packet. Caches are cold after a sleep, so
that a small batch costs nearly as much as a large one: it drains every four seconds, or as soon as a ring is half full,
and only looks at a slot or two in between, every 100 ms down to every 20 ms while packets come fast.

Names are read one packet at a time, so that their number is limited: what comes beyond that stays in its small ring
until that is full, and the kernel counts the rest as dropped. Counting goes on.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from netvane.common.clock import Clock
from netvane.flows import evidence
from netvane.flows.engine import Engine
from netvane.flows.evidence import Packet
from netvane.flows.exchanges import DnsExchange
from netvane.flows.flowrecords import FlowRecord
from netvane.flows.namefilter import PROGRAM, SNAPLEN
from netvane.flows.nameport import NameReader
from netvane.flows.ring import BLOCK_BYTES, Counts, Ring

BATCH_SLOTS = 8192
NAME_RING_BYTES = 3 * BLOCK_BYTES
DRAIN_SECONDS = 4.0
# A ring must have room for what the fastest home brings while this program sleeps.
FASTEST = 500_000  # packets a second
LONGEST_SECONDS, SHORTEST_SECONDS = 0.1, 0.02
STEPS = (1 / 4, 3 / 8, 1 / 2, 5 / 8)  # of a ring: how much of it is used is known in these steps; above it is drained
HASTY_RATE, HASTY_USE = 1.5, 1 / 8  # while it fills that often in a second, it is drained above that share
FRAMES_FIRST_USE = 3 / 4  # there is no time to read names before
NAMES_USE = 3 / 4
NAMES_A_SECOND = 2_000  # a home of 50 devices has some 20
TICK_SECONDS = 4.0
EXPIRE_SECONDS = 20.0
STOP_SECONDS = 3.0
FLOWS_AT_ONCE = 500
MAX_FLOWS_WAITING = 5_000


class Listener(Protocol):
    """Who is told what was seen; called in the capture's thread, and must not wait."""

    def exchanges(self, found: list[DnsExchange], waited: float) -> None:
        """DNS exchanges that ended, and for how many seconds the first of them may have waited here."""

    def flows(self, records: list[FlowRecord]) -> None:
        """Flows that ended or are long."""

    def interface(self, port: "Port", reason: str | None) -> None:
        """Every few seconds: an interface cannot be listened to, and why; None: it can."""

    def ticked(self, now: int) -> None:
        """Every few seconds, Unix ns: the loop is alive."""


@dataclass(slots=True)
class Port:
    """One interface: its rings while there are any, and what all its rings together counted."""

    name: str
    counts: Counts = field(default_factory=Counts)
    name_counts: Counts = field(default_factory=Counts)
    ring: Ring | None = None
    names: Ring | None = None
    up: bool = False
    opened: int = 0
    highest_use: float = 0.0  # of the ring, since whoever shows it last looked
    last_frame_ns: int = 0
    drained: float = 0.0  # when it was, in monotonic seconds
    names_allowed: float = 0.0  # how many might be read then

    def pause(self, now: float) -> float:
        """For how many seconds it may be left alone; 0: it must be drained. Names that have to wait do not press."""
        ring, names = self.ring, self.names
        if ring is None or names is None:
            return LONGEST_SECONDS
        few = int(names.slots * NAMES_USE)
        if names.is_used(few) and self._allowed(names, now) >= few:
            return 0.0
        hasty = HASTY_RATE * (now - self.drained)
        if hasty < STEPS[-1] and ring.is_used(int(hasty * ring.slots)):
            return 0.0 if ring.is_used(int(HASTY_USE * ring.slots)) else SHORTEST_SECONDS
        for used in STEPS:
            if not ring.is_used(int(used * ring.slots)):
                return min(max((1 - used) * ring.slots / FASTEST, SHORTEST_SECONDS), LONGEST_SECONDS)
        return 0.0

    def measure(self, now: float) -> tuple[int, int]:
        """How many frames wait, and how many names that may be read now: after a quiet time as many as there are."""
        ring, names = self.ring, self.names
        if ring is None or names is None:
            return 0, 0
        waiting = ring.ready()
        self.highest_use = max(self.highest_use, waiting / ring.slots)
        # Behind the frames: whatever belongs to one of those is among the names.
        allowed = self._allowed(names, now)
        readable = min(names.ready(), int(allowed))
        self.names_allowed, self.drained = allowed - readable, now
        return waiting, readable

    def _allowed(self, names: Ring, now: float) -> float:
        return min(self.names_allowed + (now - self.drained) * NAMES_A_SECOND, names.slots)


class Capture:
    """A thread. `lock` is held while it works: whoever reads the engine takes it."""

    def __init__(
        self,
        interfaces: tuple[str, ...],
        engine: Engine,
        listener: Listener,
        clock: Clock,
        *,
        ring_bytes: int,
        promiscuous: Callable[[str], bool],
    ) -> None:
        self.lock = threading.Lock()
        self.ports = [Port(name) for name in interfaces]
        self.names = NameReader()
        self.engine = engine
        self._listener = listener
        self._clock = clock
        self._ring_bytes = ring_bytes
        self._promiscuous = promiscuous
        self._records: deque[FlowRecord] = deque()
        self.suppressed = 0  # flows that nobody was told of, because too many ended at once
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Rings are opened before it returns, where that is possible."""
        self._check_interfaces()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        with self.lock:
            if self._failure is None:
                self.catch_up()
            self._queue(self.engine.expire(2**62, tell=True).records)
            self._tell_flows(MAX_FLOWS_WAITING)
            for port in self.ports:
                self._close(port)

    def catch_up(self) -> None:
        """Count what waits in the rings; for whoever reads the engine and holds the lock."""
        for port in self.ports:
            self._drain(port)

    def recent(self, macs: set[str], since: int) -> dict[str, list[Packet]]:
        """The latest packets from and to devices that the rings still have; for whoever holds the lock."""
        found: dict[str, list[Packet]] = {mac: [] for mac in macs}
        for port in self.ports:
            if port.ring is not None:
                for mac, packets in evidence.of_devices(
                    port.ring.recent(since), macs, since, evidence.MAX_PACKETS
                ).items():
                    found[mac] += packets
        return {mac: sorted(packets)[-evidence.MAX_PACKETS :] for mac, packets in found.items()}

    @property
    def failure(self) -> BaseException | None:
        """What ended the thread, if anything did."""
        return self._failure

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # noqa: BLE001 - whoever watches ends the exporter, and says why
            self._failure = error

    def _loop(self) -> None:
        pause = LONGEST_SECONDS
        drained = ticked = expired = time.monotonic()
        while not self._stopping.is_set():
            time.sleep(pause)
            now = time.monotonic()
            pause = min(port.pause(now) for port in self.ports)
            if pause and now - drained < DRAIN_SECONDS - LONGEST_SECONDS / 2:
                continue
            drained = now
            pause = LONGEST_SECONDS if pause else SHORTEST_SECONDS
            with self.lock:
                self.catch_up()
                if now - ticked >= TICK_SECONDS - LONGEST_SECONDS / 2:
                    ticked = now
                    self._check_interfaces()
                    wall = self._clock.wall_ns()
                    self._tell(self.names.expire(wall))
                    self._listener.ticked(wall)
                    # Behind the tick: what began is asked for before it is forgotten.
                    if now - expired >= EXPIRE_SECONDS or self.engine.table.full:
                        expired = now
                        self._queue(self.engine.expire(wall, tell=True).records)
                        self.names.memory.expire(wall)
                self._tell_flows(FLOWS_AT_ONCE)

    def _drain(self, port: Port) -> None:
        ring, names = port.ring, port.names
        if ring is None or names is None:
            return
        before = port.drained
        waiting, readable = port.measure(time.monotonic())
        if waiting:
            port.last_frame_ns = self._clock.wall_ns()
        # Names come first, so that the rest of a hello never comes before its beginning.
        if waiting > FRAMES_FIRST_USE * ring.slots:
            self._count(ring, waiting)
            waiting = 0
        while readable > 0:
            batch = names.take(readable)
            self._tell(self.names.read(batch), waited=port.drained - before)
            readable -= len(batch)
            names.release(batch)
        self._count(ring, waiting)

    def _count(self, ring: Ring, waiting: int) -> None:
        while waiting > 0:
            batch = ring.take(min(waiting, BATCH_SLOTS))
            processed = self.engine.process(batch)
            self.names.read_rest(batch, processed.last)
            waiting -= len(batch)
            ring.release(batch)

    def _queue(self, records: list[FlowRecord]) -> None:
        room = MAX_FLOWS_WAITING - len(self._records)
        self.suppressed += max(len(records) - room, 0)
        self._records.extend(records[:room])

    def _tell_flows(self, count: int) -> None:
        """In small portions: thousands at once would take longer than the ring can wait."""
        if self._records:
            self._listener.flows([self._records.popleft() for _ in range(min(count, len(self._records)))])

    def _tell(self, exchanges: list[DnsExchange], waited: float = 0.0) -> None:
        if exchanges:
            self._listener.exchanges(exchanges, waited)

    def _check_interfaces(self) -> None:
        for port in self.ports:
            if port.ring is not None and port.ring.stale:
                self._drain(port)
                self._close(port)
            if port.ring is None:
                self._open(port)
            if port.ring is not None:
                port.ring.fault()
                if port.names is not None:
                    port.names.fault()
                port.up = port.ring.up
                self._listener.interface(port, None if port.up else f"{port.name} is down")

    def _open(self, port: Port) -> None:
        try:
            ring = Ring(port.name, self._ring_bytes, promiscuous=self._promiscuous(port.name), counts=port.counts)
        except OSError as error:
            self._listener.interface(port, f"{port.name} cannot be listened to: {error.strerror}")
            return
        try:
            names = Ring(port.name, NAME_RING_BYTES, slot_bytes=SNAPLEN, program=PROGRAM, counts=port.name_counts)
        except OSError as error:
            ring.close()
            self._listener.interface(port, f"{port.name} cannot be listened to: {error.strerror}")
            return
        port.ring, port.names = ring, names
        port.opened += 1

    def _close(self, port: Port) -> None:
        for ring in (port.ring, port.names):
            if ring is not None:
                ring.close()
        port.ring = port.names = None
        port.up = False
