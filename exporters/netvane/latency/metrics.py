"""Turns the prober's current figures into metric families."""

from collections.abc import Iterable

from prometheus_client.core import HistogramMetricFamily

from netvane.common.clock import NANOSECONDS
from netvane.common.metrics import CounterMetricFamily, GaugeMetricFamily, Metric
from netvane.latency.prober import Target, Totals
from netvane.latency.series import Series

LABELS = ["probe", "target", "role", "family"]


def probes(snapshot: list[tuple[Target, Series]]) -> Iterable[Metric]:
    """One set of series a target."""
    sent = CounterMetricFamily("netvane_probe_sent", "Probes that were due and tried.", labels=LABELS)
    rtt = HistogramMetricFamily(
        "netvane_probe_rtt_seconds", "Round-trip times of answered probes; sent less count is the loss.", labels=LABELS
    )
    jitter = GaugeMetricFamily("netvane_probe_jitter_seconds", "Interarrival jitter as in RFC 3550.", labels=LABELS)
    last = GaugeMetricFamily(
        "netvane_probe_last_answer_timestamp_seconds",
        "When the last answer came, as Unix time; 0: never yet.",
        labels=LABELS,
    )
    errors = CounterMetricFamily(
        "netvane_probe_errors",
        "Probes that could not be sent, and why; they count as sent.",
        labels=[*LABELS, "reason"],
    )
    for target, series in snapshot:
        labels = ["icmp", target.name, target.role, f"ipv{target.family}"]
        # Answers are read before the probes sent, so that a scrape in the middle never shows more answers than probes.
        counts, rtt_sum = tuple(series.counts), series.rtt_sum
        rtt.add_metric(labels, _cumulative(series.bounds, counts), rtt_sum)
        sent.add_metric(labels, series.sent)
        jitter.add_metric(labels, series.jitter)
        last.add_metric(labels, series.last_answer_ns / NANOSECONDS)
        for reason, count in list(series.errors.items()):
            errors.add_metric([*labels, reason], count)
    yield from (sent, rtt, jitter, last, errors)


def totals(counted: Totals) -> Iterable[Metric]:
    """What is counted for all targets together."""
    discarded = CounterMetricFamily(
        "netvane_probe_answers_discarded", "Packets that are no answer to a probe, and why.", labels=["reason"]
    )
    for reason, count in list(counted.discarded.items()):
        discarded.add_metric([reason], count)
    yield discarded
    yield CounterMetricFamily(
        "netvane_probe_late_sends", "Probes sent more than 50 ms after they were due.", value=counted.late_sends
    )
    yield CounterMetricFamily(
        "netvane_clock_steps",
        "Answers during whose journey the wall clock was set; the monotonic clock gave their time.",
        value=counted.clock_steps,
    )


def _cumulative(bounds: tuple[float, ...], counts: tuple[int, ...]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
