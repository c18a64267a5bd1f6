"""Counters, buckets, jitter, schedule and settings: the pure parts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.common.clock import NANOSECONDS
from netvane.common.config import ConfigError, Document
from netvane.common.settings import SECTIONS
from netvane.latency import metrics
from netvane.latency.prober import Target
from netvane.latency.schedule import Schedule
from netvane.latency.series import Series
from netvane.latency.settings import DEFAULT_BUCKETS, MAX_BUCKETS, LatencySettings

SECOND = NANOSECONDS


def test_buckets_are_cumulative_and_their_edges_inside() -> None:
    series = Series((0.01, 0.1))
    for rtt in (0.001, 0.01, 0.02, 5.0):
        series.probe_sent(0)
        series.answered(0, rtt, 7)
    families = {
        family.name: family for family in metrics.probes([(Target("far", "target", 4, None, SECOND), series)], {})
    }
    buckets = [
        (sample.labels["le"], sample.value)
        for sample in families["netvane_probe_rtt_seconds"].samples
        if sample.name.endswith("_bucket")
    ]
    assert buckets == [("0.01", 2), ("0.1", 3), ("+Inf", 4)]
    assert families["netvane_probe_sent"].samples[0].value == 4


def test_the_default_histogram_has_at_most_twelve_buckets() -> None:
    assert len(DEFAULT_BUCKETS) + 1 <= MAX_BUCKETS == 12


def test_jitter_is_rfc_3550s() -> None:
    series = Series((1.0,))
    for rtt in (0.010, 0.026, 0.010):
        series.answered(0, rtt, 0)
    assert series.jitter == pytest.approx(0.001 + (0.016 - 0.001) / 16)


def test_silence_starts_with_the_first_unanswered_probe() -> None:
    series = Series((1.0,))
    series.probe_sent(5)
    series.answered(5, 0.1, 0)
    assert (series.sent_since_answer, series.silent_since_ns) == (0, None)
    series.probe_sent(6)
    series.probe_sent(7)
    assert (series.sent_since_answer, series.silent_since_ns) == (2, 6)


def test_a_target_that_was_away_has_lost_nothing_and_one_that_loses_has() -> None:
    series = Series((1.0,))

    def play(answered: str, start: int) -> None:
        for second, answer in enumerate(answered, start):
            series.probe_sent(second * SECOND)
            if answer == "+":
                series.answered(second * SECOND, 0.1, 0)

    play("++-+--+", 0)
    assert series.window.counts(20 * SECOND) == (7, 3)
    assert series.answering_since_ns == 6 * SECOND + SECOND // 10
    play("----------++", 7)
    assert series.window.counts(30 * SECOND) == (1, 0)
    assert series.answering_since_ns == 17 * SECOND + SECOND // 10


@given(st.integers(1, 200), st.integers(200, 5000))
def test_every_target_has_its_beat_and_the_beats_are_spread(count: int, interval_ms: int) -> None:
    interval = interval_ms * 1_000_000
    schedule = Schedule()
    schedule.set({str(number): interval for number in range(count)}, 0)
    taken: dict[str, list[int]] = {}
    tenths = [0] * 10
    while (due := schedule.next_due()) is not None and due < 3 * interval:
        item = schedule.take(due)
        assert item is not None
        assert item[1] == 0
        taken.setdefault(item[0], []).append(due)
        tenths[due % interval * 10 // interval] += 1
    assert len(taken) == count
    for times in taken.values():
        assert [times[0] + turn * interval for turn in range(3)] == times
    assert max(tenths) <= 3 * (count / 10 + 2)


def test_missed_beats_are_left_out() -> None:
    schedule = Schedule()
    schedule.set({"far": SECOND}, 0)
    first = schedule.next_due()
    assert first is not None
    assert schedule.take(first + 100 * SECOND) == ("far", 100 * SECOND)
    assert schedule.next_due() == first + 101 * SECOND
    assert schedule.take(first + 100 * SECOND) is None


def test_a_target_that_stays_keeps_its_beat_and_one_that_goes_is_gone() -> None:
    schedule = Schedule()
    schedule.set({"a": SECOND, "b": SECOND}, 0)
    due = {name: when for when, name in schedule._heap}
    schedule.set({"a": SECOND}, 5)
    assert schedule.next_due() == due["a"]
    schedule.set({}, 6)
    assert schedule.next_due() is None
    assert schedule.take(10 * SECOND) is None


def settings(text: str) -> LatencySettings:
    return Document.parse("latency:\n" + text, Path("netvane.yml"), SECTIONS).section("latency", LatencySettings)


def test_targets_by_address_and_by_name() -> None:
    one, two = settings("  targets: [{name: a, host: 'fd00::1'}, {name: b, host: example.org}]").targets
    assert (one.family_number, two.family_number) == (6, 4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "  targets: [{name: a, host: x}, {name: a, host: y}]",
            "netvane.yml:2: latency.targets: the name 'a' is taken",
        ),
        ("  targets: [{name: router, host: x}]", "netvane.yml:2: latency.targets: the name 'router' is taken"),
        ("  targets: [{name: a, host: x}, {name: b, host: X}]", "netvane.yml:2: latency.targets: x is there twice"),
        ("  targets:\n  - {name: a, host: 'a b'}", "netvane.yml:3: latency.targets[0].host: expected an address or"),
        ("  targets:\n  - {name: a, host: 198.51.100.1, family: ipv6}", "netvane.yml:3: latency.targets[0].family:"),
        ("  targets:\n  - {name: a, host: b, interval: 10ms}", "netvane.yml:3: latency.targets[0].interval: expected"),
        ("  targets:\n  - {name: a, host: b, role: router}", "netvane.yml:3: latency.targets[0].role: router is for"),
        ("  interval: 1ms", "netvane.yml:2: latency.interval: expected at least 200ms"),
        ("  payload_bytes: 8", "netvane.yml:2: latency.payload_bytes: expected `int` >= 16, got '8'"),
        ("  buckets: [1, 1]", "netvane.yml:2: latency.buckets: expected 1 to 11 rising numbers"),
        ("  buckets: []", "netvane.yml:2: latency.buckets: expected 1 to 11 rising numbers"),
    ],
)
def test_mistakes(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(text)
    assert str(caught.value).startswith(told)


def test_the_number_of_series_is_bounded() -> None:
    targets = "  targets:\n" + "".join(f"  - {{name: t{n}, host: 198.51.100.{n}}}\n" for n in range(1, 201))
    with pytest.raises(ConfigError, match="series, more than 2400: fewer targets or buckets"):
        settings(targets)
    bare = """
  buckets: [0.001, 0.01, 0.1, 1]
  anchors: []
  dns: {interval: null, tcp_interval: null, dot_interval: null}
  sites: {interval: null}
  web: {captive_interval: null, https_interval: null}
"""
    assert len(settings(bare + targets).targets) == 200
