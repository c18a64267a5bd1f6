"""How long events are kept, and what goes first when the file grows past its limit.

Every function deletes one small chunk in a transaction of its own, so that new events never wait long for the writer.
What is not indexed yet is too new to go.
"""

import sqlite3

import msgspec

from netvane.common import event_rows
from netvane.common.clock import NANOSECONDS
from netvane.common.event_file import shipped_up_to
from netvane.common.event_schema import BULK, KINDS, Kind
from netvane.common.sqlite_file import transaction

DAY = 86_400 * NANOSECONDS
BULK_NS = 31 * DAY
PRECIOUS_NS = 400 * DAY
CHUNK_ROWS = 2500  # most pages of the indexes are written again for each chunk, however small
VACUUM_PAGES = 256
# Deleting starts a little below the limit: freed pages inside the file then take new events without it growing.
FULL_SHARE = 0.95


class Deleted(msgspec.Struct, frozen=True):
    """What one chunk took away; `rows` 0 means that nothing is left to do."""

    rows: int = 0
    unshipped: int = 0


def expire(connection: sqlite3.Connection, now_ns: int, sink: str | None) -> Deleted:
    """Delete a chunk of events that are past their time. `sink` is whose cursor tells what was shipped.

    Raises sqlite3.Error.
    """
    for kind in KINDS:
        deleted = _delete(connection, kind, now_ns - (BULK_NS if kind in BULK else PRECIOUS_NS), sink)
        if deleted.rows:
            return deleted
    return Deleted()


def shrink(connection: sqlite3.Connection, max_bytes: int, sink: str | None) -> Deleted:
    """Delete a chunk of the oldest events where the file is too full: bulk first, others only when no bulk is left.

    Raises sqlite3.Error.
    """
    page_size, pages, free = _pages(connection)
    if (pages - free) * page_size > max_bytes * FULL_SHARE:
        oldest = _oldest(connection, BULK)
        if oldest is None and event_rows.oldest_unindexed(connection) is not None:
            event_rows.index(connection)
            oldest = _oldest(connection, BULK)
        oldest = oldest or _oldest(connection, frozenset(KINDS) - BULK)
        if oldest:
            return _delete(connection, oldest, 2**63 - 1, sink)
    return Deleted()


def give_back(connection: sqlite3.Connection, max_bytes: int) -> bool:
    """Return some free pages to the file system where the file is larger than its limit; False when done.

    Pages are moved for this, which wears an SD card: it happens after a limit was lowered, not day by day.
    Raises sqlite3.Error.
    """
    page_size, pages, free = _pages(connection)
    if pages * page_size <= max_bytes or not free:
        return False
    with transaction(connection, durable=False):
        connection.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
    return _pages(connection)[1] < pages


def file_bytes(connection: sqlite3.Connection) -> int:
    """Raises sqlite3.Error."""
    page_size, pages, _ = _pages(connection)
    return page_size * pages


def _pages(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Bytes per page, pages of the file, and how many of them are free."""
    size, count, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return size, count, free


def _oldest(connection: sqlite3.Connection, kinds: frozenset[Kind]) -> Kind | None:
    """The kind among `kinds` that has the oldest event."""
    first: list[tuple[int, Kind]] = []
    for kind in kinds:
        row = connection.execute("SELECT ts FROM events WHERE event = ? ORDER BY ts LIMIT 1", (kind,)).fetchone()
        if row:
            first.append((row[0], kind))
    return min(first)[1] if first else None


def _delete(connection: sqlite3.Connection, kind: Kind, before_ns: int, sink: str | None) -> Deleted:
    with transaction(connection, durable=False):
        rows = connection.execute(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE event = ? AND ts < ? ORDER BY ts LIMIT ?)"
            " RETURNING id",
            (kind, before_ns, CHUNK_ROWS),
        ).fetchall()
        shipped = shipped_up_to(connection, sink) if sink else 2**63
    return Deleted(len(rows), sum(row[0] > shipped for row in rows))
