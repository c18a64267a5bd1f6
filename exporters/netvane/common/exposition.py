"""Metric families as text, in the Prometheus exposition format 0.0.4.

prometheus_client's own writer checks and sorts the labels of each sample again; on a Pi that is most of the time that a
scrape with thousands of series takes. Both mean the same (tests/unit/test_exposition.py).
"""

import math
from collections.abc import Iterable

from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Types of OpenMetrics that the older format does not know.
_TYPES = {"info": "gauge", "stateset": "gauge", "gaugehistogram": "histogram", "unknown": "untyped"}
_SUFFIXES = {"counter": "_total", "info": "_info"}


def render(families: Iterable[Metric]) -> bytes:
    """UTF-8. Time stamps and exemplars of samples are left out; Netvane has none."""
    lines: list[str] = []
    for family in families:
        name = family.name + _SUFFIXES.get(family.type, "")
        description = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {name} {description}\n# TYPE {name} {_TYPES.get(family.type, family.type)}\n")
        for sample in family.samples:
            if sample.labels:
                labels = ",".join([f'{key}="{_escaped(value)}"' for key, value in sample.labels.items()])
                lines.append(f"{sample.name}{{{labels}}} {_number(sample.value)}\n")
            else:
                lines.append(f"{sample.name} {_number(sample.value)}\n")
    return "".join(lines).encode()


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value


def _number(value: float) -> str:
    number = float(value)
    if math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
