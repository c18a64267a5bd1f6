"""Durations as Prometheus writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.up.promunits import parse_prometheus_duration, prometheus_duration


@given(st.integers(0, 10**12))
def test_durations_come_back(milliseconds: int) -> None:
    assert parse_prometheus_duration(prometheus_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h30m", 5400), ("1500ms", 1.5), ("400d", 34560000), ("0", 0), ("0s", 0), ("1w", 604800)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_prometheus_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "1.5h", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a Prometheus duration"):
        parse_prometheus_duration(text)
