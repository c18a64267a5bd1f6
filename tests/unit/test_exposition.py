"""Metrics as text: what is written means what prometheus_client would have written."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import HistogramMetricFamily, InfoMetricFamily, UntypedMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from netvane.common.exposition import render
from netvane.common.metrics import CounterMetricFamily, GaugeMetricFamily

LABEL_VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def meaning(text: bytes) -> list[tuple[str, str, str, list[tuple[str, dict[str, str], str]]]]:
    return [
        (family.name, family.type, family.documentation, [(s.name, s.labels, repr(s.value)) for s in family.samples])
        for family in text_string_to_metric_families(text.decode())
    ]


def test_all_types_mean_what_they_meant() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    counter = CounterMetricFamily("a", 'Of "a" \\ and\nmore.', labels=["x"])
    counter.add_metric(['"\\\n'], 1e20)
    gauge = GaugeMetricFamily("d", "D.", labels=["x", "y"])
    for number, value in enumerate((math.inf, -math.inf, math.nan, 0, -1, 1e-9, 123456789.125)):
        gauge.add_metric([str(number), "ü"], value)
    families = [
        *registry.collect(),
        counter,
        HistogramMetricFamily("b", "B.", buckets=[("0.001", 0), ("1.0", 1), ("+Inf", 1)], sum_value=0.5),
        InfoMetricFamily("c", "C.", value={"version": "1"}),
        gauge,
        UntypedMetricFamily("e", "", value=True),
    ]

    class Same:
        def collect(self) -> list[Metric]:
            return families

    assert meaning(render(families)) == meaning(generate_latest(Same()))


@given(st.lists(st.tuples(LABEL_VALUES, LABEL_VALUES, st.floats()), max_size=5))
def test_any_label_and_number_come_back_as_they_were(samples: list[tuple[str, str, float]]) -> None:
    family = GaugeMetricFamily("netvane_x", "X.", labels=["one", "other"])
    for one, other, value in samples:
        family.add_metric([one, other], value)
    (found,) = text_string_to_metric_families(render([family]).decode())
    read = [(sample.labels["one"], sample.labels["other"], repr(sample.value)) for sample in found.samples]
    assert read == [(one, other, repr(value)) for one, other, value in samples]
