"""Ships the events of a store to Loki: in order within each stream, at least once, in a thread of its own.

    store -> Outbox (after the cursor) -> batch -> streams -> LokiHttp -> cursor moves

The cursor moves when every line of a batch is settled, so that a crash of either side repeats at most one batch. What
Loki cannot take now is tried again with growing pauses; meanwhile one batch is in memory and the rest in the database.
"""

import contextlib
import http.client
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import wait

import msgspec

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.event_outbox import Batch, Outbox, Row
from netvane.common.events import EventStore
from netvane.common.log import get_logger
from netvane.common.loki_delivery import Tally, deliver
from netvane.common.loki_http import LokiHttp
from netvane.common.loki_wire import Answer, Meaning, encode_push, read_answer
from netvane.common.settings import Loki

log = get_logger("loki")

BATCH_ROWS = 4096
BATCH_BYTES = 2**20  # Loki takes 4 MiB in a push and, by default, 6 MB at once
GRACE_SECONDS = 0.5
RETRY_AFTER_LONGEST_SECONDS = 300.0
# `configuration`: somebody must mend the address, the password or Loki's settings before anything can work.
RETRY_REASONS = ("rate_limited", "server", "network", "timeout", "configuration", "database")


class Backoff(msgspec.Struct, frozen=True):
    """Pauses between attempts, in seconds: `first`, doubled each time up to `longest`, half of it random."""

    first: float = 1.0
    longest: float = 60.0

    def pause(self, failures: int) -> float:
        """The pause after so many failures in a row."""
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, guards nothing


class ShipperStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the start; timestamps in Unix seconds, 0 for never or none."""

    shipped: int
    late: int
    set_aside: dict[str, int]  # by reason
    retries: dict[str, int]  # by reason
    pending: int
    oldest_unshipped: float
    last_success: float
    holding: bool


class _StoppedError(Exception):
    """The shipper was told to stop while it waited."""


class Shipper:
    """`start` and `stop` it once each."""

    def __init__(
        self, store: EventStore, loki: LokiHttp, labels: dict[str, str], clock: Clock, backoff: Backoff | None = None
    ) -> None:
        """`labels`: those that all streams have."""
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._outbox = Outbox(store, "loki", self._wake.set)
        self._loki = loki
        self._labels = labels
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._tally = Tally()
        self._retries: Counter[str] = Counter(dict.fromkeys(RETRY_REASONS, 0))
        self._failures = 0  # in a row
        self._trouble = ""  # the reason of the last failure, until something works
        self._last_success_ns = 0
        self._thread = threading.Thread(target=self._run, name="loki-shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float = 3.0) -> None:
        """Let the push under way end if it does so soon; what was not confirmed is sent again after the next start."""
        self._stop.set()
        self._wake.set()
        self._thread.join(GRACE_SECONDS)
        self._loki.shut()
        self._thread.join(timeout_seconds - GRACE_SECONDS)

    def stats(self) -> ShipperStats:
        return ShipperStats(
            shipped=self._tally.shipped,
            late=self._tally.late,
            set_aside=dict(self._tally.set_aside),
            retries=dict(self._retries),
            pending=self._outbox.pending,
            oldest_unshipped=self._outbox.oldest_ns / NANOSECONDS,
            last_success=self._last_success_ns / NANOSECONDS,
            holding=self._trouble == "configuration",
        )

    def _run(self) -> None:
        with contextlib.suppress(_StoppedError):
            while True:
                self._wake.clear()  # before a look at what it may have been set for
                if self._stop.is_set():
                    break
                batch = self._next_batch()
                if batch is None:
                    self._wake.wait()
                else:
                    self._deliver(batch)
                    self._confirm(batch)
        self._outbox.close()
        self._loki.close()

    def _next_batch(self) -> Batch | None:
        while True:
            try:
                return self._outbox.next_batch(BATCH_ROWS, BATCH_BYTES)
            except sqlite3.Error as error:
                self._pause("database", str(error))

    def _deliver(self, batch: Batch) -> None:
        before = self._tally.set_aside.total()
        deliver(batch.rows, self._push, self._tally)
        if count := self._tally.set_aside.total() - before:
            log.warning("events not taken by Loki; the store keeps them", events=count, answer=self._tally.complaint)

    def _confirm(self, batch: Batch) -> None:
        """Wait until the cursor is committed, however long the disk is full. Raises _StoppedError."""
        done = self._outbox.done(batch)
        done.add_done_callback(lambda _: self._wake.set())
        while not done.done() and not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
        wait([done], GRACE_SECONDS)
        if not done.done() or not done.result():  # told to stop, or the store is closed
            raise _StoppedError

    def _push(self, labels: dict[str, str], rows: Sequence[Row]) -> Answer:
        """Send until there is an answer about the lines themselves. Raises _StoppedError."""
        body = encode_push(self._labels | labels, rows)
        while True:
            if self._stop.is_set():
                raise _StoppedError
            try:
                response = self._loki.push(body)
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                self._pause("timeout" if isinstance(error, TimeoutError) else "network", str(error) or repr(error))
                continue
            answer = read_answer(response.status, response.body)
            text = f"{response.status} {answer.text}"
            if answer.meaning is Meaning.RETRY:
                self._pause("rate_limited" if response.status == 429 else "server", text, response.retry_after_seconds)
            elif answer.meaning is Meaning.HOLD:
                self._pause("configuration", text, self._backoff.longest)
            else:
                if self._failures:
                    log.info("Loki takes events again")
                self._failures, self._trouble = 0, ""
                if answer.meaning is Meaning.ACCEPTED:
                    self._last_success_ns = self._clock.wall_ns()
                return answer

    def _pause(self, reason: str, text: str, at_least_seconds: float = 0.0) -> None:
        """Count and wait. Raises _StoppedError."""
        if reason != self._trouble and not self._stop.is_set():
            log.warning("Loki does not take events; they wait in the store", reason=reason, answer=text)
        self._trouble = reason
        self._retries[reason] += 1
        self._failures += 1
        pause = max(self._backoff.pause(self._failures), min(at_least_seconds, RETRY_AFTER_LONGEST_SECONDS))
        if self._stop.wait(pause):
            raise _StoppedError


def shipper_for(settings: Loki, store: EventStore, *, site: str, host: str, job: str, clock: Clock) -> Shipper | None:
    """A shipper as the configuration has it; None where it names no Loki. Raises ConfigError."""
    if settings.url is None:
        return None
    return Shipper(store, LokiHttp(settings, settings.url, clock), {"site": site, "host": host, "job": job}, clock)
