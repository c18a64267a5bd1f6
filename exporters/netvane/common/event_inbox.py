"""What waits to be written: a bounded list between those who append events and the one thread that writes them."""

import threading
from collections import Counter
from concurrent.futures import Future
from typing import NamedTuple

import msgspec

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.event_schema import BULK, KINDS, Kind

ROW_OVERHEAD_BYTES = 500  # what a waiting event costs beside its body


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a store: bytes on the disk, seconds that a bulk event may wait, bytes of events that wait in memory."""

    max_bytes: int = 2_000_000_000
    batch_seconds: float = 4.0  # leaves a second of the promised five for the write itself
    batch_bytes: int = 2 * 2**20
    pending_bytes: int = 16 * 2**20  # for bulk events; precious ones find as much again


class Pending(NamedTuple):
    """An event on its way to the disk; the row is (ts, event, mac, name, body)."""

    kind: Kind
    row: tuple[int, Kind, str | None, str | None, str]
    confirmation: Future[bool] | None

    @property
    def size(self) -> int:
        return len(self.row[4]) + ROW_OVERHEAD_BYTES

    def resolve(self, stored: bool) -> None:
        if self.confirmation:
            self.confirmation.set_result(stored)


class CursorMove(NamedTuple):
    """A sink has every event up to `row_id` of the database of that generation."""

    sink: str
    row_id: int
    generation: int
    done: Future[bool]


class Work(NamedTuple):
    events: list[Pending]
    cursor: CursorMove | None


def uncancellable_future() -> Future[bool]:
    """For somebody to wait on: that they give up must not stop a write."""
    future: Future[bool] = Future()
    future.set_running_or_notify_cancel()
    return future


class Inbox:
    """Safe to use from every thread."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self.dropped: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        lock = threading.Lock()
        self._changed = threading.Condition(lock)  # something for the writer
        self._settled = threading.Condition(lock)  # something for those who flush
        self._events: list[Pending] = []
        self._put_count = self._settled_count = 0  # events
        self._bytes = 0  # of the waiting events and of those taken and not yet settled
        self._cursor: CursorMove | None = None
        self._due: int | None = None
        self._closed = False

    def put(self, items: list[Pending], waited: float = 0.0) -> list[Pending]:
        """Take `items`, which `waited` (seconds) before they came here; returns those that found no room.

        Precious events are due at once and find room where bulk ones no longer do.
        """
        refused = []
        wait = self._limits.batch_seconds - waited
        with self._changed:
            for item in items:
                bulk, size = item.kind in BULK, item.size
                if self._closed or self._bytes + size > self._limits.pending_bytes * (1 if bulk else 2):
                    self.dropped[item.kind] += 1
                    refused.append(item)
                    continue
                self._events.append(item)
                self._put_count += 1
                self._bytes += size
                if not bulk or self._bytes >= self._limits.batch_bytes:
                    wait = 0.0
            if len(refused) < len(items):
                self._due_in(max(wait, 0.0))
        return refused

    def put_cursor(self, move: CursorMove) -> None:
        """Only the newest counts; one that was still waiting is answered with False."""
        with self._changed:
            replaced, self._cursor = (move, None) if self._closed else (self._cursor, move)
            self._due_in(0)
        if replaced:
            replaced.done.set_result(False)

    def poke(self) -> None:
        """Make the writer look around."""
        with self._changed:
            self._due_in(0)

    def flush(self, timeout_seconds: float) -> None:
        """Make everything due that waits, and wait until it is settled, or for that long."""
        with self._changed:
            count = self._put_count
            if self._settled_count < count:
                self._due_in(0)
            self._settled.wait_for(lambda: self._settled_count >= count, timeout_seconds)

    def close(self) -> None:
        """Take no more; the writer is woken for the last time."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def wait(self, until_ns: int, not_before_ns: int) -> bool:
        """Wait (monotonic time) for due work or `until_ns`, but never less than `not_before_ns`; True once closed."""
        with self._changed:
            while not self._closed:
                due = until_ns if self._due is None else min(until_ns, self._due)
                remaining = max(due, not_before_ns) - self._clock.monotonic_ns()
                if remaining <= 0:
                    break
                self._changed.wait(remaining / NANOSECONDS)
            return self._closed

    def take(self) -> Work:
        """Everything that waits. It must be settled or given back."""
        with self._changed:
            work = Work(self._events, self._cursor)
            self._events, self._cursor, self._due = [], None, None
            return work

    def give_back(self, work: Work) -> None:
        """What could not be written goes in front of what came meanwhile."""
        with self._changed:
            self._events = work.events + self._events
            self._cursor = self._cursor or work.cursor
            self._due_in(0)

    def settle(self, work: Work, *, stored: bool) -> None:
        """Free the room of `work` and tell those who wait for it what became of it."""
        size = sum(item.size for item in work.events)
        with self._changed:
            self._bytes -= size
            if not stored:
                self.dropped.update(item.kind for item in work.events)
            self._settled_count += len(work.events)
            self._settled.notify_all()
        for item in work.events:
            item.resolve(stored)
        if work.cursor:
            work.cursor.done.set_result(stored)

    def load(self) -> tuple[int, int]:
        """Events and bytes that wait."""
        with self._changed:
            return len(self._events), self._bytes

    def _due_in(self, seconds: float) -> None:
        due = self._clock.monotonic_ns() + int(seconds * NANOSECONDS)
        if self._due is None or due < self._due:
            self._due = due
            self._changed.notify()
