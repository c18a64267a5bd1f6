"""All rules together: a tick in, the findings that are new out."""

from collections import Counter
from collections.abc import Iterator

from netvane.flows.anomalies.addresses import Addresses
from netvane.flows.anomalies.beacons import beacons
from netvane.flows.anomalies.bypass import bypasses
from netvane.flows.anomalies.episodes import Episodes
from netvane.flows.anomalies.floods import Floods
from netvane.flows.anomalies.learned import Memory, dump
from netvane.flows.anomalies.limits import HOUR, Limits
from netvane.flows.anomalies.novelty import news
from netvane.flows.anomalies.records import Finding, Home, Kind, Tick
from netvane.flows.anomalies.scans import Scans
from netvane.flows.anomalies.surge import EXPLAINED, Surges
from netvane.flows.anomalies.tunnels import Tunnels
from netvane.flows.anomalies.uploads import upload
from netvane.flows.timing import SeriesBook

# A flood from made-up addresses is one thing, not a thousand.
MAX_TOLD_AN_HOUR = 20  # of a kind

# While a device does this, all that it contacts is new, and nothing of it is to be learned.
_WILD: frozenset[Kind] = frozenset({"syn_flood", "icmp_flood", "port_scan", "host_scan"})


class Detector:
    """Learns what is usual and finds what is not.

    `series` is shared with who classifies flows by their timing. `found` counts the episodes that began, `untold` those
    of them that were too many to be told.
    """

    def __init__(self, memory: Memory, limits: Limits) -> None:
        self.series = SeriesBook()
        self.found: Counter[Kind] = Counter()
        self.untold: Counter[Kind] = Counter()
        self._hour = 0
        self._told: Counter[Kind] = Counter()
        self._memory = memory
        self._limits = limits
        self._episodes = Episodes(memory.episodes)
        self._surges = Surges(memory.surge)
        self._floods = Floods()
        self._scans = Scans()
        self._tunnels = Tunnels()
        self._addresses = Addresses()

    def feed(self, tick: Tick, home: Home) -> list[Finding]:
        """The findings with which an episode begins, at most MAX_TOLD_AN_HOUR of a kind."""
        self._memory.since = self._memory.since or tick.now
        self._episodes.expire(tick.now)
        if tick.now // HOUR != self._hour:
            self._hour = tick.now // HOUR
            self._told.clear()
        new = [finding for finding in self._candidates(tick, home) if self._episodes.begins(finding, tick.now)]
        return [finding for finding in new if self._tell(finding.kind)]

    def _tell(self, kind: Kind) -> bool:
        self.found[kind] += 1
        told = self._told[kind] < MAX_TOLD_AN_HOUR
        (self._told if told else self.untold)[kind] += 1
        return told

    def going(self) -> Counter[tuple[str, Kind]]:
        """How many episodes of each device (MAC) and kind go on; what alerts look at."""
        return Counter((episode.mac, episode.kind) for episode in list(self._episodes))  # asked by another thread

    def saved(self) -> bytes:
        """What is to be kept for the next start (netvane.flows.anomalies.learned.load)."""
        self._memory.episodes = list(self._episodes)
        return dump(self._memory)

    def change_limits(self, limits: Limits) -> None:
        self._limits = limits

    def _candidates(self, tick: Tick, home: Home) -> Iterator[Finding]:
        limits, memory = self._limits, self._memory
        findings = [
            *self._floods.feed(tick, home, limits),
            *self._scans.feed(tick, home, limits),
            *self._tunnels.feed(tick, home, limits),
        ]
        for device in tick.devices:
            if device.mac not in home.exempt:
                known = memory.device(device.mac, tick.now)
                surge = upload(device, known, tick.now, limits)
                findings += [surge] if surge else []
                known.tick(tick.now)
        yield from findings
        going: set[Kind] = {finding.kind for finding in findings} | {episode.kind for episode in self._episodes}
        explained = frozenset[str]().union(*(EXPLAINED.get(kind, frozenset()) for kind in going))
        yield from self._surges.feed(tick, limits, explained)
        yield from self._addresses.feed(tick, home, memory, limits)
        yield from bypasses(tick, home)
        wild = {finding.mac for finding in findings if finding.kind in _WILD}
        wild |= {episode.mac for episode in self._episodes if episode.kind in _WILD}
        for contact in tick.contacts:
            if contact.mac not in home.exempt and contact.mac not in wild:
                yield from news(contact, home, memory, tick.now, limits)
                yield from beacons(contact, self.series, memory, tick.now, limits)
