"""Snapshots between exporters: whole or absent."""

from pathlib import Path

import msgspec
import pytest

from netvane.common import exchange
from tests.clock import FakeClock


class Snapshot(msgspec.Struct, frozen=True):
    router: str


def test_round_trip_and_staleness(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "network.json"
    assert exchange.read(path, Snapshot, 60, clock) is None
    exchange.publish(path, Snapshot("198.51.100.1"), clock)
    assert exchange.read(path, Snapshot, 60, clock) == Snapshot("198.51.100.1")
    clock.advance(61)
    assert exchange.read(path, Snapshot, 60, clock) is None
    clock.step(-3600)
    assert exchange.read(path, Snapshot, 60, clock) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.json"]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version":2,"published":0,"data":{"router":"x"}}', b"[]", b"\xff"])
def test_damaged_or_foreign_is_absent(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "network.json"
    path.write_bytes(damage)
    assert exchange.read(path, Snapshot, 60, FakeClock()) is None


def test_failed_publish_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "network.json"
    target.mkdir()
    with pytest.raises(OSError, match="directory"):
        exchange.publish(target, Snapshot("x"), FakeClock())
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.json"]
