"""Surges of a packet class, against what the same hour of the week has brought before."""

from collections.abc import Iterator

from netvane.flows.anomalies.episodes import MINUTE
from netvane.flows.anomalies.learned import SurgeMemory
from netvane.flows.anomalies.limits import HOUR, Limits
from netvane.flows.anomalies.records import Finding, Kind, Tick

WEEK_HOURS = 168
MIN_HOURS = 48  # of the learning time, in which the machine must have watched
FORGET = 0.25  # the share of a week's lower peak in the new one
CONFIRM = 2  # minutes in a row

# Classes and those that they are part of: the most particular one is told.
_PARENTS: dict[str, tuple[str, ...]] = {
    "tcp_syn": ("tcp",),
    "http": ("tcp",),
    "tls": ("tcp",),
    "dns": ("udp",),
    "mdns": ("udp", "multicast"),
    "ssdp": ("udp", "multicast"),
    "dhcp": ("udp", "broadcast"),
    "ntp": ("udp",),
    "quic": ("udp",),
    "arp": ("broadcast",),
    "igmp": ("multicast",),
    "icmp": (),
    "icmpv6": ("multicast",),
    "other": (),
    "broadcast": (),
    "multicast": (),
    "tcp": (),
    "udp": (),
}
# Classes that people's own traffic makes: any hour may be the first in which somebody watches a film, so that a surge
# is also more than any hour of the week has brought.
_PEOPLES = frozenset({"tcp", "udp", "tls", "quic", "http", "other", "multicast"})
# Packets a second below which nothing is a surge.
_FLOOR = {name: 200.0 if name in _PEOPLES else 20.0 for name in _PARENTS}
# What other findings explain.
EXPLAINED: dict[Kind, frozenset[str]] = {
    "syn_flood": frozenset({"tcp", "tcp_syn", "http", "tls"}),
    "icmp_flood": frozenset({"icmp", "icmpv6", "multicast"}),
    "port_scan": frozenset({"tcp", "tcp_syn", "udp", "icmp", "icmpv6", "http", "tls", "dns"}),
    "host_scan": frozenset({"tcp", "tcp_syn", "udp", "icmp", "icmpv6", "arp", "broadcast", "http", "tls"}),
    "dns_tunnel": frozenset({"dns", "udp"}),
    "upload_surge": frozenset({"tcp", "tls", "udp", "quic", "http"}),
}


class Surges:
    """Sums ticks up to minutes, learns each hour's highest minute, and compares."""

    def __init__(self, memory: SurgeMemory) -> None:
        self._memory = memory
        self._minute = 0
        self._counts: dict[str, int] = {}
        self._senders: dict[str, tuple[int, str]] = {}
        self._hour = 0
        self._peaks: dict[str, float] = {}
        self._above: dict[str, int] = {}

    def feed(self, tick: Tick, limits: Limits, explained: frozenset[str]) -> Iterator[Finding]:
        """`explained` are the classes that other findings of this tick account for."""
        if tick.now // MINUTE != self._minute:
            if tick.now // MINUTE == self._minute + 1:
                yield from self._judge(tick.now, limits, explained)
            else:  # just started, or the clock was set
                self._above.clear()
            self._minute = tick.now // MINUTE
            self._counts.clear()
            self._senders.clear()
        for device in tick.devices:
            for name, frames in device.tx.items():
                self._counts[name] = self._counts.get(name, 0) + frames
                if frames > self._senders.get(name, (-1, ""))[0]:
                    self._senders[name] = (frames, device.mac)

    def _judge(self, now: int, limits: Limits, explained: frozenset[str]) -> Iterator[Finding]:
        hour = (now - MINUTE) // HOUR
        if hour != self._hour:
            self._learn()
            self._hour, self._peaks = hour, {}
            self._memory.since = self._memory.since or now
        told = set(explained)
        for name, parents in _PARENTS.items():
            counted = self._counts.get(name, 0)
            threshold = self._threshold(name, hour, now, limits)
            self._above[name] = self._above.get(name, 0) + 1 if threshold and counted > threshold else 0
            if threshold and counted > threshold:
                # What lasts is usual some day, but not within the hour.
                self._peaks[name] = max(self._peaks.get(name, 0.0), threshold)
                if name not in told and self._above[name] >= CONFIRM:
                    yield self._finding(name, counted, threshold)
                told.update(parents)
            elif name not in explained:
                self._peaks[name] = max(self._peaks.get(name, 0.0), counted)

    def _finding(self, name: str, counted: int, threshold: float) -> Finding:
        frames, mac = self._senders.get(name, (0, ""))
        return Finding(
            kind="packet_surge",
            mac=mac,
            subject=name,
            evidence={
                "packets_per_second": round(counted / 60, 1),
                "limit_packets_per_second": round(threshold / 60, 1),
                "largest_sender_packets": frames,
            },
            detail=f"{counted / 60:.0f} {name} packets a second, more than this hour of the week explains",
            packets=True,
        )

    def _threshold(self, name: str, hour: int, now: int, limits: Limits) -> float | None:
        """Frames per minute; None while too little is known."""
        fixed = limits.surge_packets_per_second.get(name)
        if fixed is not None:
            return fixed * 60
        learned = self._memory.since and now - self._memory.since >= limits.learning_ns
        if not learned or self._memory.hours < MIN_HOURS:
            return None
        week = self._memory.highest.get(name, [])
        highest = max(week, default=0.0)
        near = [week[(hour + offset) % WEEK_HOURS] for offset in (-1, 0, 1)] if week else []
        # An hour in which the machine was always off is judged by the others.
        usual = highest if any(peak < 0 for peak in near) else max(near, default=0.0)
        bound = highest if name in _PEOPLES else 0.0
        return max(_FLOOR[name] * 60, limits.surge_factor * usual, bound)

    def _learn(self) -> None:
        """Keep the peaks of the hour that ended."""
        if not self._peaks:
            return
        self._memory.hours += 1
        for name in _PARENTS:
            peak = self._peaks.get(name, 0.0)
            week = self._memory.highest.setdefault(name, [-1.0] * WEEK_HOURS)
            old = week[self._hour % WEEK_HOURS]
            week[self._hour % WEEK_HOURS] = max(peak, (1 - FORGET) * old + FORGET * peak)
