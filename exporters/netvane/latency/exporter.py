"""The latency exporter: puts probes, targets, verdict, events and metrics together."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import msgspec

from netvane.common import exchange, network, settings
from netvane.common.clock import NANOSECONDS
from netvane.common.config import Document
from netvane.common.event_schema import Outage as OutageEvent
from netvane.common.journal import Journal
from netvane.common.log import get_logger
from netvane.common.metrics import Metric
from netvane.common.network import NetworkView
from netvane.common.service import Service, private_directory
from netvane.common.timestamps import parse_rfc3339
from netvane.latency import metrics, surroundings
from netvane.latency.evidence import Observations, Surroundings
from netvane.latency.outages import Outage
from netvane.latency.path import PathWatch
from netvane.latency.prober import Prober
from netvane.latency.rounds import Rounds
from netvane.latency.settings import LatencySettings
from netvane.latency.targets import Targets
from netvane.latency.watch import VerdictWatch

log = get_logger("latency")

NETWORK_SECONDS = 5.0  # how often the kernel's routes and resolv.conf are looked at
PUBLISH_SECONDS = 60.0  # how often an unchanged snapshot is published again, so that readers see that it is fresh


class LatencyExporter:
    """See netvane.common.service.Exporter."""

    def __init__(self, document: Document, service: Service) -> None:
        self._service = service
        self._latency, self._network = _check(document)
        self._journal = Journal(document, service)
        clock = service.clock
        self._observations = Observations(clock.monotonic_ns())
        self._targets = Targets(self._targets_changed)
        self._prober = Prober(clock, service.beat, self._socket_state)
        self._rounds = self._new_rounds()
        self._path = PathWatch(service.run_dir, self._targets.hops_are, self._raw_state)
        self._watch = VerdictWatch(
            clock, self._observations, self._prober, lambda: self._rounds, self._path, self._journal.append
        )
        self._view = NetworkView()
        self._resolvers: tuple[str, ...] = ()
        self._interface: str | None = None
        self._published_ns = 0
        self._tasks: list[asyncio.Task[None]] = []

    def reload(self, document: Document) -> None:
        checked = _check(document)
        take_journal = self._journal.reload(document)
        self._latency, self._network = checked
        take_journal()
        self._rounds.stop()
        before, self._rounds = self._rounds, self._new_rounds()
        self._rounds.inherit(before)
        self._resolvers = ()
        self._targets.configure(self._latency, self._network.resolvers)
        self._look_at_network()

    async def start(self) -> None:
        private_directory(self._service.data_dir)
        await self._journal.start()
        await self._remember()
        self._targets.configure(self._latency, self._network.resolvers)
        self._look_at_network()
        self._prober.start()
        if not self._resolvers:
            self._rounds.start(())
        self._tasks = [
            self._service.spawn("network", self._watch_network()),
            self._service.spawn("path", self._path.run(self._targets.destination)),
            self._service.spawn("verdict", self._watch.run(self._look_around, self._targets.destination)),
        ]

    async def stop(self) -> None:
        self._prober.stop()
        self._rounds.stop()
        self._targets.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._journal.stop()

    def collectors(self) -> dict[str, Callable[[], Iterable[Metric]]]:
        return {
            "probes": lambda: metrics.probes(self._prober.snapshot(), self._rounds.series),
            "totals": lambda: metrics.totals(self._prober.totals, self._rounds.strangers, self._rounds.wan_bytes),
            "web": lambda: metrics.web(self._rounds.phases, self._rounds.sites),
            "path": lambda: metrics.path(self._path, self._targets.resolve_failures),
            "verdict": lambda: metrics.verdict(self._watch),
            "events": self._journal.collect,
        }

    def _new_rounds(self) -> Rounds:
        return Rounds(self._latency, self._observations, self._service.clock, self._service.spawn)

    async def _remember(self) -> None:
        """An outage that was open when the exporter stopped goes on; the last one that ended is still the last."""
        body = await self._journal.newest("outage")
        if body is None:
            return
        with contextlib.suppress(msgspec.DecodeError, ValueError):
            event = msgspec.json.decode(body, type=OutageEvent)
            end = None if event.end is None else parse_rfc3339(event.end)
            self._watch.remember(Outage(event.culprit, parse_rfc3339(event.start), end, event.count))

    def _targets_changed(self) -> None:
        self._prober.configure(self._targets.current(), self._latency.payload_bytes, self._latency.buckets)

    def _socket_state(self, family: int, reason: str | None) -> None:
        self._service.set_degraded(f"icmp{family}", reason)

    def _raw_state(self, reason: str | None) -> None:
        self._service.set_degraded("raw", reason)

    def _look_around(self) -> Surroundings:
        # With its link an interface loses its routes; it is still the one to look at.
        view = msgspec.structs.replace(self._view, interface=self._view.interface or self._interface)
        return surroundings.look(view)

    async def _watch_network(self) -> None:
        while True:
            await asyncio.sleep(NETWORK_SECONDS)
            self._look_at_network()

    def _look_at_network(self) -> None:
        view = network.find(self._network)
        resolvers = self._network.resolvers or surroundings.machine_resolvers()
        if resolvers != self._resolvers:
            self._resolvers = resolvers
            self._rounds.start(resolvers)
        now = self._service.clock.monotonic_ns()
        self._interface = view.interface or self._interface
        if view != self._view:
            log.info("network", interface=view.interface, subnet=view.subnet, router=view.router, router6=view.router6)
            self._path.route_changed()
        self._targets.network_is(view, has_ipv6=surroundings.look(view).ipv6_configured)
        if view == self._view and now - self._published_ns < PUBLISH_SECONDS * NANOSECONDS:
            return
        self._view, self._published_ns = view, now
        try:
            exchange.publish(self._service.run_dir / "network.json", view, self._service.clock)
        except OSError as error:
            self._service.set_degraded("exchange", f"network.json cannot be published: {error.strerror}")
        else:
            self._service.set_degraded("exchange", None)


def _check(document: Document) -> tuple[LatencySettings, settings.Network]:
    return document.section("latency", LatencySettings), document.section("network", settings.Network)
