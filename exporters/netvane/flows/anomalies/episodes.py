"""Findings that last are told once: an episode begins with the first and ends after a time without any."""

from collections.abc import Iterator

import msgspec

from netvane.flows.anomalies.limits import DAY, HOUR
from netvane.flows.anomalies.records import Finding, Kind

MAX_EPISODES = 4096
MINUTE = HOUR // 60

# How long one must not be seen before it counts as over. What a device is set to do is over when it stopped for a day.
QUIET: dict[Kind, int] = {
    "syn_flood": 5 * MINUTE,
    "icmp_flood": 5 * MINUTE,
    "packet_surge": 10 * MINUTE,
    "port_scan": 10 * MINUTE,
    "host_scan": 10 * MINUTE,
    "unleased_address": DAY,
    "off_network_address": DAY,
    "dns_tunnel": HOUR,
    "dns_bypass": DAY,
    "new_destination": HOUR,
    "new_country": HOUR,
    "new_port": HOUR,
    "upload_surge": 2 * HOUR,
    "lan_contact": HOUR,
    "beacon": HOUR,
}


class Episode(msgspec.Struct):
    kind: Kind
    mac: str
    subject: str
    since: int
    last: int


class Episodes:
    """The episodes that go on, at most MAX_EPISODES: the one that was not seen for longest goes first."""

    def __init__(self, episodes: list[Episode]) -> None:
        # In the order in which they were last seen.
        self._going: dict[tuple[Kind, str, str], Episode] = {_key(episode): episode for episode in episodes}

    def begins(self, finding: Finding, now: int) -> bool:
        """Note the finding; whether it is the first of its episode."""
        key = (finding.kind, finding.mac, finding.subject)
        episode = self._going.pop(key, None)
        began = episode is None
        if episode is None:
            episode = Episode(finding.kind, finding.mac, finding.subject, now, now)
            if len(self._going) >= MAX_EPISODES:
                del self._going[next(iter(self._going))]
        episode.last = now
        self._going[key] = episode
        return began

    def expire(self, now: int) -> None:
        # A clock set back by more than that must not make an episode last for ever.
        over = [key for key, episode in self._going.items() if abs(now - episode.last) > QUIET[episode.kind]]
        for key in over:
            del self._going[key]

    def __iter__(self) -> Iterator[Episode]:
        return iter(self._going.values())

    def __len__(self) -> int:
        return len(self._going)


def _key(episode: Episode) -> tuple[Kind, str, str]:
    return episode.kind, episode.mac, episode.subject
