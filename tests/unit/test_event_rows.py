"""Bulk events without an index, until there are some thousand: nobody who reads can tell."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netvane.common import event_file, event_rows
from netvane.common.clock import NANOSECONDS
from netvane.common.event_inbox import Limits
from netvane.common.event_outbox import Outbox
from netvane.common.event_retention import DAY
from netvane.common.event_schema import Kind
from netvane.common.event_search import Query, search
from netvane.common.sqlite_file import migrate, transaction
from tests.clock import FakeClock
from tests.eventkit import EAGER, MAC, dns, eventually, found, running_store, verdict

OTHER = "24:0a:c4:00:00:02"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(event_file.open_database(tmp_path / "events.db")) as connection:
        yield connection


def rows(first: int, count: int) -> list[event_rows.Row]:
    kinds: tuple[Kind, ...] = ("dns", "verdict", "flow")
    return [
        (n, 1000 + n // 2, kinds[n % 3], MAC if n % 2 else OTHER, None, f"body {n}")
        for n in range(first, first + count)
    ]


def insert(connection: sqlite3.Connection, items: list[event_rows.Row]) -> int:
    with transaction(connection, durable=False):
        return event_rows.insert(connection, items)


def count(connection: sqlite3.Connection, table: str) -> int:
    number: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
    return number


def test_only_bulk_waits_for_its_index(database: sqlite3.Connection) -> None:
    waiting = insert(database, rows(1, 30))
    assert (count(database, "events"), count(database, "unindexed")) == (10, 20)
    assert waiting == event_rows.unindexed_bytes(database) > 0
    assert event_rows.oldest_unindexed(database) == 1001
    assert event_rows.last_id(database) == 30
    event_rows.index(database)
    assert (count(database, "events"), count(database, "unindexed")) == (30, 0)
    assert event_rows.unindexed_bytes(database) == 0
    assert event_rows.oldest_unindexed(database) is None
    assert event_rows.last_id(database) == 30


@pytest.mark.parametrize("query", [Query(), Query(mac=MAC), Query(event="dns", since=1005, until=1030), Query(limit=7)])
def test_a_search_finds_the_same_before_and_after(database: sqlite3.Connection, query: Query) -> None:
    insert(database, rows(1, 40))
    event_rows.index(database)
    insert(database, rows(41, 40))
    before = list(search(database, query))
    assert before
    event_rows.index(database)
    assert list(search(database, query)) == before


def test_a_search_that_began_before_the_index_misses_nothing_and_has_nothing_twice(
    database: sqlite3.Connection,
) -> None:
    insert(database, [(n, n, "dns", None, None, str(n)) for n in range(1, 1201)])  # three pages of the search
    reading = search(database, Query())
    first = [next(reading) for _ in range(10)]
    event_rows.index(database)
    assert first + list(reading) == [str(n) for n in range(1200, 0, -1)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ts, id FROM all_events WHERE event = 'dns' AND mac = 'x' AND ts < 9 ORDER BY ts DESC, id DESC LIMIT 5",
        "SELECT ts FROM all_events WHERE event = 'dns' ORDER BY ts LIMIT 1",
        "SELECT body FROM all_events WHERE id = 1",
        "SELECT id, ts, event, body FROM all_events WHERE id > 1 ORDER BY id LIMIT 5",
        "SELECT ts, body FROM all_events WHERE mac = 'x' AND event = 'dns' AND ts >= 5 AND ts < 9 ORDER BY ts DESC",
    ],
)
def test_the_view_does_not_cost_the_index(database: sqlite3.Connection, sql: str) -> None:
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert any(line.startswith("SEARCH events USING") for line in plan)
    assert not any(line.startswith("SCAN events") for line in plan)


def test_a_file_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as connection:
        migrate(connection, path, event_file.MIGRATIONS[:1])
        with connection:
            now = FakeClock().wall_ns()
            connection.execute("INSERT INTO events (ts, event, body) VALUES (?, 'dns', '{\"qname\": \"old\"}')", [now])
    with running_store(path, FakeClock(), EAGER) as store:
        assert store.last_id == 1
        assert store.append_confirmed(dns("new")).result(10)
        assert store.last_id == 2
        assert sorted(found(store)) == ["new", "old"]


def test_the_store_indexes_when_enough_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_rows, "INDEX_BYTES", 20_000)
    path = tmp_path / "events.db"
    with running_store(path, limits=EAGER) as store, closing(sqlite3.connect(path)) as looking:
        for number in range(500):
            store.append(dns(f"n{number}"))
            if number % 10 == 9:
                store.flush()
                assert event_rows.unindexed_bytes(looking) < 40_000
        eventually(lambda: count(looking, "events") > 300)
        assert found(store) == [f"n{number}" for number in reversed(range(500))]
        assert store.last_id == 500


def test_what_has_waited_for_a_day_is_indexed(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    clock = FakeClock()
    with running_store(path, clock, EAGER) as store:
        assert store.append_confirmed(dns("yesterday"), ts=clock.wall_ns() - DAY - NANOSECONDS).result(10)
    with closing(sqlite3.connect(path)) as looking:
        if not count(looking, "events"):  # else the first store did it after its commit
            with running_store(path, clock, EAGER):
                eventually(lambda: count(looking, "events") == 1)
        assert count(looking, "unindexed") == 0


def test_a_sink_has_all_in_order_whatever_is_indexed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_rows, "INDEX_BYTES", 5_000)
    with running_store(tmp_path / "events.db", limits=Limits(batch_seconds=0.01)) as store:
        outbox = Outbox(store, "loki", lambda: None)
        sent: list[int] = []
        for number in range(300):
            store.append(verdict("ok") if number % 7 == 0 else dns(f"n{number}"))
            if number % 20 == 19:
                store.flush()
                while batch := outbox.next_batch(15, 10**6):
                    sent += [row.id for row in batch.rows]
                    assert outbox.done(batch).result(10)
        assert sent == list(range(1, 301))
        outbox.close()
