"""Keeps what the probes found and lays it out as the evidence for the verdict: fed with results and moments, no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from netvane.common.clock import NANOSECONDS
from netvane.latency import quality
from netvane.latency.prober import Target
from netvane.latency.quality import Degradation, Settling
from netvane.latency.series import Series
from netvane.latency.verdict import Evidence, Ping, Resolver, Sites

SITES_SECONDS = 60  # how old a site's result may be
CAPTIVE_SECONDS = 30
DNS_TIMES = 12  # answered questions that the usual time of a resolver is taken from
DNS_SECONDS = 60
MIN_LOSING = 2
NEWS_SECONDS = 30  # for how long a failure is worth extra probes

Snapshot = list[tuple[Target, Series]]
Attempt = Literal["worked", "failed", "unresolved"]  # what came of it: netvane.latency.verdict.Sites

# Roles whose targets make a segment, nearest first; those of other roles are the owner's business.
SEGMENTS = (("router", "router"), ("isp", "isp"), ("anchor", "upstream"))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the kernel knows: link, neighbour table, whether there is a default route for IPv6."""

    link_up: bool
    router_in_neighbour_table: bool
    ipv6_configured: bool


@dataclass(slots=True)
class _Asked:
    """One resolver."""

    failed: int = 0
    failing_since_ns: int | None = None
    working_since_ns: int | None = None
    ever_worked: bool = False
    times: list[tuple[int, float]] = field(default_factory=list)


