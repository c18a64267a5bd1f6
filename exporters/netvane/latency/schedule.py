"""When each target is due: every target at its own steady beat, the beats spread over the interval.

Splayed, so that two hundred targets are not two hundred packets in one millisecond: pure, on monotonic nanoseconds.
"""

import heapq
import math

_GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it, modulo 1, stay evenly spread however many targets there are


class Schedule:
    """A heap of (due, name); a target that was removed or given another interval is passed over when it comes up."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._intervals: dict[str, int] = {}
        self._due: dict[str, int] = {}
        self._added = 0

    def set(self, intervals: dict[str, int], now_ns: int) -> None:
        """Take `intervals` (name -> ns). A target that stays with its interval keeps its beat."""
        for name in self._intervals.keys() - intervals.keys():
            del self._due[name]
        for name, interval in intervals.items():
            if self._intervals.get(name) != interval:
                self._added += 1
                self._push(name, now_ns + int(math.modf(self._added * _GOLDEN)[0] * interval))
        self._intervals = dict(intervals)

    def _push(self, name: str, due_ns: int) -> None:
        self._due[name] = due_ns
        heapq.heappush(self._heap, (due_ns, name))

    def next_due(self) -> int | None:
        """When the next target is due; None when there are none."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now_ns: int) -> tuple[str, int] | None:
        """A target that is due and by how many ns it is late; None when none is.

        Beats that were missed altogether (a suspended machine) are left out, not made up for in a burst.
        """
        due = self.next_due()
        if due is None or due > now_ns:
            return None
        name = heapq.heappop(self._heap)[1]
        interval = self._intervals[name]
        missed = (now_ns - due) // interval
        self._push(name, due + (missed + 1) * interval)
        return name, now_ns - due
