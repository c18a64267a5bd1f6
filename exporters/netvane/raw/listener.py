"""The passive listener: keeps a tap on every watched interface, whatever happens to the interface."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from netvane.common.clock import Clock
from netvane.common.log import get_logger
from netvane.common.raw_messages import InterfaceState, InterfaceStatus
from netvane.raw.feed import Feed
from netvane.raw.packet import MalformedError
from netvane.raw.sightings import Capture, decode
from netvane.raw.tap import ETHERNET, Tap

log = get_logger("raw.listener")

CHECK_SECONDS = 1.0
MAX_WATCHES = 64  # beyond which the counters of interfaces that nobody wants any more are forgotten


class Listener:
    """`interfaces` says which to watch and is asked at every check; none means those it said last."""

    def __init__(self, interfaces: Callable[[], Sequence[str]], feed: Feed, clock: Clock) -> None:
        self._interfaces = interfaces
        self._feed = feed
        self._clock = clock
        self._watches: dict[str, _Watch] = {}
        self._told: Sequence[str] = ()
        self._asked: list[Sequence[str]] = []
        self._wanted: tuple[str, ...] = ()

    @contextmanager
    def also(self, interfaces: Sequence[str]) -> Iterator[None]:
        """Watch these too meanwhile."""
        self._asked.append(interfaces)
        try:
            yield
        finally:
            self._asked.remove(interfaces)

    async def run(self, beat: Callable[[], None]) -> None:
        """Listen until cancelled; `beat` is called after each check. Raises PermissionError without CAP_NET_RAW."""
        try:
            while True:
                self.check()
                beat()
                await asyncio.sleep(CHECK_SECONDS)
        finally:
            for watch in self._watches.values():
                watch.close()

    def check(self) -> None:
        """Open, reopen and close taps as interfaces come and go."""
        self._told = self._interfaces() or self._told
        self._wanted = tuple(dict.fromkeys((*self._told, *(name for names in self._asked for name in names))))
        for name in self._wanted:
            if name not in self._watches:
                self._watches[name] = _Watch(name, self._feed, self._clock)
            self._watches[name].check()
        for name in self._watches.keys() - set(self._wanted):
            self._watches[name].close()
            if len(self._watches) > MAX_WATCHES:
                del self._watches[name]

    def status(self) -> tuple[InterfaceStatus, ...]:
        return tuple(self._watches[name].status() for name in self._wanted if name in self._watches)


class _Watch:
    """One interface; its counters outlive its taps."""

    def __init__(self, name: str, feed: Feed, clock: Clock) -> None:
        self._name = name
        self._feed = feed
        self._clock = clock
        self._tap: Tap | None = None
        self._state: InterfaceState | None = None
        self._dropped = 0
        self.frames = 0
        self.sightings = 0
        self.malformed = 0

    def check(self) -> None:
        if self._tap is not None and self._tap.stale:
            self.close()
        if self._tap is None:
            self._tap = self._open()
        state = self._look()
        if state == self._state:
            return
        self._state = state
        if state == "listening":
            log.info("listening", interface=self._name)
        else:
            log.warning("waiting for the interface", interface=self._name, state=state)

    def close(self) -> None:
        if self._tap is not None:
            self._dropped += self._tap.dropped()
            asyncio.get_running_loop().remove_reader(self._tap)
            self._tap.close()
            self._tap = None
            self._state = None
            log.info("no longer listening", interface=self._name)

    def status(self) -> InterfaceStatus:
        return InterfaceStatus(
            self._name,
            self._state or "missing",
            frames=self.frames,
            sightings=self.sightings,
            malformed=self.malformed,
            dropped=self._dropped + (self._tap.dropped() if self._tap is not None else 0),
        )

    def _open(self) -> Tap | None:
        try:
            tap = Tap(self._name, self._clock)
        except PermissionError:
            raise
        except OSError as error:
            log.debug("cannot listen", interface=self._name, error=error)
            return None
        asyncio.get_running_loop().add_reader(tap, tap.read, self._take)
        return tap

    def _look(self) -> InterfaceState:
        if self._tap is None:
            return "missing"
        if self._tap.hardware != ETHERNET:
            return "not ethernet"
        return "listening" if self._tap.up else "down"

    def _take(self, capture: Capture) -> None:
        if self._state == "not ethernet":
            return
        self.frames += 1
        try:
            sighting = decode(capture)
        except MalformedError as error:
            self.malformed += 1
            log.debug("malformed frame", interface=self._name, error=error)
            return
        if sighting is not None:
            self.sightings += 1
            self._feed.publish(sighting)
