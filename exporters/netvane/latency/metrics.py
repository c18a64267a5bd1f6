"""Turns the current figures into metric families."""

from collections.abc import Iterable, Mapping

from prometheus_client.core import HistogramMetricFamily

from netvane.common.clock import NANOSECONDS
from netvane.common.metrics import CounterMetricFamily, GaugeMetricFamily, Metric
from netvane.latency.path import PathWatch
from netvane.latency.prober import Target, Totals
from netvane.latency.rounds import Subject
from netvane.latency.series import Series
from netvane.latency.verdict import NAMES, OUTAGES
from netvane.latency.watch import VerdictWatch

LABELS = ["probe", "target", "role", "family"]


def probes(pings: list[tuple[Target, Series]], others: Mapping[Subject, Series]) -> Iterable[Metric]:
    """One set of series a target and kind of probe."""
    sent = CounterMetricFamily("netvane_probe_sent", "Probes that were due and tried.", labels=LABELS)
    rtt = HistogramMetricFamily(
        "netvane_probe_rtt_seconds",
        "Time to the answer of answered probes; sent less count is the loss.",
        labels=LABELS,
    )
    jitter = GaugeMetricFamily("netvane_probe_jitter_seconds", "Interarrival jitter as in RFC 3550.", labels=LABELS)
    last = GaugeMetricFamily(
        "netvane_probe_last_answer_timestamp_seconds",
        "When the last answer came, as Unix time; 0: never yet.",
        labels=LABELS,
    )
    errors = CounterMetricFamily(
        "netvane_probe_errors", "Probes that failed, and why; they count as sent.", labels=[*LABELS, "reason"]
    )
    rows = [(["icmp", target.name, target.role, f"ipv{target.family}"], series) for target, series in pings]
    rows += [(list(map(str, subject)), series) for subject, series in list(others.items())]
    for labels, series in rows:
        # Answers are read before the probes sent, so that a scrape in the middle never shows more answers than probes.
        counts, rtt_sum = tuple(series.counts), series.rtt_sum
        rtt.add_metric(labels, _cumulative(series.bounds, counts), rtt_sum)
        sent.add_metric(labels, series.sent)
        jitter.add_metric(labels, series.jitter)
        last.add_metric(labels, series.last_answer_ns / NANOSECONDS)
        for reason, count in list(series.errors.items()):
            errors.add_metric([*labels, reason], count)
    yield from (sent, rtt, jitter, last, errors)


def totals(counted: Totals, strangers: int, wan_bytes: Mapping[str, int]) -> Iterable[Metric]:
    """What is counted for all targets together; `strangers` are DNS datagrams that answer no question of ours."""
    discarded = CounterMetricFamily(
        "netvane_probe_answers_discarded", "Packets that are no answer to a probe, and why.", labels=["reason"]
    )
    for reason, count in [*counted.discarded.items(), *([("dns", strangers)] if strangers else [])]:
        discarded.add_metric([reason], count)
    yield discarded
    spent = CounterMetricFamily(
        "netvane_probe_wan_bytes", "What the probes cost beyond the router, with IP headers.", labels=["probe"]
    )
    for probe, count in [("icmp", counted.wan_bytes), *wan_bytes.items()]:
        spent.add_metric([probe], count)
    yield spent
    yield CounterMetricFamily(
        "netvane_probe_late_sends", "Probes sent more than 50 ms after they were due.", value=counted.late_sends
    )
    yield CounterMetricFamily(
        "netvane_clock_steps",
        "Answers during whose journey the wall clock was set; the monotonic clock gave their time.",
        value=counted.clock_steps,
    )


def web(phases: Mapping[str, Mapping[str, float]], sites: Mapping[str, bool]) -> Iterable[Metric]:
    """The newest page's phases, and whether each site of the pool took its last connection."""
    phase = GaugeMetricFamily(
        "netvane_http_phase_seconds", "How long each phase of the newest page took.", labels=["probe", "phase"]
    )
    for probe, times in list(phases.items()):
        for name, seconds in times.items():
            phase.add_metric([probe, name], seconds)
    works = GaugeMetricFamily("netvane_site_up", "Whether a web site took its last connection.", labels=["target"])
    for site, worked in list(sites.items()):
        works.add_metric([site], float(worked))
    yield from (phase, works)


def path(watch: PathWatch, resolve_failures: Mapping[str, int]) -> Iterable[Metric]:
    """The path into the Internet, and names that could not be resolved."""
    yield GaugeMetricFamily("netvane_path_hops", "Hops to the first anchor; 0: not yet known.", value=watch.hops)
    yield CounterMetricFamily("netvane_path_changes", "Traces in which a hop was another one.", value=watch.changes)
    failures = CounterMetricFamily(
        "netvane_resolve_failures", "Names of targets that could not be resolved, and why.", labels=["reason"]
    )
    for reason, count in list(resolve_failures.items()):
        failures.add_metric([reason], count)
    yield failures


def verdict(watch: VerdictWatch) -> Iterable[Metric]:
    """The verdict, one-hot, and the outages."""
    now = watch.verdict
    one_hot = GaugeMetricFamily("netvane_verdict", "1 for the verdict that is true now.", labels=["verdict"])
    for name in NAMES:
        one_hot.add_metric([name], float(now is not None and now.name == name))
    yield one_hot
    degraded = GaugeMetricFamily(
        "netvane_degraded", "1 for the segment where `degraded` begins, and what it is.", labels=["segment", "cause"]
    )
    if now is not None and now.segment is not None and now.cause is not None:
        degraded.add_metric([now.segment, now.cause], 1)
    yield degraded
    yield GaugeMetricFamily(
        "netvane_only_router_answers",
        "Whether the router is all that answers pings: then they say nothing of the Internet.",
        value=float(watch.only_router_answers),
    )
    outage, counted = watch.outage, watch.totals
    active = GaugeMetricFamily(
        "netvane_outage_active", "1 for the culprit of the outage that lasts.", labels=["culprit"]
    )
    count = CounterMetricFamily("netvane_outages", "Outages that have ended.", labels=["culprit"])
    seconds = CounterMetricFamily("netvane_outage_seconds", "How long they lasted in all.", labels=["culprit"])
    # Each culprit from the start: what begins with its first outage has never increased for Prometheus.
    for name in NAMES:
        if name in OUTAGES:
            active.add_metric([name], float(outage is not None and outage.culprit == name))
            count.add_metric([name], counted.count.get(name, 0))
            seconds.add_metric([name], counted.seconds.get(name, 0.0))
    yield from (active, count, seconds)
    start_ns = outage.start_ns if outage is not None else counted.last_start_ns
    yield GaugeMetricFamily(
        "netvane_outage_last_start_timestamp_seconds",
        "When the last outage began, as Unix time; 0: none known.",
        value=start_ns / NANOSECONDS,
    )
    ended = GaugeMetricFamily(
        "netvane_outage_last_end_timestamp_seconds",
        "When the last outage that has ended did, as Unix time.",
        labels=["culprit"],
    )
    if counted.last_end_ns:
        ended.add_metric([counted.last_culprit], counted.last_end_ns / NANOSECONDS)
    yield ended


def _cumulative(bounds: tuple[float, ...], counts: tuple[int, ...]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
