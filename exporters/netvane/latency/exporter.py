"""The latency exporter: puts probes, targets, events and metrics together."""

import asyncio
from collections.abc import Callable, Iterable

from netvane.common import exchange, network, settings
from netvane.common.clock import NANOSECONDS
from netvane.common.config import Document
from netvane.common.journal import Journal
from netvane.common.log import get_logger
from netvane.common.metrics import CounterMetricFamily, Metric
from netvane.common.network import NetworkView
from netvane.common.service import Service, private_directory
from netvane.latency import metrics
from netvane.latency.prober import Prober
from netvane.latency.settings import LatencySettings
from netvane.latency.targets import Targets
from netvane.latency.watch import VerdictWatch

log = get_logger("latency")

NETWORK_SECONDS = 5.0  # how often the kernel's routes are looked at
PUBLISH_SECONDS = 60.0  # how often an unchanged snapshot is published again, so that readers see that it is fresh


class LatencyExporter:
    """See netvane.common.service.Exporter."""

    def __init__(self, document: Document, service: Service) -> None:
        self._service = service
        self._latency, self._network = _check(document)
        self._journal = Journal(document, service)
        self._targets = Targets(self._targets_changed)
        self._prober = Prober(service.clock, service.beat, self._socket_state)
        self._view = NetworkView()
        self._published_ns = 0
        self._tasks: list[asyncio.Task[None]] = []

    def reload(self, document: Document) -> None:
        checked = _check(document)
        take_journal = self._journal.reload(document)
        self._latency, self._network = checked
        take_journal()
        self._targets.configure(self._latency, self._network.resolvers)
        self._look_at_network()

    async def start(self) -> None:
        private_directory(self._service.data_dir)
        await self._journal.start()
        self._targets.configure(self._latency, self._network.resolvers)
        self._look_at_network()
        self._prober.start()
        watch = VerdictWatch(self._service.run_dir, self._service.clock, self._journal.append, self._raw_state)
        self._tasks = [
            self._service.spawn("network", self._watch_network()),
            self._service.spawn("verdict", watch.run(self._prober.snapshot)),
        ]

    async def stop(self) -> None:
        self._prober.stop()
        self._targets.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._journal.stop()

    def collectors(self) -> dict[str, Callable[[], Iterable[Metric]]]:
        return {
            "probes": lambda: metrics.probes(self._prober.snapshot()),
            "totals": lambda: metrics.totals(self._prober.totals),
            "names": self._collect_names,
            "events": self._journal.collect,
        }

    def _targets_changed(self) -> None:
        self._prober.configure(self._targets.current(), self._latency.payload_bytes, self._latency.buckets)

    def _socket_state(self, family: int, reason: str | None) -> None:
        self._service.set_degraded(f"icmp{family}", reason)

    def _raw_state(self, reason: str | None) -> None:
        self._service.set_degraded("raw", reason)

    async def _watch_network(self) -> None:
        while True:
            await asyncio.sleep(NETWORK_SECONDS)
            self._look_at_network()

    def _look_at_network(self) -> None:
        view = network.find(self._network)
        now = self._service.clock.monotonic_ns()
        if view != self._view:
            log.info("network", interface=view.interface, subnet=view.subnet, router=view.router, router6=view.router6)
        elif now - self._published_ns < PUBLISH_SECONDS * NANOSECONDS:
            return
        self._view, self._published_ns = view, now
        self._targets.network_is(view)
        try:
            exchange.publish(self._service.run_dir / "network.json", view, self._service.clock)
        except OSError as error:
            self._service.set_degraded("exchange", f"network.json cannot be published: {error.strerror}")
        else:
            self._service.set_degraded("exchange", None)

    def _collect_names(self) -> Iterable[Metric]:
        failures = CounterMetricFamily(
            "netvane_resolve_failures", "Names of targets that could not be resolved, and why.", labels=["reason"]
        )
        for reason, count in list(self._targets.resolve_failures.items()):
            failures.add_metric([reason], count)
        yield failures


def _check(document: Document) -> tuple[LatencySettings, settings.Network]:
    return document.section("latency", LatencySettings), document.section("network", settings.Network)
