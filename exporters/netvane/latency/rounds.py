"""Probes other than ICMP, each on a beat of its own: resolvers, web sites, captive portal, HTTPS. Runs in the loop."""

import asyncio
import itertools
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.log import get_logger
from netvane.latency import captive, dnsquery, http, tcp
from netvane.latency.dnsquery import Question
from netvane.latency.evidence import Observations
from netvane.latency.lookup import Lookup
from netvane.latency.series import Series
from netvane.latency.settings import LatencySettings, Transport

log = get_logger("latency.rounds")

DEADLINES: dict[str, float] = {"dns": 4.0, "tcp": 3.0, "captive": 5.0, "https": 10.0}
CONFIRM_SITES = 3
CONFIRM_SECONDS = 3.0  # so often at most is a suspicion followed by extra probes


class Subject(NamedTuple):
    """Whose series it is; the labels of a metric."""

    probe: str
    target: str
    role: str
    family: str


class Rounds:
    """`spawn` runs a coroutine until it is cancelled, in the service's care."""

    def __init__(
        self,
        settings: LatencySettings,
        observations: Observations,
        clock: Clock,
        spawn: Callable[[str, Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self.series: dict[Subject, Series] = {}
        self.phases: dict[str, dict[str, float]] = {}
        self.sites: dict[str, bool] = {}
        self.strangers = 0
        self.wan_bytes: dict[str, int] = {}
        self._settings = settings
        self._bounds = settings.buckets
        self._observations = observations
        self._clock = clock
        self._spawn = spawn
        self._resolvers: tuple[str, ...] = ()
        self.lookup = Lookup(())
        self._tasks: list[asyncio.Task[None]] = []
        self._confirmed_ns = 0
        self._questions = itertools.cycle(questions(settings))
        self._sites = itertools.cycle(random.sample(names := settings.site_names, len(names)))
        self._context = ssl.create_default_context(cafile=settings.web.ca_file)

    def inherit(self, before: "Rounds") -> None:
        """Go on counting where `before` stopped: a counter never decreases because the configuration was read again."""
        self.series = {subject: series for subject, series in before.series.items() if series.bounds == self._bounds}
        self.strangers, self.wan_bytes = before.strangers, before.wan_bytes
        self.lookup = before.lookup

    def start(self, resolvers: tuple[str, ...]) -> None:
        """Begin, or begin anew with other resolvers."""
        self.stop()
        self._resolvers = resolvers
        self.lookup = Lookup(resolvers, self.lookup)
        settings = self._settings
        asked = resolvers if "udp" in settings.dns.intervals else ()
        self._observations.asked_are(asked, sites=settings.sites.interval is not None)
        for transport, interval in settings.dns.intervals.items():
            for resolver in resolvers:
                self._every(interval, f"dns {transport} {resolver}", self._ask(resolver, transport))
        if settings.sites.interval is not None:
            self._every(settings.sites.interval, "sites", self._try_site)
        if settings.web.captive_interval is not None:
            self._every(settings.web.captive_interval, "captive", self._check_captive)
        if settings.web.https_interval is not None:
            self._every(settings.web.https_interval, "https", self._fetch_https)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        self.lookup.close()

    def confirm(self, *, at_once: bool = False) -> None:
        """Something looks wrong, or right again: ask again now rather than at the next beat."""
        now = self._clock.monotonic_ns()
        if now - self._confirmed_ns < CONFIRM_SECONDS * NANOSECONDS and not at_once:
            return
        self._confirmed_ns = now
        work: list[Callable[[], Awaitable[None]]] = []
        if self._settings.sites.interval is not None:
            work += [self._try_site] * CONFIRM_SITES
        if self._settings.web.captive_interval is not None:
            work.append(self._check_captive)
        if "udp" in self._settings.dns.intervals:
            work += [self._ask(resolver, "udp") for resolver in self._resolvers]
        # Tasks that are done are let go of here: there is no other place where there is always a next time.
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks += [self._spawn("confirm", _once(probe)) for probe in work]

    def _every(self, seconds: float, name: str, probe: Callable[[], Awaitable[None]]) -> None:
        async def beat() -> None:
            await asyncio.sleep(random.uniform(0, min(seconds, 5)))  # noqa: S311 - only not all at once
            while True:
                begun = time.monotonic()
                await probe()
                await asyncio.sleep(max(0.0, seconds - (time.monotonic() - begun)))

        self._tasks.append(self._spawn(name, beat()))

    def _begin(self, probe: str, target: str, role: str, family: str) -> tuple[Series, int]:
        """The series of a probe that begins now, and now."""
        subject = Subject(probe, target, role, family)
        series = self.series.get(subject)
        if series is None:
            series = self.series[subject] = Series(self._bounds)
        now = self._clock.monotonic_ns()
        series.probe_sent(now)
        return series, now

    def _end(self, series: Series, start_ns: int, outcome: str, seconds: float | None) -> None:
        if seconds is not None:
            series.answered(start_ns, seconds, self._clock.wall_ns())
        if outcome != "ok":
            series.failed(outcome)

    def _spent(self, probe: str, wan_bytes: int) -> None:
        self.wan_bytes[probe] = self.wan_bytes.get(probe, 0) + wan_bytes

    def _ask(self, resolver: str, transport: Transport) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            family = "ipv6" if ":" in resolver else "ipv4"
            series, start = self._begin(f"dns_{transport}", resolver, "resolver", family)
            reply = await dnsquery.ask(resolver, transport, next(self._questions), DEADLINES["dns"])
            self._end(series, start, reply.outcome, reply.seconds)
            self.strangers += reply.strangers
            self._spent("dns", reply.wan_bytes)
            if transport == "udp":
                self._observations.dns(resolver, start, reply.seconds, worked=reply.outcome == "ok")

        return ask

    async def _try_site(self) -> None:
        site = next(self._sites)
        begun = self._clock.monotonic_ns()
        address = await self.lookup.address(site)
        if address is None:  # its cause the resolvers' own probes see; but what cannot be reached is not reached
            self._observations.site(site, begun, "unresolved")
            return
        family = "ipv6" if ":" in address else "ipv4"
        series, start = self._begin("tcp", "sites", "site", family)
        found = await tcp.connect(address, self._settings.sites.port, DEADLINES["tcp"])
        self._end(series, start, found.outcome, found.seconds)
        self._spent("tcp", found.wan_bytes)
        self.sites[site] = found.outcome == "ok"
        self._observations.site(site, start, "worked" if found.outcome == "ok" else "failed")

    async def _check_captive(self) -> None:
        start = self._clock.monotonic_ns()
        page = await self._get("captive", self._settings.web.captive_url, DEADLINES["captive"])
        if page is not None:
            self._observations.captive(start, captive.is_captive(page))

    async def _fetch_https(self) -> None:
        await self._get("https", self._settings.web.https_url, DEADLINES["https"])

    async def _get(self, probe: str, text: str, deadline: float) -> http.Page | None:
        url = urlsplit(text)
        begun = time.monotonic()
        address = await self.lookup.address(url.hostname or "")
        resolved = time.monotonic() - begun
        if address is None:
            return None
        series, start = self._begin(probe, url.hostname or "", "web", "ipv6" if ":" in address else "ipv4")
        page = await http.get(url, address, deadline, self._context)
        total = sum(page.phases.values())
        self._end(series, start, page.outcome, total if page.outcome == "ok" else None)
        self.phases[probe] = {"resolve": resolved, **page.phases}
        self._spent(probe, page.wan_bytes)
        return page


def questions(settings: LatencySettings) -> Iterable[Question]:
    """The anchors' names, whose addresses are known; where none has a name, that of the captive check."""
    named = [
        Question(anchor.hostname, 4 if anchor.ipv4 else 6, frozenset({anchor.ipv4 or anchor.ipv6 or ""}))
        for anchor in settings.anchors
        if anchor.hostname is not None
    ]
    return named or [Question(urlsplit(settings.web.captive_url).hostname or "", 4, frozenset())]


async def _once(probe: Callable[[], Awaitable[None]]) -> None:
    await probe()
