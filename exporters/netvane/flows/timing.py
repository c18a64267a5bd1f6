"""The timing of a flow series: the conversations of a device with one far port, one after the other."""

import statistics
from collections import OrderedDict
from typing import Literal

import msgspec

from netvane.common.clock import NANOSECONDS

Pattern = Literal["heartbeat", "transfer", "irregular"]

MAX_SERIES = 4_096
STARTS = 17  # so that there are 16 intervals
FEW_INTERVALS = 8
MIN_INTERVAL_NS = 5 * NANOSECONDS  # shorter ones are parts of one thing
# Of the intervals, this share lies this near their median. Requests at random do so once in 10 million times for 16
# intervals, and once in 30,000 for 8.
NEAR = 0.25
NEAR_SHARE = 0.8

TRANSFER_BYTES = 1_000_000
HEARTBEAT_BYTES = 100_000

SeriesKey = tuple[str, str, str, int | None]  # device, far name or address, protocol, far port


class Series(msgspec.Struct):
    """When the latest conversations began, and how large the latest ones were; Unix time in ns, bytes."""

    starts: list[int] = []  # msgspec copies both for each
    sizes: list[int] = []

    def interval_ns(self, intervals: int) -> int | None:
        """The median interval if the last `intervals` or more are regular; else None."""
        gaps = [later - earlier for earlier, later in zip(self.starts, self.starts[1:], strict=False)]
        if len(gaps) < intervals:
            return None
        median = statistics.median(gaps)
        near = sum(abs(gap - median) <= NEAR * median for gap in gaps)
        return round(median) if median >= MIN_INTERVAL_NS and near >= NEAR_SHARE * len(gaps) else None


class SeriesBook:
    """The series that were active lately, at most MAX_SERIES."""

    def __init__(self) -> None:
        self._series: OrderedDict[SeriesKey, Series] = OrderedDict()

    def begin(self, key: SeriesKey, now: int) -> Series:
        """A conversation began. Several at once, as browsers open them, count as one."""
        series = self._touch(key)
        if series.starts and not 0 <= now - series.starts[-1] < 2**62:  # the clock was set back
            series.starts.clear()
        if not series.starts or now - series.starts[-1] >= NANOSECONDS:
            series.starts = [*series.starts, now][-STARTS:]
        return series

    def classify(self, key: SeriesKey, size: int) -> Pattern:
        """The pattern of a series in which a conversation, or the last minutes of a long one, came to `size` bytes."""
        series = self._touch(key)
        series.sizes = [*series.sizes, size][-STARTS:]
        if size >= TRANSFER_BYTES:
            return "transfer"
        regular = series.interval_ns(FEW_INTERVALS) is not None or _even(series.sizes)
        return "heartbeat" if regular and size <= HEARTBEAT_BYTES else "irregular"

    def _touch(self, key: SeriesKey) -> Series:
        series = self._series.pop(key, None)
        if series is None:
            series = Series()
            if len(self._series) >= MAX_SERIES:
                self._series.popitem(last=False)
        self._series[key] = series
        return series

    def __len__(self) -> int:
        return len(self._series)


def _even(sizes: list[int]) -> bool:
    """Whether conversations are all of about one size, as the five-minute parts of a connection that is kept alive."""
    if len(sizes) < FEW_INTERVALS:
        return False
    median = statistics.median(sizes)
    return sum(abs(size - median) <= NEAR * median for size in sizes) >= NEAR_SHARE * len(sizes)