@dataclass(slots=True)
class Observations:
    """Results of the probes other than ICMP; times are monotonic nanoseconds, those of a probe its start."""

    started_ns: int
    _resolvers: dict[str, _Asked] = field(default_factory=dict)
    _sites: dict[str, tuple[int, Attempt]] = field(default_factory=dict)
    _sites_probed: bool = True
    _ever_reached: bool = False
    _captive: tuple[int, bool] | None = None
    _line_away_ns: tuple[int, int] = (0, 0)  # the last time: from, to
    _settling: Settling = field(default_factory=Settling)

    def asked_are(self, resolvers: Iterable[str], *, sites: bool) -> None:
        """What is probed from now on; resolvers that are no longer asked are forgotten."""
        self._sites_probed = sites
        self._resolvers = {name: self._resolvers.get(name, _Asked()) for name in resolvers}

    def dns(self, resolver: str, start_ns: int, seconds: float | None, *, worked: bool) -> None:
        """A question by UDP; `seconds` until the answer."""
        if not worked and start_ns < self._line_away_ns[1]:
            return
        asked = self._resolvers.setdefault(resolver, _Asked())
        if seconds is not None:
            asked.times = [*asked.times[1 - DNS_TIMES :], (start_ns, seconds)]
        if worked:
            self._ever_reached = True
            if asked.failed:
                asked.working_since_ns = start_ns + round((seconds or 0.0) * NANOSECONDS)
            asked.failed, asked.failing_since_ns, asked.ever_worked = 0, None, True
            return
        asked.failed += 1
        if asked.failing_since_ns is None:
            asked.failing_since_ns = start_ns

    def site(self, name: str, start_ns: int, came_of_it: Attempt) -> None:
        if came_of_it == "worked" or not self._line_away_ns[0] <= start_ns < self._line_away_ns[1]:
            self._sites[name] = (start_ns, came_of_it)
        self._ever_reached = self._ever_reached or came_of_it == "worked"

    def captive(self, start_ns: int, found: bool | None) -> None:
        """The captive check's result; no answer leaves the last one to grow old."""
        if found is not None:
            self._captive = (start_ns, found)

    def line_is_back(self, away_ns: int, now_ns: int) -> None:
        """What began since `away_ns` failed for want of a line, and says nothing of sites and resolvers; names are not
        known before a question of now is answered.
        """
        self._line_away_ns = (away_ns, now_ns)
        self._resolvers = {name: _Asked(times=asked.times) for name, asked in self._resolvers.items()}
        self._sites = {name: found for name, found in self._sites.items() if found[1] == "worked" or found[0] < away_ns}

    def losing(self, snapshot: Snapshot, now_ns: int) -> bool:
        """Whether several targets beyond the router have lately lost a probe, and go on answering."""
        losing = [
            target
            for target, series in snapshot
            if target.role in {"isp", "anchor"} and target.family == 4
            if _ping(target, series, now_ns).answers and series.window.has_lost(now_ns)
        ]
        return len(losing) >= MIN_LOSING

    def forget_quality(self) -> None:
        """Believe nothing of what was said about the line's quality so far."""
        self._settling = Settling()

    def dns_seconds(self, now_ns: int) -> float | None:
        """The median time of the fastest resolver's newest answers; None where too few are recent."""
        medians = []
        for asked in self._resolvers.values():
            recent = [seconds for at, seconds in asked.times if now_ns - at <= DNS_SECONDS * NANOSECONDS]
            if len(recent) >= DNS_TIMES // 2:
                medians.append(median(recent))
        return min(medians, default=None)

    def suspicious(self, now_ns: int) -> bool:
        """Whether a resolver or the newest site has begun to fail lately; what is known for longer is no suspicion."""
        start_ns, newest = max(self._sites.values(), default=(0, "worked"))
        since = [asked.failing_since_ns for asked in self._resolvers.values()]
        since.append(None if newest == "worked" else start_ns)
        return any(at is not None and now_ns - at <= NEWS_SECONDS * NANOSECONDS for at in since)

    def lay_out(self, snapshot: Snapshot, around: Surroundings, now_ns: int) -> Evidence:
        """The evidence at `now_ns`."""
        captive = None
        if self._captive is not None and now_ns - self._captive[0] <= CAPTIVE_SECONDS * NANOSECONDS:
            captive = self._captive[1]
        return Evidence(
            running_seconds=(now_ns - self.started_ns) / NANOSECONDS,
            ever_reached=self._ever_reached,
            link_up=around.link_up,
            router_in_neighbour_table=around.router_in_neighbour_table,
            routers=_pings(snapshot, now_ns, "router"),
            hops=_pings(snapshot, now_ns, "isp"),
            anchors4=_pings(snapshot, now_ns, "anchor", 4),
            anchors6=_pings(snapshot, now_ns, "anchor", 6) if around.ipv6_configured else (),
            resolvers=tuple(
                Resolver(
                    name,
                    asked.failed,
                    _seconds(asked.failing_since_ns, now_ns),
                    asked.ever_worked,
                    _seconds(asked.working_since_ns, now_ns),
                )
                for name, asked in self._resolvers.items()
            ),
            sites=self._lay_out_sites(now_ns) if self._sites_probed else None,
            page_seconds=self._page_seconds(now_ns),
            captive=captive,
            ipv6_configured=around.ipv6_configured,
            degradation=self._degradation(snapshot, now_ns),
        )

    def _lay_out_sites(self, now_ns: int) -> Sites:
        ages: dict[Attempt, list[float]] = {"worked": [], "failed": [], "unresolved": []}
        for start_ns, came_of_it in self._sites.values():
            if now_ns - start_ns <= SITES_SECONDS * NANOSECONDS:
                ages[came_of_it].append((now_ns - start_ns) / NANOSECONDS)
        return Sites(tuple(ages["worked"]), tuple(ages["failed"]), tuple(ages["unresolved"]))

    def _page_seconds(self, now_ns: int) -> float | None:
        if self._captive is None or self._captive[1] or now_ns - self._captive[0] > SITES_SECONDS * NANOSECONDS:
            return None
        return (now_ns - self._captive[0]) / NANOSECONDS

    def _degradation(self, snapshot: Snapshot, now_ns: int) -> Degradation | None:
        segments = []
        for role, segment in SEGMENTS:
            # IPv6 has a verdict of its own; here it would only say the same of a line twice.
            answering = [
                series
                for target, series in snapshot
                if target.role == role and target.family == 4 and _ping(target, series, now_ns).answers
            ]
            if answering:
                segments.append(quality.figures(segment, [series.window for series in answering], now_ns))
        believed = self._settling.believed
        still_losing = believed is not None and believed.cause == "loss"
        found = quality.assess(segments, self.dns_seconds(now_ns), still_losing=still_losing)
        return self._settling.step(found, now_ns)


def _pings(snapshot: Snapshot, now_ns: int, role: str, family: int | None = None) -> tuple[Ping, ...]:
    return tuple(
        _ping(target, series, now_ns)
        for target, series in snapshot
        if target.role == role and family in {None, target.family}
    )


def _ping(target: Target, series: Series, now_ns: int) -> Ping:
    return Ping(
        target.name,
        series.sent_since_answer,
        _seconds(series.silent_since_ns, now_ns),
        _seconds(series.answered_probe_ns, now_ns),
        _seconds(series.answering_since_ns, now_ns),
    )


def _seconds(since_ns: int | None, now_ns: int) -> float | None:
    return None if since_ns is None else (now_ns - since_ns) / NANOSECONDS
