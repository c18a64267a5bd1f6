"""Waiting for a condition with a deadline: never sleep and hope."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_SECONDS = 0.02


def eventually(condition: Callable[[], T], *, within: float = 10.0, what: str = "") -> T:
    """The first true value of `condition`, asked every 20 ms; AssertionError when `within` seconds are over."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within:g} s: {what or condition!r} (last value: {value!r})")
        time.sleep(INTERVAL_SECONDS)
