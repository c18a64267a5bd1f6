"""`netvane leases` on the archive of an exporter that is stopped."""

import csv
import json
from contextlib import closing
from pathlib import Path

import pytest

from netvane.dhcp import leases_command
from netvane.dhcp.archive import Archive, Recorded, archive_file
from tests.clock import FakeClock
from tests.leases import leases

ONE, TWO = leases(2)


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    path = archive_file(tmp_path)
    path.parent.mkdir()
    with closing(Archive(path, FakeClock())) as archive:
        archive.record([Recorded("/leases", (ONE, TWO), (), 1_763_000_000)])
        archive.record([Recorded("/leases", (), (TWO.address,), 1_763_100_000)])
    return ["--storage.data-dir", str(tmp_path), "--storage.run-dir", str(tmp_path)]


def test_list(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert leases_command.main(["list", *places]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["DEVICE", "ADDRESS", "NAME"]
    assert first.split()[:3] == ["b8:27:eb:00:00:00", "10.0.0.0", "host-0"]
    assert second.split()[:3] == ["b8:27:eb:00:00:01", "(10.0.0.1)", "host-1"]


def test_history(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert leases_command.main(["history", "B8-27-EB-00-00-01", *places]) == 0
    told = capsys.readouterr().out
    assert "client id: 01b827eb000001" in told
    assert "name host-1   2025-11-13T02:13Z to 2025-11-13T02:13Z" in told
    assert "address 10.0.0.1   2025-11-13T02:13Z to 2025-11-14T06:00Z   from /leases" in told
    assert leases_command.main(["history", "b8:27:eb:00:00:00", *places]) == 0
    assert "to now, lease until 2025-11-21T04:40Z" in capsys.readouterr().out


def test_export(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert leases_command.main(["export", *places]) == 0
    devices = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [device["mac"] for device in devices] == [ONE.mac, TWO.mac]
    assert leases_command.main(["export", "--format", "csv", *places]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["address"], row["held"], row["host_names"]) for row in rows] == [
        ("10.0.0.0", "1", "host-0"),
        ("10.0.0.1", "0", "host-1"),
    ]


def test_what_cannot_be_answered(places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leases_command.main(["history", "b8:27:eb:00:00:99", *places]) == 1
    assert "never held a lease" in capsys.readouterr().err
    assert (
        leases_command.main(["list", "--storage.data-dir", str(tmp_path / "x"), "--storage.run-dir", str(tmp_path)])
        == 1
    )
    assert "not running" in capsys.readouterr().err
    assert leases_command.main(["history", "fridge", *places]) == 2
    assert leases_command.main([]) == 2
