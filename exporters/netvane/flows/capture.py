"""The working loop: drains the rings into the engine, and tells what flows and names there were.

It sleeps on a timer, because waiting for the socket would wake it for every packet. While little happens it drains
every five seconds, because a small batch costs nearly as much as a large one, and only looks at one slot of each ring
in between; as one fills it drains more often, down to 20 ms. What is done with the sums (flows, rules, events) is done
every five seconds in any case.

Names are read one packet at a time, so that their number is limited: what comes beyond that stays in its small ring
until that is full, and the kernel counts the rest as dropped. Counting goes on.
"""

import math
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
from netvane.flows.flowrecords import FlowRecord
from netvane.flows.namefilter import PROGRAM, SNAPLEN
from netvane.flows.nameport import NameReader
from netvane.flows.names import DnsExchange
from netvane.flows.ring import BLOCK_BYTES, Counts, Ring

BATCH_SLOTS = 12_288  # at most
NAME_RING_BYTES = 2 * BLOCK_BYTES
TICK_SECONDS = 5.0
LOOK_SECONDS = 0.1
SHORTEST_SECONDS = 0.02
SOON_SECONDS = 0.05
# Of a ring: with more than 1/8 used it is looked at sooner, with more than 1/4 drained at once. From just below either
# it takes 500,000 packets a second to fill it before the next look.
SOON_PART, PRESSED_PART = 8, 4
PRESSED_PART_NAMES = 2
NAMES_A_SECOND = 2_000  # a home of 50 devices has some 20
INTERFACE_SECONDS = 2.0
EXPIRE_SECONDS = 20.0
FULL_SECONDS = 1.0  # between two expiries while the flow table is full
STOP_SECONDS = 3.0
FLOWS_AT_ONCE = 200
MAX_FLOWS_WAITING = 5_000


class Listener(Protocol):
    """Who is told what was seen; called in the capture's thread, and must not wait."""

    def exchanges(self, found: list[DnsExchange]) -> None:
        """DNS exchanges that ended."""

    def flows(self, records: list[FlowRecord]) -> None:
        """Flows that ended or are long."""

    def interface(self, port: "Port", reason: str | None) -> None:
        """Every other second: an interface cannot be listened to, and why; None: it can."""

    def ticked(self, now: int) -> None:
        """Every five seconds, Unix ns: the loop is alive."""


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
    names_allowed: float = 0.0  # how many may be read
    names_read: float = 0.0  # when the last were, in monotonic seconds

    @property
    def pressed(self) -> bool:
        """A ring must be drained at once. Names that have to wait do not press."""
        ring, names = self.ring, self.names
        if ring is None or names is None:
            return False
        few = names.slots // PRESSED_PART_NAMES
        return ring.is_used(ring.slots // PRESSED_PART) or (self.names_allowed >= few and names.is_used(few))

    @property
    def filling(self) -> bool:
        """It may soon be pressed."""
        return self.ring is not None and self.ring.is_used(self.ring.slots // SOON_PART)

    def allow_names(self, now: float) -> int:
        """How many names may be read now; as many as the ring holds at once after a quiet time."""
        most = self.names.slots if self.names is not None else 0
        self.names_allowed = min(self.names_allowed + (now - self.names_read) * NAMES_A_SECOND, most)
        self.names_read = now
        return int(self.names_allowed)


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
            self._queue(self.engine.expire(2**62, tell=True).records)
            self._tell_flows(MAX_FLOWS_WAITING)
            for port in self.ports:
                self._close(port)

    def catch_up(self) -> None:
        """Count what waits in the rings; for whoever reads the engine and holds the lock."""
        for port in self.ports:
            self._drain(port)

    def recent(self, mac: str, since: int) -> list[Packet]:
        """The latest packets from and to a device that the rings still have; for whoever holds the lock."""
        found: list[Packet] = []
        for port in self.ports:
            if port.ring is not None:
                found += evidence.of_device(port.ring.recent(since), mac, since, evidence.MAX_PACKETS)
        return sorted(found)[-evidence.MAX_PACKETS :]

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
        pause = LOOK_SECONDS
        checked = ticked = expired = time.monotonic()
        while not self._stopping.is_set():
            time.sleep(pause)
            now = time.monotonic()
            pressed = any(port.pressed for port in self.ports)
            filling = not pressed and any(port.filling for port in self.ports)
            pause = SHORTEST_SECONDS if pressed else SOON_SECONDS if filling else LOOK_SECONDS
            full = self.engine.table.full and now - expired >= FULL_SECONDS
            due = full or now - ticked >= TICK_SECONDS - LOOK_SECONDS / 2
            if pressed or due:
                with self.lock:
                    self.catch_up()
            if now - checked >= INTERFACE_SECONDS:
                checked = now
                with self.lock:
                    self._check_interfaces()
            if due:
                ticked = now
                forget = full or now - expired >= EXPIRE_SECONDS - LOOK_SECONDS
                expired = now if forget else expired
                self._tick(forget=forget)
            if self._records:
                with self.lock:
                    self._tell_flows(FLOWS_AT_ONCE)

    def _tick(self, *, forget: bool) -> None:
        """Tell what came to an end; `forget` what is silent."""
        wall = self._clock.wall_ns()
        with self.lock:
            self._tell(self.names.expire(wall))
            self._listener.ticked(wall)
            # Behind the tick: what began is asked for before it is forgotten.
            if forget:
                self._queue(self.engine.expire(wall, tell=True).records)
                self.names.memory.expire(wall)

    def _drain(self, port: Port) -> None:
        ring, names = port.ring, port.names
        if ring is None or names is None:
            return
        waiting = ring.ready()
        # Names are read after what is counted was measured off: the rest of a hello never comes before its beginning.
        for_names = min(names.ready(), port.allow_names(time.monotonic()))
        port.names_allowed -= for_names
        while for_names > 0:
            batch = names.take(for_names)
            self._tell(self.names.read(batch))
            for_names -= len(batch)
            names.release(batch)
        port.highest_use = max(port.highest_use, waiting / ring.slots)
        if waiting:
            port.last_frame_ns = self._clock.wall_ns()
        size = math.ceil(waiting / math.ceil(waiting / BATCH_SLOTS)) if waiting else 0
        while waiting > 0:
            batch = ring.take(min(waiting, size))
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
        self._listener.flows([self._records.popleft() for _ in range(min(count, len(self._records)))])

    def _tell(self, exchanges: list[DnsExchange]) -> None:
        if exchanges:
            self._listener.exchanges(exchanges)

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
