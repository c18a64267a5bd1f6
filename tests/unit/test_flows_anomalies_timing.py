import random

import pytest

from netvane.common.clock import NANOSECONDS
from netvane.flows.timing import FEW_INTERVALS, MAX_SERIES, STARTS, Series, SeriesBook

KEY = ("00:17:88:00:00:01", "bridge.example", "tcp", 443)
NOISE = random.Random(1)  # noqa: S311 - times for a test


def after(gaps: list[float]) -> SeriesBook:
    book = SeriesBook()
    at = 1_000.0
    for gap in (0.0, *gaps):
        at += gap
        book.begin(KEY, int(at * NANOSECONDS))
    return book


@pytest.mark.parametrize(
    ("gaps", "size", "pattern"),
    [
        ([60.0] * 12, 2_000, "heartbeat"),
        ([60.0 * NOISE.uniform(0.85, 1.15) for _ in range(12)], 2_000, "heartbeat"),
        ([60.0] * 6 + [600.0] + [60.0] * 6, 2_000, "heartbeat"),  # it slept once
        ([60.0] * (FEW_INTERVALS - 1), 2_000, "irregular"),  # too early to say
        ([60.0] * 12, 200_000, "irregular"),
        ([60.0] * 12, 5_000_000, "transfer"),
        ([], 5_000_000, "transfer"),
        ([0.5] * 40, 2_000, "irregular"),  # parts of one page
        ([NOISE.expovariate(1 / 60) for _ in range(30)], 2_000, "irregular"),
    ],
)
def test_the_pattern_of_a_series(gaps: list[float], size: int, pattern: str) -> None:
    assert after(gaps).classify(KEY, size) == pattern


def test_a_connection_that_is_kept_alive_is_a_heartbeat() -> None:
    book = SeriesBook()
    book.begin(KEY, 0)
    patterns = [book.classify(KEY, 4_000 + 10 * part) for part in range(FEW_INTERVALS + 1)]
    assert patterns == ["irregular"] * (FEW_INTERVALS - 1) + ["heartbeat"] * 2


def test_visits_at_random_are_no_heartbeat() -> None:
    visits = random.Random(2)  # noqa: S311 - times for a test
    series = Series()
    regular = 0
    at = 0.0
    for _ in range(20_000):
        at += visits.expovariate(1 / 300)
        series.starts = [*series.starts, int(at * NANOSECONDS)][-STARTS:]
        regular += series.interval_ns(STARTS - 1) is not None
    assert regular == 0


def test_a_clock_set_back_begins_the_series_anew() -> None:
    book = after([60.0] * 12)
    series = book.begin(KEY, NANOSECONDS)
    assert series.starts == [NANOSECONDS]


def test_series_are_bounded_and_those_in_use_stay() -> None:
    book = after([60.0] * 12)
    for port in range(3 * MAX_SERIES):
        book.begin(("x", "y", "tcp", port), 0)
        if port % 1000 == 0:
            book.classify(KEY, 1)
    assert len(book) == MAX_SERIES
    assert book.classify(KEY, 1) == "heartbeat"
