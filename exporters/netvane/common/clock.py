"""Monotonic and wall time behind one seam, so that tests can move them apart."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

NANOSECONDS = 1_000_000_000


class Clock(Protocol):
    """Two clocks: one that only moves forward, and one that people set."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never steps."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch; NTP or its owner may step it."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()


def rfc3339(wall_ns: int) -> str:
    """RFC 3339 in UTC with all nine digits of the nanoseconds, e.g. ``2026-11-21T12:00:00.000000001Z``."""
    seconds, nanoseconds = divmod(wall_ns, NANOSECONDS)
    return f"{_to_the_second(seconds)}.{nanoseconds:09d}Z"


@lru_cache(maxsize=1024)  # what is told together happened within the same few seconds
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
