"""Sightings on their way from the listener to whoever subscribed: bounded, and never waiting for anybody."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from netvane.common.raw_messages import Missed, Sighting

RECENT = 4096  # latest sightings held for new subscribers
QUEUED = 2 * RECENT  # that one subscriber may be behind

_Key = tuple[str, int | None, str, str | None, str, str]


class Subscription:
    """One subscriber's queue; what finds it full is left out, and the subscriber is told at that place."""

    def __init__(self, backlog: list[Sighting]) -> None:
        self._queue: deque[Sighting | Missed] = deque(backlog)
        self._left_out = 0
        self._waiting = asyncio.Event()
        if backlog:
            self._waiting.set()

    def offer(self, sighting: Sighting) -> bool:
        """Queue it, or leave it out and return False."""
        if len(self._queue) >= QUEUED:
            self._left_out += 1
            return False
        self._flush_missed()
        self._queue.append(sighting)
        self._waiting.set()
        return True

    async def take(self, limit: int) -> list[Sighting | Missed]:
        """Wait for something, then up to `limit` of what is there."""
        await self._waiting.wait()
        if len(self._queue) < limit:
            self._flush_missed()
        taken = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
        if not self._queue:
            self._waiting.clear()
        return taken

    def _flush_missed(self) -> None:
        if self._left_out:
            self._queue.append(Missed(self._left_out))
            self._left_out = 0


class Feed:
    """Hands each sighting to all subscribers and remembers the latest of each sort."""

    def __init__(self) -> None:
        self._recent: OrderedDict[_Key, Sighting] = OrderedDict()  # the longest unheard of first
        self._subscriptions: set[Subscription] = set()
        self.sightings = 0
        self.missed = 0
        self.evicted = 0

    @property
    def recent(self) -> int:
        return len(self._recent)

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)

    def publish(self, sighting: Sighting) -> None:
        self.sightings += 1
        key = (
            sighting.interface,
            sighting.vlan,
            sighting.mac,
            sighting.address,
            sighting.kind,
            sighting.message,
        )
        self._recent[key] = sighting
        self._recent.move_to_end(key)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
            self.evicted += 1
        for subscription in self._subscriptions:
            self.missed += not subscription.offer(sighting)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """A subscription that begins with the latest sightings, oldest first."""
        subscription = Subscription(list(self._recent.values()))
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
