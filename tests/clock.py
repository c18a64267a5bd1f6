"""A clock that a test moves by hand."""

from netvane.common.clock import NANOSECONDS


class FakeClock:
    """Starts at 2026-01-01 00:00 UTC; `advance` moves both clocks, `step` only the wall."""

    def __init__(self) -> None:
        self.monotonic = 1_000 * NANOSECONDS
        self.wall = 1_767_225_600 * NANOSECONDS

    def monotonic_ns(self) -> int:
        return self.monotonic

    def wall_ns(self) -> int:
        return self.wall

    def advance(self, seconds: float) -> None:
        nanoseconds = round(seconds * NANOSECONDS)
        self.monotonic += nanoseconds
        self.wall += nanoseconds

    def step(self, seconds: float) -> None:
        self.wall += round(seconds * NANOSECONDS)
