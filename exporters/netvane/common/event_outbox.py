"""What a sink has not had yet: events after its cursor, in the order in which they were committed."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from netvane.common.event_file import reading_connection, shipped_up_to
from netvane.common.event_schema import Kind
from netvane.common.events import EventStore


class Row(NamedTuple):
    """A committed event; `ts` in Unix nanoseconds, `body` its JSON."""

    id: int
    ts: int
    kind: Kind
    body: str


class Batch(NamedTuple):
    rows: list[Row]
    generation: int


class Outbox:
    """Used by the one thread that ships; `pending` and `oldest_ns` by others too."""

    def __init__(self, store: EventStore, sink: str, committed: Callable[[], None]) -> None:
        """`committed` is called in the store's own thread whenever there is something new."""
        self.oldest_ns = 0  # when the oldest unshipped event happened; 0 where there is none
        self._store = store
        self._sink = sink
        self._committed = committed
        self._connection: sqlite3.Connection | None = None
        self._generation = -1
        self._done_id = 0
        store.follow(sink, committed)

    @property
    def pending(self) -> int:
        """How many events are committed and not shipped; too high where the retention deleted some of them."""
        return max(0, self._store.last_id - self._done_id)

    def next_batch(self, max_rows: int, max_bytes: int) -> Batch | None:
        """The oldest unshipped events: at most `max_rows`, and bodies of `max_bytes` unless the first alone is larger.

        None where there is none. Raises sqlite3.Error.
        """
        newest = self._store.last_id
        try:
            connection = self._connected()
            done = shipped_up_to(connection, self._sink)
            rows = self._read(connection, done, max_rows, max_bytes)
        except sqlite3.Error as error:
            self._store.report(error, self._generation)
            self._disconnect()
            raise
        # Whoever finds nothing pending finds no oldest either.
        self.oldest_ns = rows[0].ts if rows else 0
        self._done_id = done if rows else max(done, newest)  # whatever lies between was deleted
        if not rows:
            return None
        return Batch(rows, self._generation)

    def done(self, batch: Batch) -> Future[bool]:
        """Everything in `batch` arrived; the next one must wait for this, or a crash would send two batches again."""
        return self._store.move_cursor(self._sink, batch.rows[-1].id, batch.generation)

    def close(self) -> None:
        self._store.unfollow(self._committed)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        generation = self._store.generation
        if self._connection is not None and generation != self._generation:
            self._disconnect()
        if self._connection is None:
            self._generation = generation
            self._connection = reading_connection(self._store.path)
        return self._connection

    def _read(self, connection: sqlite3.Connection, done: int, max_rows: int, max_bytes: int) -> list[Row]:
        cursor = connection.execute(
            "SELECT id, ts, event, body FROM all_events WHERE id > ? ORDER BY id LIMIT ?", (done, max_rows)
        )
        rows: list[Row] = []
        size = 0
        try:
            for record in cursor:
                size += len(record[3])
                if rows and size > max_bytes:
                    break
                rows.append(Row(*record))
        finally:
            cursor.close()  # ends the read transaction, which would keep the WAL from being reset
        return rows
