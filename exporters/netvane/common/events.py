"""The durable event store of one exporter: append from any thread without waiting, search, lose nothing precious.

Precious kinds are committed at once with synchronous=FULL, bulk kinds at least every `Limits.batch_seconds`, which is
all that kill -9 may lose. A full disk or a damaged file is counted, said and tried again; what is pending waits in
memory within its bound.

    append -> Inbox -> Writer (a thread, the only one that writes) -> SQLite -> search, Outbox
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec

from netvane.common import event_file
from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.event_inbox import CursorMove, Inbox, Limits, Pending, uncancellable_future
from netvane.common.event_schema import MAX_BODY_BYTES, Encoder, Event, Kind, kind_of
from netvane.common.event_search import Query, search
from netvane.common.event_writer import Writer
from netvane.common.log import get_logger
from netvane.common.sqlite_file import OwnerLock, StoreError

log = get_logger("events")

FLUSH_SECONDS = 2.0

# An event, the MAC and the name of its device, and when it happened (Unix ns; None: now).
Entry = tuple[Event, str | None, str | None, int | None]


def event_file_of(data_dir: Path, exporter: str) -> Path:
    """Where an exporter keeps its events."""
    return data_dir / exporter / "events.db"


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the store was opened; timestamps in Unix seconds, 0 for never."""

    stored: dict[str, int]  # by kind
    refused: dict[str, int]  # by reason
    dropped: dict[str, int]  # by kind
    deleted: dict[str, int]  # by reason
    deleted_unshipped: int
    write_failures: int
    writable: bool
    pending: int
    pending_bytes: int
    file_bytes: int
    max_bytes: int
    last_commit: float
    damaged_files: int
    last_damage: float


class EventStore:
    """Safe to use from every thread; all but `search` and `close` return at once."""

    def __init__(self, path: Path, *, site: str, host: str, clock: Clock, limits: Limits | None = None) -> None:
        """Become the owner of the database at `path` (made if absent; its folder must be there) and start to write.

        Raises StoreInUseError, StoreTooNewError, or StoreError where not even the lock's file can be made.
        """
        self.path = path
        self._clock = clock
        self._limits = limits or Limits()
        self._encoder = Encoder(site, host)
        self._inbox = Inbox(clock, self._limits)
        self._refused = Counter(invalid=0, too_large=0)
        self._counting = threading.Lock()
        self._closing = threading.Event()
        lock = OwnerLock(path)
        self._writer = Writer(path, lock, self._inbox, clock, self._limits.max_bytes)
        try:
            self._writer.start()
        except StoreError:
            lock.release()
            raise

    @property
    def generation(self) -> int:
        """Rises when a damaged database is replaced: the new one's row ids begin anew."""
        return self._writer.generation

    @property
    def last_id(self) -> int:
        """The row id of the newest committed event."""
        return self._writer.last_id

    def append(
        self, event: Event, *, mac: str | None = None, device_name: str | None = None, ts: int | None = None
    ) -> None:
        """Store `event`, which happened at `ts` (Unix ns; now if not given). Never waits, never raises."""
        self.append_all([(event, mac, device_name, ts)])

    def append_all(self, entries: Iterable[Entry], *, waited: float = 0.0) -> None:
        """The same for many at once, which `waited` (seconds) elsewhere: they wait that much less here."""
        pending = [self._pending(*entry, None) for entry in entries]
        self._put([item for item in pending if item is not None], waited)

    def append_confirmed(
        self, event: Event, *, mac: str | None = None, device_name: str | None = None, ts: int | None = None
    ) -> Future[bool]:
        """The same; the future is True once the event is on the disk, False where it was refused or dropped."""
        confirmation = uncancellable_future()
        item = self._pending(event, mac, device_name, ts, confirmation)
        if item is None:
            confirmation.set_result(False)
        else:
            self._put([item], 0.0)
        return confirmation

    def search(self, query: Query) -> Iterator[str]:
        """Bodies, newest first. Reads the disk: a thread's business.

        Raises sqlite3.Error; "interrupted" is what a long search ends with when the store is closed.
        """
        generation = self.generation
        try:
            connection = event_file.reading_connection(self.path)
            connection.set_progress_handler(self._closing.is_set, 10_000)
            try:
                yield from search(connection, query)
            finally:
                connection.close()
        except sqlite3.Error as error:
            self.report(error, generation)
            raise

    def flush(self, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Wait until what was appended before is committed, so that a search finds it; not for a disk that takes
        nothing. A thread's business.
        """
        if self._writer.works:
            self._inbox.flush(timeout_seconds)

    def report(self, error: sqlite3.Error, generation: int) -> None:
        """What a reader of the database of that generation ran into; where it means damage, a new one is started."""
        self._writer.report(error, generation)

    def follow(self, sink: str, committed: Callable[[], None]) -> None:
        """Call `committed`, in the writer's thread, after each commit; count what is deleted before `sink` had it.

        There is one follower: a second takes the place of the first.
        """
        self._writer.follower = (sink, committed)

    def unfollow(self, committed: Callable[[], None]) -> None:
        """Take back `follow`, unless somebody else follows by now."""
        if self._writer.follower and self._writer.follower[1] == committed:
            self._writer.follower = None

    def move_cursor(self, sink: str, row_id: int, generation: int) -> Future[bool]:
        """Note that `sink` has everything up to `row_id`; False where the store closed first.

        An id of a database that was replaced meanwhile is ignored.
        """
        move = CursorMove(sink, row_id, generation, uncancellable_future())
        self._inbox.put_cursor(move)
        return move.done

    def stats(self) -> StoreStats:
        writer = self._writer
        pending, pending_bytes = self._inbox.load()
        return StoreStats(
            stored=dict(writer.stored),
            refused=dict(self._refused),
            dropped=dict(self._inbox.dropped),
            deleted=dict(writer.deleted),
            deleted_unshipped=writer.deleted_unshipped,
            write_failures=writer.failures,
            writable=writer.works,
            pending=pending,
            pending_bytes=pending_bytes,
            file_bytes=writer.file_bytes,
            max_bytes=self._limits.max_bytes,
            last_commit=writer.last_commit_ns / NANOSECONDS,
            damaged_files=writer.kept_aside[0],
            last_damage=writer.kept_aside[1],
        )

    def close(self, timeout_seconds: float = 3.0) -> None:
        """Write what is pending and let go of the file; what a broken disk does not take in that time is lost."""
        self._closing.set()
        self._inbox.close()
        if not self._writer.join(timeout_seconds):
            log.error("event store did not close in time", pending=self._inbox.load()[0])

    def _pending(
        self, event: Event, mac: str | None, device_name: str | None, ts: int | None, confirmation: Future[bool] | None
    ) -> Pending | None:
        """None where it is refused."""
        kind = kind_of(event)
        when = self._clock.wall_ns() if ts is None else ts
        mac = mac and mac.lower()
        try:
            body = self._encoder.encode(event, when, mac, device_name)
        except (ValueError, TypeError) as error:
            self._refuse(kind, "invalid", str(error))
            return None
        if len(body) > MAX_BODY_BYTES:
            self._refuse(kind, "too_large", f"{len(body)} bytes")
            return None
        return Pending(kind, (when, kind, mac, device_name, body.decode()), confirmation)

    def _refuse(self, kind: Kind, reason: str, detail: str) -> None:
        with self._counting:
            self._refused[reason] += 1
        log.warning("event refused", event=kind, reason=reason, detail=detail)

    def _put(self, items: list[Pending], waited: float) -> None:
        for item in self._inbox.put(items, waited):
            item.resolve(stored=False)
