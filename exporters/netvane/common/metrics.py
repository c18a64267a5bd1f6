"""The registry of one exporter: its collectors, each guarded so that a broken one costs its own families only.

A default `prometheus_client` registry fails the whole scrape when one collector raises.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

import netvane
from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.log import get_logger

log = get_logger("metrics")

Collect = Callable[[], Iterable[Metric]]

__all__ = ["Collect", "CounterMetricFamily", "GaugeMetricFamily", "GuardedCollectors", "Metric", "new_registry"]


class GuardedCollectors:
    """A prometheus_client collector made of named ones.

    Beside their families it yields ``netvane_build_info`` and, per collector, ``netvane_collector_success``,
    ``…_duration_seconds`` and ``…_last_success_timestamp_seconds``, from the first scrape on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._collectors: dict[str, Collect] = {}
        self._last_success: dict[str, float] = {}

    def add(self, name: str, collect: Collect) -> None:
        self._collectors[name] = collect

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "netvane_build_info", "Version of this exporter and of its Python; always 1.", labels=["version", "python"]
        )
        build.add_metric([netvane.__version__, platform.python_version()], 1)
        yield build

        success = GaugeMetricFamily(
            "netvane_collector_success", "Whether a collector worked in this scrape.", labels=["collector"]
        )
        duration = GaugeMetricFamily(
            "netvane_collector_duration_seconds", "Time that a collector took in this scrape.", labels=["collector"]
        )
        last = GaugeMetricFamily(
            "netvane_collector_last_success_timestamp_seconds",
            "When a collector last worked, as Unix time.",
            labels=["collector"],
        )
        for name, collector in self._collectors.items():
            start = time.perf_counter()
            families: list[Metric] = []
            try:
                families = list(collector())
                self._last_success[name] = self._clock.wall_ns() / NANOSECONDS
                success.add_metric([name], 1)
            except Exception:  # the other collectors' families must reach Prometheus whatever this one did
                log.exception("collector failed", collector=name)
                success.add_metric([name], 0)
            duration.add_metric([name], time.perf_counter() - start)
            last.add_metric([name], self._last_success.get(name, 0))
            yield from families
        yield from (success, duration, last)


def new_registry(collectors: GuardedCollectors) -> CollectorRegistry:
    """A registry with the process's own figures and `collectors`."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(collectors)
    return registry
