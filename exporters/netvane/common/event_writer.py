"""The thread that owns the writing connection of an event store."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from netvane.common import event_file, event_retention, event_rows
from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.event_inbox import Inbox, Work
from netvane.common.event_schema import KINDS
from netvane.common.log import get_logger
from netvane.common.sqlite_file import OwnerLock, StoreError, StoreTooNewError, is_damage, set_aside, transaction

log = get_logger("events")

EXPIRE_EVERY_NS = 600 * NANOSECONDS
RETRY_FIRST_NS = NANOSECONDS
RETRY_LONGEST_NS = 60 * NANOSECONDS

# Whatever goes wrong with a file is waited out; anything else is a mistake in this module and ends the thread loudly.
TROUBLE = (sqlite3.Error, OSError, StoreError)


class Writer:
    """Commits what the inbox holds, keeps the file within its limits, replaces it when it is damaged."""

    def __init__(self, path: Path, lock: OwnerLock, inbox: Inbox, clock: Clock, max_bytes: int) -> None:
        self.generation = 0  # rises when a damaged file is replaced: row ids begin anew
        self.last_id = 0  # of the newest committed event
        self.follower: tuple[str, Callable[[], None]] | None = None  # a sink, and whom to call after each commit

        self.stored: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self.deleted = Counter(age=0, size=0)
        self.deleted_unshipped = 0
        self.failures = 0
        self.file_bytes = 0
        self.last_commit_ns = 0
        self.kept_aside = event_file.kept_aside(path)

        self._path = path
        self._lock = lock
        self._inbox = inbox
        self._clock = clock
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None
        self._damage: str | None = None
        self._unindexed = 0  # bytes
        self._maintain_at = 0
        self._expire_at = 0
        self._retry_at = 0
        self._retry_pause = RETRY_FIRST_NS
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)

    @property
    def works(self) -> bool:
        """Whether the thread lives and its last attempt to write did not fail."""
        return self._thread.is_alive() and not self._failing

    @property
    def _failing(self) -> bool:
        return self._retry_at > 0

    def start(self) -> None:
        """Open the file and start to write.

        Raises StoreTooNewError. Any other trouble, a full disk say, is no reason for an exporter not to run.
        """
        try:
            self._connected()
        except StoreTooNewError:
            raise
        except TROUBLE as error:
            self._failed(error)
        self._thread.start()

    def join(self, timeout_seconds: float) -> bool:
        """Whether the thread ended in that time; the inbox must be closed first."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def report(self, error: sqlite3.Error, generation: int) -> None:
        """What a reader of the file of that generation ran into."""
        if is_damage(error) and generation == self.generation:
            self._damage = str(error)
            self._inbox.poke()

    def _run(self) -> None:
        closed = False
        while not closed:
            closed = self._inbox.wait(self._maintain_at, self._retry_at)
            self._write(self._inbox.take())
            if not closed and not self._failing:
                self._maintain()
        lost = self._inbox.take()
        if lost.events:
            log.error("events lost: they could not be written before the end", events=len(lost.events))
        self._inbox.settle(lost, stored=False)
        self._disconnect()
        self._lock.release()

    def _write(self, work: Work) -> None:
        try:
            if self._damage:
                self._replace(self._damage)
            connection = self._connected()
            if work.events or work.cursor:
                self._commit(connection, work)
        except TROUBLE as error:
            self._inbox.give_back(work)
            self._failed(error)
            return
        if self._failing:
            log.info("events are written again")
            self._retry_at, self._retry_pause = 0, RETRY_FIRST_NS
        if work.events:  # before anybody is told, who might look
            self.stored.update(item.kind for item in work.events)
            self.last_commit_ns = self._clock.wall_ns()
            self._maintain_at = 0
        self._inbox.settle(work, stored=True)
        if work.events and (follower := self.follower):
            follower[1]()

    def _commit(self, connection: sqlite3.Connection, work: Work) -> None:
        first = self.last_id + 1
        # A cursor alone need not reach the platter: after a power cut one batch too many is sent again.
        with transaction(connection, durable=bool(work.events)):
            waiting = event_rows.insert(connection, ((first + n, *each.row) for n, each in enumerate(work.events)))
            if work.cursor and work.cursor.generation == self.generation:
                connection.execute(
                    "INSERT INTO cursors (sink, id) VALUES (?, ?) ON CONFLICT (sink) DO UPDATE SET id = excluded.id",
                    (work.cursor.sink, work.cursor.row_id),
                )
        self.last_id += len(work.events)
        self._unindexed += waiting

    def _maintain(self) -> None:
        """Index what waits for it; delete one chunk of what is too old or too much, and come again at once while there
        is more.
        """
        now = self._clock.monotonic_ns()
        more = False
        sink = self.follower[0] if self.follower else None
        try:
            connection = self._connected()
            if self._unindexed >= event_rows.INDEX_BYTES:
                self._index(connection)
            if now >= self._expire_at:
                oldest = event_rows.oldest_unindexed(connection)
                if oldest is not None and oldest < self._clock.wall_ns() - event_retention.DAY:
                    self._index(connection)
                expired = event_retention.expire(connection, self._clock.wall_ns(), sink)
                self._count("age", expired)
                more = expired.rows > 0
                self._expire_at = now if more else now + EXPIRE_EVERY_NS
                self.kept_aside = event_file.kept_aside(self._path)
            shrunk = event_retention.shrink(connection, self._max_bytes, sink)
            self._count("size", shrunk)
            more |= shrunk.rows > 0 or event_retention.give_back(connection, self._max_bytes)
            self.file_bytes = event_retention.file_bytes(connection)
        except TROUBLE as error:
            log.warning("events cannot be indexed, or old ones deleted", file=self._path, error=error)
            self._note(error)
            self._maintain_at = now + RETRY_LONGEST_NS
        else:
            self._maintain_at = now if more else self._expire_at

    def _index(self, connection: sqlite3.Connection) -> None:
        event_rows.index(connection)
        self._unindexed = 0

    def _count(self, reason: str, deleted: event_retention.Deleted) -> None:
        self.deleted[reason] += deleted.rows
        if deleted.unshipped:
            if not self.deleted_unshipped:
                log.error("events deleted before they were shipped", reason=reason, events=deleted.unshipped)
            self.deleted_unshipped += deleted.unshipped

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = event_file.open_or_replace(self._path, self._clock.wall_ns())
            self.kept_aside = event_file.kept_aside(self._path)
            self.last_id = event_rows.last_id(self._connection)
            self._unindexed = event_rows.unindexed_bytes(self._connection)
            self.file_bytes = event_retention.file_bytes(self._connection)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _replace(self, reason: str) -> None:
        self._disconnect()
        set_aside(self._path, self._clock.wall_ns(), reason)
        self._damage = None
        self.generation += 1

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            log.error("events cannot be written; they wait in memory", file=self._path, error=error)
        self._note(error)
        self._retry_at = self._clock.monotonic_ns() + self._retry_pause
        self._retry_pause = min(2 * self._retry_pause, RETRY_LONGEST_NS)

    def _note(self, error: Exception) -> None:
        self.failures += 1
        if isinstance(error, sqlite3.Error) and is_damage(error):
            self._damage = str(error)
