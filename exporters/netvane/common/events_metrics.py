"""The metrics of an event store and its shipper."""

from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from netvane.common.events import EventStore
from netvane.common.loki import Shipper


def collect(store: EventStore, shipper: Shipper | None) -> Iterator[Metric]:
    """The families of `store`, and of `shipper` where events are shipped."""
    stats = store.stats()
    yield _counters("netvane_events_stored", "Events on the disk since the start.", "event", stats.stored)
    yield _counters("netvane_events_refused", "Events refused for what they are.", "reason", stats.refused)
    yield _counters(
        "netvane_events_dropped", "Events lost because memory for waiting ones was full.", "event", stats.dropped
    )
    yield _counters(
        "netvane_events_deleted", "Events deleted for their age or for the size of the file.", "reason", stats.deleted
    )
    yield _counter("netvane_events_deleted_unshipped", "Events deleted before Loki had them.", stats.deleted_unshipped)
    yield _counter(
        "netvane_events_write_failures", "Failed attempts to write to the event database.", stats.write_failures
    )
    yield _gauge(
        "netvane_events_writable", "Whether the last attempt to write to the event database worked.", stats.writable
    )
    yield _gauge("netvane_events_pending", "Events in memory, not yet on the disk.", stats.pending)
    yield _gauge("netvane_events_pending_bytes", "Memory taken by events not yet on the disk.", stats.pending_bytes)
    yield _gauge("netvane_events_database_bytes", "Size of the event database.", stats.file_bytes)
    yield _gauge("netvane_events_database_limit_bytes", "Size at which the oldest events are deleted.", stats.max_bytes)
    yield _gauge(
        "netvane_events_last_commit_timestamp_seconds",
        "When events were last written, as Unix time.",
        stats.last_commit,
    )
    yield _gauge(
        "netvane_events_damaged_databases", "Damaged event databases that were kept aside.", stats.damaged_files
    )
    yield _gauge(
        "netvane_events_last_damage_timestamp_seconds",
        "When the newest damaged event database was last written to, as Unix time; 0 for none.",
        stats.last_damage,
    )
    if shipper is not None:
        yield from _shipping(shipper)


def _shipping(shipper: Shipper) -> Iterator[Metric]:
    stats = shipper.stats()
    yield _counter("netvane_loki_events_shipped", "Events that Loki accepted.", stats.shipped)
    yield _counter("netvane_loki_events_backlog", "Events that Loki accepted only in a backlog stream.", stats.late)
    yield _counters(
        "netvane_loki_events_set_aside",
        "Events that Loki would not take; the store has them.",
        "reason",
        stats.set_aside,
    )
    yield _counters("netvane_loki_retries", "Pushes that failed and were tried again.", "reason", stats.retries)
    yield _gauge(
        "netvane_loki_events_pending", "Events on the disk that Loki does not have yet, at most.", stats.pending
    )
    yield _gauge(
        "netvane_loki_oldest_unshipped_timestamp_seconds",
        "When the oldest event that Loki does not have yet happened, as Unix time; 0 where it has all.",
        stats.oldest_unshipped,
    )
    yield _gauge(
        "netvane_loki_last_success_timestamp_seconds",
        "When Loki last accepted a push, as Unix time.",
        stats.last_success,
    )
    yield _gauge(
        "netvane_loki_holding", "Whether Loki refuses access or its settings refuse the events as such.", stats.holding
    )


def _counters(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
