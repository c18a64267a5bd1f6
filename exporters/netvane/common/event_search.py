"""Search of an event database, newest first, page by page: memory stays small and no read transaction stays open."""

import heapq
import sqlite3
from collections.abc import Iterator
from typing import Annotated

import msgspec

from netvane.common.event_schema import KINDS, Kind

PAGE_ROWS = 500
END_OF_TIME = 2**63 - 1


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to look for; `since` (inclusive) and `until` (exclusive) are Unix nanoseconds."""

    since: Annotated[int, msgspec.Meta(ge=0, le=END_OF_TIME)] = 0
    until: Annotated[int, msgspec.Meta(ge=0, le=END_OF_TIME)] = END_OF_TIME
    event: Kind | None = None
    mac: str | None = None
    name: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


def search(connection: sqlite3.Connection, query: Query) -> Iterator[str]:
    """The bodies of the events that match, newest first. Raises sqlite3.Error while it is read.

    Both indexes begin with a kind (after the MAC, if one is asked for), so each kind is read in the order of its
    index and the kinds are merged. What has no index yet is little, and sorted for each page.
    """
    kinds = KINDS if query.event is None else (query.event,)
    found = 0
    for _, row_id in heapq.merge(*(_keys(connection, query, kind) for kind in kinds), reverse=True):
        row = connection.execute("SELECT body FROM all_events WHERE id = ?", (row_id,)).fetchone()
        if row is None:  # deleted by the retention since its page was read
            continue
        yield row[0]
        found += 1
        if found == query.limit:
            return


def _keys(connection: sqlite3.Connection, query: Query, kind: Kind) -> Iterator[tuple[int, int]]:
    """(ts, id) of the events of one kind that match, newest first."""
    conditions = "event = ? AND ts >= ?"
    values: list[str | int] = [kind, query.since]
    if query.mac is not None:
        conditions += " AND mac = ?"
        values.append(query.mac.lower())
    if query.name is not None:
        conditions += " AND name = ?"
        values.append(query.name)
    last = (query.until, -1)
    while True:
        page = connection.execute(
            f"SELECT ts, id FROM all_events WHERE {conditions} AND ts <= ? AND (ts, id) < (?, ?)"  # noqa: S608 - no input in it
            " ORDER BY ts DESC, id DESC LIMIT ?",
            (*values, last[0], *last, PAGE_ROWS),
        ).fetchall()
        yield from page
        if len(page) < PAGE_ROWS:
            return
        last = page[-1]
