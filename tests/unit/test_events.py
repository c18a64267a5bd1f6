"""The event store: what goes in comes out, in time and within bounds."""

import asyncio
import json
import sqlite3
import threading
from pathlib import Path

import pytest

from netvane.common.clock import NANOSECONDS
from netvane.common.event_inbox import Limits
from netvane.common.event_schema import KINDS, MAX_BODY_BYTES, Anomaly, Event, Kind
from netvane.common.event_search import Query
from tests.clock import FakeClock
from tests.eventkit import MAC, SAMPLES, dns, eventually, found, running_store, verdict


def test_envelope_and_fields(tmp_path: Path) -> None:
    clock = FakeClock()
    with running_store(tmp_path / "events.db", clock) as store:
        assert store.append_confirmed(verdict("router"), mac=MAC.upper(), device_name="Küche").result(10)
        (body,) = store.search(Query())
    assert json.loads(body) == {
        "v": 1,
        "ts": "2026-01-01T00:00:00.000000000Z",
        "event": "verdict",
        "site": "home",
        "host": "pi",
        "mac": MAC,
        "device_name": "Küche",
        "verdict": "router",
        "previous": None,
        "evidence": {},
        "path": None,
        "path_error": None,
    }


def test_search_by_time_kind_device_and_limit(tmp_path: Path) -> None:
    with running_store(tmp_path / "events.db") as store:
        for second in range(1200):  # more than a page of the search
            store.append(dns(f"n{second}"), mac=MAC if second % 2 else None, ts=second * NANOSECONDS)
        store.append(verdict("isp"), ts=600 * NANOSECONDS, device_name="router")
        assert store.append_confirmed(verdict("ok"), mac=MAC, ts=601 * NANOSECONDS).result(10)
        newest_first = [f"n{second}" for second in reversed(range(1200))]

        assert found(store, event="dns") == newest_first
        assert found(store)[597:602] == ["n602", "ok", "n601", "isp", "n600"]
        assert found(store, event="dns", mac=MAC.upper()) == newest_first[::2]
        assert found(store, since=600 * NANOSECONDS, until=601 * NANOSECONDS) == ["isp", "n600"]
        assert found(store, name="router") == ["isp"]
        assert found(store, limit=3) == newest_first[:3]
        assert found(store, mac="00:00:00:00:00:00") == []


def test_events_of_the_same_instant_are_all_found(tmp_path: Path) -> None:
    with running_store(tmp_path / "events.db") as store:
        for number in range(1500):
            store.append(dns(f"n{number}"), ts=5)
        assert store.append_confirmed(verdict("ok"), ts=5).result(10)
        assert found(store) == ["ok"] + [f"n{number}" for number in reversed(range(1500))]


def test_bulk_waits_and_precious_does_not(tmp_path: Path) -> None:
    with running_store(tmp_path / "events.db", limits=Limits(batch_seconds=3600)) as store:
        store.append(dns("waits"))
        assert found(store) == []
        assert store.stats().pending == 1
        # a precious one takes along what waits before it
        assert store.append_confirmed(verdict("ok")).result(10)
        assert found(store) == ["ok", "waits"]
        waiting = store.append_confirmed(dns("closing writes me"))
        assert not waiting.done()
    assert waiting.result(0)


def test_a_flush_waits_for_what_was_appended_and_for_no_more(tmp_path: Path) -> None:
    with running_store(tmp_path / "events.db", limits=Limits(batch_seconds=3600)) as store:
        store.flush()  # of nothing
        for turn in range(3):
            store.append(dns(f"n{turn}"))
            store.flush()
            assert found(store)[0] == f"n{turn}"
        assert store.stats().pending == 0
    store.flush()  # of a store that is closed


def test_bulk_is_written_when_its_time_has_come(tmp_path: Path) -> None:
    with running_store(tmp_path / "events.db", limits=Limits(batch_seconds=0.2)) as store:
        assert store.append_confirmed(dns("soon")).result(10)


def test_bulk_is_written_when_there_is_much_of_it(tmp_path: Path) -> None:
    limits = Limits(batch_seconds=3600, batch_bytes=20_000)
    with running_store(tmp_path / "events.db", limits=limits) as store:
        first = store.append_confirmed(dns("first"))
        for number in range(40):
            store.append(dns(f"n{number}"))
        assert first.result(10)


