"""The working loop: drains the rings into the engine, and tells what flows and names there were.

Caches are cold after a sleep, so that a small batch costs nearly as much as a large one: it drains every four seconds,
or as soon as a ring is half full. In between it looks at a slot or two every half second, and when the bell rings that
the kernel rings once in some thousand packets; every 20 ms while packets come fast.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from netvane.common.clock import Clock
from netvane.flows import bell, evidence
from netvane.flows.engine import Engine
from netvane.flows.evidence import Packet
from netvane.flows.exchanges import DnsExchange
from netvane.flows.flowrecords import FlowRecord
from netvane.flows.nameport import NameReader
from netvane.flows.port import LONGEST_SECONDS, SHORTEST_SECONDS, Port
from netvane.flows.ring import Ring

BATCH_SLOTS = 8192
DRAIN_SECONDS = 4.0
FRAMES_FIRST_USE = 3 / 4  # there is no time to read names before
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

    def interface(self, port: Port, reason: str | None) -> None:
        """Every few seconds: an interface cannot be listened to, and why; None: it can."""

    def ticked(self, now: int) -> None:
        """Every few seconds, Unix ns: the loop is alive."""


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
            self._expire(2**62)
            self._tell_flows(MAX_FLOWS_WAITING)
            for port in self.ports:
                port.close()

    def catch_up(self) -> None:
        """Count what waits in the rings; for whoever reads the engine and holds the lock."""
        for port in self.ports:
            self._drain(port)

    def recent(self, macs: set[str], since: int) -> dict[str, list[Packet]]:
        """The latest packets from and to devices that the rings still have; for whoever holds the lock."""
        found: dict[str, list[Packet]] = {mac: [] for mac in macs}
        for rings in [port.rings for port in self.ports if port.rings is not None]:
            latest = evidence.of_devices(rings.frames.recent(since), macs, since, evidence.MAX_PACKETS)
            for mac, packets in latest.items():
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
            self._sleep(pause)
            now = time.monotonic()
            pause = min(port.pause(now) for port in self.ports)
            if pause and now - drained < DRAIN_SECONDS:
                pause = min(pause, DRAIN_SECONDS - (now - drained))
                continue
            drained = now
            pause = LONGEST_SECONDS if pause else SHORTEST_SECONDS
            with self.lock:
                self.catch_up()
                if now - ticked >= TICK_SECONDS:
                    ticked = now
                    self._check_interfaces()
                    wall = self._clock.wall_ns()
                    self._tell(self.names.expire(wall))
                    self._listener.ticked(wall)
                    # Behind the tick: what began is asked for before it is forgotten.
                    if now - expired >= EXPIRE_SECONDS or self.engine.table.full:
                        expired = now
                        self._expire(wall)
                        self.names.memory.expire(wall)
                self._tell_flows(FLOWS_AT_ONCE)

    def _sleep(self, seconds: float) -> None:
        if seconds <= SHORTEST_SECONDS:  # as it is while the bell rings all the time
            time.sleep(seconds)
        else:
            bell.wait([port.rings.bell for port in self.ports if port.rings is not None], seconds)

    def _drain(self, port: Port) -> None:
        if port.rings is None:
            return
        frames, names, _ = port.rings
        before = port.measured
        waiting, readable = port.measure(time.monotonic())
        if waiting:
            port.last_frame_ns = self._clock.wall_ns()
        # Names come first, so that the rest of a hello never comes before its beginning.
        if waiting > FRAMES_FIRST_USE * frames.slots:
            self._count(frames, waiting)
            waiting = 0
        while readable > 0:
            batch = names.take(readable)
            self._tell(self.names.read(batch), waited=port.measured - before)
            readable -= len(batch)
            names.release(batch)
        self._count(frames, waiting)

    def _count(self, ring: Ring, waiting: int) -> None:
        while waiting > 0:
            batch = ring.take(min(waiting, BATCH_SLOTS))
            processed = self.engine.process(batch)
            self.names.read_rest(batch, processed.last)
            waiting -= len(batch)
            ring.release(batch)

    def _expire(self, now: int) -> None:
        found = self.engine.expire(now, tell=MAX_FLOWS_WAITING - len(self._records))
        self.suppressed += found.untold
        self._records.extend(found.records)

    def _tell_flows(self, count: int) -> None:
        """In small portions: thousands at once would take longer than the ring can wait."""
        if self._records:
            self._listener.flows([self._records.popleft() for _ in range(min(count, len(self._records)))])

    def _tell(self, exchanges: list[DnsExchange], waited: float = 0.0) -> None:
        if exchanges:
            self._listener.exchanges(exchanges, waited)

    def _check_interfaces(self) -> None:
        for port in self.ports:
            if port.rings is not None and port.rings.frames.stale:
                self._drain(port)
                port.close()
            if port.rings is None:
                try:
                    port.open(self._ring_bytes, promiscuous=self._promiscuous(port.name))
                except OSError as error:
                    self._listener.interface(port, f"{port.name} cannot be listened to: {error.strerror}")
            if port.rings is not None:
                for ring in (port.rings.frames, port.rings.names):
                    ring.fault()
                port.up = port.rings.frames.up
                self._listener.interface(port, None if port.up else f"{port.name} is down")
