"""What is deleted when, and that it is said when Loki never had it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netvane.common import event_retention, event_rows
from netvane.common.clock import NANOSECONDS, SystemClock
from netvane.common.event_file import open_database
from netvane.common.event_inbox import Limits
from netvane.common.event_retention import DAY, Deleted
from netvane.common.event_schema import BULK, KINDS, Kind
from netvane.common.sqlite_file import transaction
from tests.eventkit import SAMPLES, dns, eventually, found, running_store, verdict

NOW = 1_767_225_600 * NANOSECONDS


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "events.db")) as connection:
        yield connection


def insert(connection: sqlite3.Connection, kind: Kind, times: range | list[int], body: str = "{}") -> None:
    with transaction(connection, durable=False):
        connection.executemany(
            "INSERT INTO events (ts, event, body) VALUES (?, ?, ?)", [(ts, kind, body) for ts in times]
        )


def left(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    return connection.execute("SELECT event, ts FROM events ORDER BY event, ts").fetchall()


def drain(connection: sqlite3.Connection, sink: str | None = None) -> Deleted:
    """All chunks of `expire` added up."""
    rows = unshipped = 0
    while (deleted := event_retention.expire(connection, NOW, sink)).rows:
        assert deleted.rows <= event_retention.CHUNK_ROWS
        rows, unshipped = rows + deleted.rows, unshipped + deleted.unshipped
    return Deleted(rows, unshipped)


def test_age(database: sqlite3.Connection) -> None:
    expected = []
    for kind in KINDS:
        days = 31 if kind in BULK else 400
        limit = NOW - days * DAY
        insert(database, kind, [limit - 1, limit, NOW, NOW + DAY])
        expected += [(kind, limit), (kind, NOW), (kind, NOW + DAY)]
    assert drain(database) == Deleted(len(KINDS), 0)
    assert left(database) == sorted(expected)


def test_age_goes_in_chunks_and_counts_what_was_not_shipped(database: sqlite3.Connection) -> None:
    insert(database, "dns", range(1300))
    with transaction(database, durable=True):
        database.execute("INSERT INTO cursors VALUES ('loki', 1000)")
    assert drain(database, "loki") == Deleted(1300, 300)
    insert(database, "dns", range(700))
    assert drain(database, "a sink that never had anything") == Deleted(700, 700)


def used_bytes(connection: sqlite3.Connection) -> int:
    page_size, pages, free = event_retention._pages(connection)
    return page_size * (pages - free)


def shrink_to(connection: sqlite3.Connection, max_bytes: int) -> int:
    rows = 0
    while (deleted := event_retention.shrink(connection, max_bytes, None)).rows:
        rows += deleted.rows
    while event_retention.give_back(connection, max_bytes):
        pass
    return rows


def test_size_takes_the_oldest_bulk_first_and_gives_the_room_back(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_retention, "CHUNK_ROWS", 500)
    body = "x" * 1000
    insert(database, "verdict", range(1500), body)
    insert(database, "flow", range(2000, 4000), body)
    insert(database, "dns", range(1000, 3000), body)
    before = event_retention.file_bytes(database)
    assert shrink_to(database, before // 2) > 0
    assert used_bytes(database) <= before // 2
    assert event_retention.file_bytes(database) <= before // 2
    kinds = {kind: [ts for event, ts in left(database) if event == kind] for kind in ("verdict", "flow", "dns")}
    assert len(kinds["verdict"]) == 1500
    assert kinds["flow"][-1] == 3999
    # the two bulk kinds were worn down together, oldest first, to within a chunk of each other
    assert abs(kinds["flow"][0] - (kinds["dns"][0] if kinds["dns"] else 3000)) <= event_retention.CHUNK_ROWS

    # and the precious ones go only when no bulk is left
    assert shrink_to(database, before // 5) > 0
    rest = left(database)
    assert {kind for kind, _ in rest} == {"verdict"}
    assert 0 < len(rest) < 1500


def test_bulk_without_an_index_goes_before_what_is_precious(database: sqlite3.Connection) -> None:
    body = "x" * 1000
    insert(database, "verdict", range(100), body)
    with transaction(database, durable=False):
        event_rows.insert(database, [(1000 + n, n, "dns", None, None, body) for n in range(1000)])
    assert shrink_to(database, 400_000) == 1000
    assert {kind for kind, _ in left(database)} == {"verdict"}


def test_a_file_within_its_limit_is_left_alone(database: sqlite3.Connection) -> None:
    insert(database, "dns", range(100))
    assert event_retention.shrink(database, 2**31, None) == Deleted()
    assert event_retention.give_back(database, 2**31) is False


def test_the_store_keeps_to_its_size_while_it_is_flooded(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    limit = 2_000_000
    with running_store(path, limits=Limits(batch_seconds=0.0, max_bytes=limit)) as store:
        store.append(verdict("the first"))
        for burst in range(30):
            for number in range(500):
                store.append(dns(f"{burst}-{number}" + "x" * 200))
            assert store.append_confirmed(verdict(f"burst {burst}")).result(20)
        eventually(lambda: store.stats().file_bytes <= limit)
        assert store.stats().deleted["size"] > 0
        assert store.stats().deleted_unshipped == 0  # nobody ships
        assert len(found(store, event="verdict")) == 31
        names = found(store, event="dns")
    assert path.stat().st_size <= limit
    assert names[0].startswith("29-499")
    assert len(names) < 15_000


def test_old_events_go_at_the_start(tmp_path: Path) -> None:
    now = SystemClock().wall_ns()
    with running_store(tmp_path / "events.db") as store:
        for number in range(1200):
            store.append(SAMPLES["flow"], ts=now - 40 * DAY + number)
        store.append(verdict("old"), ts=now - 40 * DAY)
        store.append(dns("new"))
        assert store.append_confirmed(verdict("ancient"), ts=now - 401 * DAY).result(10)
    with running_store(tmp_path / "events.db") as store:
        eventually(lambda: store.stats().deleted["age"] == 1201)
        assert found(store) == ["new", "old"]
