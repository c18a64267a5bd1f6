"""The rows of an event database: how they come in, and in which order they are.

Each event belongs to another device than the one before, so that its entry in an index by device changes another page,
and whole pages are what is written. So bulk events are kept as they came, in the table `unindexed`, and moved to
`events` a few thousand at a time: that halves what an SD card has to take. The view `all_events` has both.
"""

import sqlite3
from collections.abc import Iterable

from netvane.common.event_schema import BULK, Kind
from netvane.common.sqlite_file import transaction

INDEX_BYTES = 2_500_000  # of bodies: some 5,000 events, which a search reads in a few milliseconds

Row = tuple[int, int, Kind, str | None, str | None, str]  # id, ts, event, mac, name, body

_INSERT = "INSERT INTO {} (id, ts, event, mac, name, body) VALUES (?, ?, ?, ?, ?, ?)"
_INTO_EVENTS, _INTO_UNINDEXED = _INSERT.format("events"), _INSERT.format("unindexed")


def insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> int:
    """Add rows, within a transaction of the caller's; returns how many bytes of bodies wait for an index more.

    Raises sqlite3.Error.
    """
    bulk: list[Row] = []
    others: list[Row] = []
    for row in rows:
        (bulk if row[2] in BULK else others).append(row)
    connection.executemany(_INTO_UNINDEXED, bulk)
    connection.executemany(_INTO_EVENTS, others)
    return sum(len(row[5]) for row in bulk)


def index(connection: sqlite3.Connection) -> None:
    """Move all that is unindexed. Raises sqlite3.Error."""
    with transaction(connection, durable=False):
        connection.execute(
            "INSERT INTO events (id, ts, event, mac, name, body)"
            " SELECT id, ts, event, mac, name, body FROM unindexed ORDER BY id"
        )
        connection.execute("DELETE FROM unindexed")


def unindexed_bytes(connection: sqlite3.Connection) -> int:
    """Of bodies. Raises sqlite3.Error."""
    row = connection.execute("SELECT coalesce(sum(length(body)), 0) FROM unindexed").fetchone()
    return int(row[0])


def oldest_unindexed(connection: sqlite3.Connection) -> int | None:
    """When it happened, Unix ns; None where all is indexed. Raises sqlite3.Error."""
    oldest: int | None = connection.execute("SELECT min(ts) FROM unindexed").fetchone()[0]
    return oldest


def last_id(connection: sqlite3.Connection) -> int:
    """The id of the newest event there ever was. Raises sqlite3.Error."""
    row = connection.execute(
        "SELECT max((SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'),"
        " (SELECT coalesce(max(id), 0) FROM unindexed))"
    ).fetchone()
    return int(row[0])
