"""The file of an event store: one owner, forward migrations, damage kept aside, a full disk waited out."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netvane.common import event_file
from netvane.common.clock import SystemClock
from netvane.common.event_inbox import Limits
from netvane.common.events import EventStore
from netvane.common.sqlite_file import StoreError, StoreInUseError, StoreTooNewError, set_aside
from tests.clock import FakeClock
from tests.eventkit import CHILD, EAGER, SAMPLES, dns, eventually, found, running_store, verdict


def fill(path: Path, events: int = 2000) -> None:
    with running_store(path) as store:
        for number in range(events):
            store.append(dns(f"n{number}"))
        assert store.append_confirmed(verdict("ok")).result(10)


def schema_of(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name FROM pragma_table_info('events')").fetchall()
    connection.close()
    return {row[0] for row in rows}


def test_schema_and_pragmas(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with running_store(path) as store:
        assert store.append_confirmed(verdict("ok")).result(10)
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA user_version").fetchone() == (2,)
            assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)  # incremental
            indexes = connection.execute(
                "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'events' ORDER BY sql"
            ).fetchall()
        connection.close()
    assert schema_of(path) == {"id", "ts", "event", "mac", "name", "body"}
    assert [row[0].partition("(")[2] for row in indexes] == ["mac, event, ts)", "event, ts)"]


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with running_store(path):
        with pytest.raises(StoreInUseError, match=r"events\.db"):
            EventStore(path, site="home", host="pi", clock=SystemClock())
        program = (
            "import pathlib, sys; from netvane.common.sqlite_file import OwnerLock;OwnerLock(pathlib.Path(sys.argv[1]))"
        )
        other = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env=CHILD,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "StoreInUseError" in other.stderr
    with running_store(path):
        pass


def test_a_newer_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    fill(path, 10)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    before = path.read_bytes()
    for _ in range(2):  # the refusal lets go of the lock
        with pytest.raises(StoreTooNewError, match="version 7"):
            EventStore(path, site="home", host="pi", clock=SystemClock())
    assert path.read_bytes() == before
    assert event_file.kept_aside(path) == (0, 0.0)


def test_migration_forward_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.db"
    fill(path, 10)
    later = (*event_file.MIGRATIONS, ("ALTER TABLE events ADD COLUMN spare TEXT",), ("CREATE TABLE extra (id)",))
    monkeypatch.setattr(event_file, "MIGRATIONS", later)
    with running_store(path) as store:
        assert len(found(store)) == 11
        assert store.append_confirmed(verdict("isp")).result(10)
    assert "spare" in schema_of(path)


def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.db"
    fill(path, 10)
    monkeypatch.setattr(
        event_file, "MIGRATIONS", (*event_file.MIGRATIONS, ("ALTER TABLE events ADD COLUMN spare TEXT", "NONSENSE"))
    )
    with pytest.raises(sqlite3.OperationalError, match="NONSENSE"):
        event_file.open_database(path)
    monkeypatch.undo()
    with running_store(path) as store:
        assert len(found(store)) == 11
    assert "spare" not in schema_of(path)


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database\n" * 1000)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xa5" * 4096 * 20)


def foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (id)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


@pytest.mark.parametrize("damage", [garbage, truncated, overwritten, foreign])
def test_a_damaged_file_is_kept_aside_and_a_new_one_started(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "events.db"
    fill(path)
    damage(path)
    damaged = path.read_bytes()
    for start in range(2):  # the second finds all well, and still says what happened
        with running_store(path, FakeClock()) as store:
            assert store.append_confirmed(verdict(f"start {start}")).result(10)
            assert store.stats().damaged_files == 1
            assert store.stats().last_damage > 0
            assert store.stats().writable
            assert found(store) == [f"start {number}" for number in reversed(range(start + 1))]
    (kept,) = tmp_path.glob("events.db.damaged-*Z")
    assert not store.stats().writable  # closed is closed
    assert kept.name == "events.db.damaged-20260101T000000Z"
    assert kept.read_bytes() == damaged


def test_the_wal_is_kept_beside_the_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    fill(path, 10)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).write_bytes(b"x" * 5000)
    set_aside(path, 0, "a test")
    set_aside(path, 0, "nothing there")
    fill(path, 1)
    set_aside(path, 0, "the same second")
    names = sorted(entry.name for entry in tmp_path.iterdir() if "damaged" in entry.name)
    stem = "events.db.damaged-19700101T000000Z"
    assert names == [stem, stem + "+", stem + "-shm", stem + "-wal"]
    assert event_file.kept_aside(path)[0] == 2


@pytest.mark.parametrize("by", ["reader", "writer"])
def test_damage_at_run_time_is_replaced_too(tmp_path: Path, by: str) -> None:
    path = tmp_path / "events.db"
    with running_store(path) as store:
        for number in range(3000):
            store.append(dns(f"n{number}"))
        assert store.append_confirmed(verdict("ok")).result(10)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        overwritten(path)
        if by == "reader":
            with pytest.raises(sqlite3.DatabaseError):
                found(store)
        # what waits when the damage is found is not lost with the old file
        eventually(lambda: store.append_confirmed(verdict("new")).result(20) and store.generation == 1)
        assert set(found(store)) == {"new"}
        assert store.stats().damaged_files == 1


def test_a_folder_that_is_missing_or_closed(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        EventStore(tmp_path / "nowhere" / "events.db", site="home", host="pi", clock=SystemClock())


def test_a_start_without_a_usable_file_recovers(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.mkdir()  # as good as any reason why a file cannot be opened
    with running_store(path) as store:
        waiting = store.append_confirmed(verdict("patient"))
        assert store.append_confirmed(dns("too")).done() is False
        assert not store.stats().writable
        path.rmdir()
        assert waiting.result(20)
        assert store.stats().writable
        assert sorted(found(store)) == ["patient", "too"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "netvane-test", mount_point], check=True)
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", mount_point], check=True)


def fill_up(disk: Path) -> Path:
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return ballast


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_waited_out(small_disk: Path) -> None:
    path = small_disk / "events.db"
    limits = Limits(batch_seconds=0.0, pending_bytes=100_000)
    with running_store(path, limits=limits) as store:
        assert store.append_confirmed(verdict("before")).result(10)
        ballast = fill_up(small_disk)
        held = [store.append_confirmed(SAMPLES["anomaly"]) for _ in range(60)]
        eventually(lambda: not store.stats().writable)
        for number in range(1000):
            store.append(dns(f"n{number}"))
        assert store.stats().dropped["dns"] > 0
        assert store.stats().pending_bytes <= 200_000
        assert store.stats().write_failures > 0
        store.flush(timeout_seconds=1e6)  # does not wait for a disk that takes nothing
        assert found(store) == ["before"]  # still answers
        ballast.unlink()
        assert all(future.result(30) for future in held)
        eventually(lambda: store.stats().writable and store.stats().pending == 0)


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_start_on_a_full_disk_recovers(small_disk: Path) -> None:
    ballast = fill_up(small_disk)
    with running_store(small_disk / "events.db", limits=EAGER) as store:
        waiting = store.append_confirmed(verdict("patient"))
        eventually(lambda: not store.stats().writable)
        ballast.unlink()
        assert waiting.result(30)
