"""What has been learned, as it is written down and read again after a restart."""

import msgspec

from netvane.flows.anomalies.episodes import Episode
from netvane.flows.anomalies.limits import HOUR, Limits

VERSION = 1
MAX_DEVICES = 1_000
FORGOTTEN_AT_ONCE = 100  # devices, so that a flood of new ones does not sort them all each time
MAX_VALUES = 128  # of one kind and device


class Values(msgspec.Struct):
    """What a device was seen to use, and when (Unix time in ns) the latest few came to it."""

    known: set[str] = set()  # msgspec copies both for each
    latest: list[int] = []


class DeviceMemory(msgspec.Struct):
    """What is usual for one device. Times are Unix time in ns, hours are counted since 1970.

    `upload_peak` is the largest upload of an hour in bytes, slowly forgotten; `upload` that of the hour so far.
    """

    since: int
    last: int
    hour: int = 0
    active_hours: int = 0
    upload: int = 0
    upload_peak: float = 0.0
    values: dict[str, Values] = {}

    def tick(self, now: int) -> None:
        self.last = now
        if now // HOUR != self.hour:
            self.hour = now // HOUR
            self.active_hours += 1

    def is_learned(self, now: int, limits: Limits) -> bool:
        return now - self.since >= limits.learning_ns and self.active_hours >= limits.learning_active_hours


class SurgeMemory(msgspec.Struct):
    """Frames per minute by packet class: the highest of each hour of the week, slowly forgotten; -1 until known.

    The week begins on Thursday at 00:00 UTC, as 1970 did.
    """

    since: int = 0
    hours: int = 0
    highest: dict[str, list[float]] = {}


class Memory(msgspec.Struct):
    """All that is learned; `since` is when it began, 0 before the first tick."""

    version: int = VERSION
    since: int = 0
    devices: dict[str, DeviceMemory] = {}
    surge: SurgeMemory = msgspec.field(default_factory=SurgeMemory)
    episodes: list[Episode] = []

    def device(self, mac: str, now: int) -> DeviceMemory:
        """The memory of `mac`; at MAX_DEVICES, passers-by are forgotten before those that were here for long."""
        device = self.devices.get(mac)
        if device is None:
            if len(self.devices) >= MAX_DEVICES:
                by_stay = sorted(self.devices.items(), key=lambda item: (item[1].active_hours, item[1].last))
                for other, _ in by_stay[:FORGOTTEN_AT_ONCE]:
                    del self.devices[other]
            device = self.devices[mac] = DeviceMemory(since=now, last=now)
        return device


def dump(memory: Memory) -> bytes:
    return msgspec.json.encode(memory)


def load(raw: bytes) -> Memory:
    """Raises ValueError where `raw` is damaged or of another version: learning then begins anew."""
    memory = msgspec.json.decode(raw, type=Memory)
    if memory.version != VERSION:
        raise ValueError(f"learned by another version: {memory.version}")
    return memory