def test_order_of_commit_is_order_of_append(tmp_path: Path) -> None:
    with running_store(tmp_path / "events.db") as store:
        for number in range(300):
            store.append(verdict(f"n{number}") if number % 3 else dns(f"n{number}"), ts=7)
        assert store.append_confirmed(verdict("last"), ts=7).result(10)
        bodies = [json.loads(body) for body in store.search(Query())]
    names = [body.get("qname") or body["verdict"] for body in reversed(bodies)]
    assert names == [f"n{number}" for number in range(300)] + ["last"]


@pytest.mark.parametrize(
    ("event", "keywords", "reason"),
    [
        (Anomaly(anomaly="x", evidence={}, detail="y" * MAX_BODY_BYTES), {}, "too_large"),
        (verdict("\ud800"), {}, "invalid"),
        (verdict("ok"), {"device_name": "\udfff"}, "invalid"),
        (verdict("ok"), {"ts": -1}, "invalid"),
        (verdict("ok"), {"ts": 2**63}, "invalid"),
        (verdict(object()), {}, "invalid"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_stored_is_counted(
    tmp_path: Path, event: Event, keywords: dict[str, object], reason: str
) -> None:
    with running_store(tmp_path / "events.db") as store:
        assert store.append_confirmed(event, **keywords).result(0) is False  # type: ignore[arg-type]
        store.append(event, **keywords)  # type: ignore[arg-type]
        assert store.append_confirmed(verdict("ok")).result(10)
        assert found(store) == ["ok"]
        assert store.stats().refused == {"invalid": 0, "too_large": 0, reason: 2}


def test_the_largest_event_is_stored(tmp_path: Path) -> None:
    def anomaly(characters: int) -> Anomaly:
        return Anomaly(anomaly="x", evidence={}, detail="y" * characters)

    with running_store(tmp_path / "events.db") as store:
        assert store.append_confirmed(anomaly(0)).result(10)
        (body,) = store.search(Query())
        assert store.append_confirmed(anomaly(MAX_BODY_BYTES - len(body))).result(10)
        assert len(next(store.search(Query(limit=1)))) == MAX_BODY_BYTES


def test_memory_for_waiting_events_is_bounded(tmp_path: Path) -> None:
    limits = Limits(batch_seconds=3600, batch_bytes=2**30, pending_bytes=50_000)
    with running_store(tmp_path / "events.db", limits=limits) as store:
        for number in range(500):
            store.append(dns(f"n{number}"))
        stats = store.stats()
        assert stats.pending_bytes <= 50_000
        assert 50 < stats.pending < 500
        assert stats.dropped["dns"] == 500 - stats.pending
        assert store.append_confirmed(dns("too many")).result(0) is False
        # bulk never takes the room of what is precious
        assert store.append_confirmed(verdict("ok")).result(10)
        assert store.stats().pending_bytes == 0


def test_after_close_everything_is_dropped_and_said(tmp_path: Path) -> None:
    with running_store(tmp_path / "events.db") as store:
        pass
    store.append(dns("late"))
    assert store.append_confirmed(verdict("late")).result(0) is False
    assert store.stats().dropped == {**dict.fromkeys(KINDS, 0), "dns": 1, "verdict": 1}


def test_append_from_many_threads(tmp_path: Path) -> None:
    def work(thread: int) -> None:
        for number in range(500):
            store.append(dns(f"{thread}/{number}"))

    with running_store(tmp_path / "events.db") as store:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.append_confirmed(verdict("ok")).result(10)
        assert store.stats().stored["dns"] == 4000
        assert sorted(found(store, event="dns")) == sorted(f"{t}/{n}" for t in range(8) for n in range(500))


def test_a_waiter_that_gives_up_does_not_stop_the_write(tmp_path: Path) -> None:
    async def give_up() -> None:
        future = asyncio.wrap_future(store.append_confirmed(dns("patient")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)

    with running_store(tmp_path / "events.db", limits=Limits(batch_seconds=3600)) as store:
        asyncio.run(give_up())
        assert store.append_confirmed(verdict("ok")).result(10)
        assert found(store) == ["ok", "patient"]


def test_closing_ends_a_long_search(tmp_path: Path) -> None:
    with running_store(tmp_path / "events.db") as store:
        for number in range(5000):
            store.append(dns(f"n{number}"))
        assert store.append_confirmed(verdict("ok"), device_name="pi").result(10)
        rows = store.search(Query(event="dns", name="nobody"))
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        next(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_stored_and_counted(tmp_path: Path, kind: Kind) -> None:
    with running_store(tmp_path / "events.db") as store:
        assert store.append_confirmed(SAMPLES[kind]).result(10)
        eventually(lambda: store.stats().stored[kind] == 1)
        assert found(store, event=kind) != []
