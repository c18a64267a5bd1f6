"""The archive of devices: what is recorded is found again, whatever happened to the file."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from netvane.common.sqlite_file import StoreError, StoreInUseError, StoreTooNewError
from netvane.dhcp.archive import Archive, Recorded
from netvane.dhcp.lease import Lease
from netvane.dhcp.servers import Server
from tests.clock import FakeClock
from tests.leases import leases

ONE, TWO = leases(2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.db"


def opened(path: Path) -> closing[Archive]:
    return closing(Archive(path, FakeClock()))


def record(archive: Archive, *found: Lease, at: int, ended: tuple[str, ...] = (), source: str = "/leases") -> None:
    archive.record([Recorded(source, found, ended, at)])


def test_a_device_keeps_every_name_and_address(path: Path) -> None:
    moved = msgspec.structs.replace(ONE, address="10.9.9.9", host_name="freezer", fingerprint=(1, 3, 6))
    with opened(path) as archive:
        record(archive, ONE, TWO, at=100)
        record(archive, moved, ended=(ONE.address,), at=200)
        record(archive, msgspec.structs.replace(ONE, vendor_class="udhcp"), at=300, source="passive")
    with opened(path) as archive:
        first, second = archive.devices()
        assert (first.mac, first.first, first.last, first.vendor_class) == (ONE.mac, 100, 300, "udhcp")
        assert first.fingerprint == (1, 3, 6)
        assert [(name.name, name.first, name.last) for name in first.names] == [
            ("host-0", 100, 300),
            ("freezer", 200, 200),
        ]
        assert [(entry.address, entry.source, entry.first, entry.last, entry.held) for entry in first.addresses] == [
            (ONE.address, "passive", 300, 300, True),
            (ONE.address, "/leases", 100, 200, False),
            ("10.9.9.9", "/leases", 200, 200, True),
        ]
        assert list(archive.devices(TWO.mac)) == [second]
        assert archive.count() == 2


def test_the_last_word_of_a_source_is_there_at_the_next_start(path: Path) -> None:
    with opened(path) as archive:
        assert archive.held("/leases") is None
        record(archive, at=100)
        assert archive.held("/leases") == {}
        record(archive, ONE, TWO, at=100)
        record(archive, ended=(TWO.address,), at=200)
    with opened(path) as archive:
        assert archive.held("/leases") == {ONE.address: ONE}


def test_an_address_given_to_another_is_held_by_that_one_only(path: Path) -> None:
    with opened(path) as archive:
        record(archive, ONE, at=100)
        record(archive, msgspec.structs.replace(TWO, address=ONE.address), at=200)
        first, second = archive.devices()
        assert [entry.held for entry in first.addresses] == [False]
        assert [entry.held for entry in second.addresses] == [True]


def test_a_device_without_a_mac_address_goes_by_its_client_id(path: Path) -> None:
    with opened(path) as archive:
        record(archive, Lease("fd00::1", None, client_id="0002"), Lease("fd00::2", None), at=100)
        (device,) = archive.devices()
        assert (device.holder, device.mac) == ("id:0002", None)


def test_many_devices_come_page_by_page(path: Path) -> None:
    with opened(path) as archive:
        record(archive, *leases(501), at=100)
        macs = [device.mac for device in archive.devices()]
    assert macs == [lease.mac for lease in leases(501)]


def test_learned_servers_stay(path: Path) -> None:
    server = Server("198.51.100.1", "c0:25:06:1a:2b:01")
    with opened(path) as archive:
        archive.learn_servers([server])
    with opened(path) as archive:
        assert archive.learned_servers() == {server}


def test_one_owner_a_newer_file_and_a_folder_that_is_not_there(path: Path) -> None:
    with opened(path), pytest.raises(StoreInUseError):
        Archive(path, FakeClock())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreTooNewError, match="99"):
        Archive(path, FakeClock())
    with pytest.raises(StoreError):
        Archive(path.parent / "absent" / "archive.db", FakeClock())


def test_a_damaged_file_is_kept_aside(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look like one" * 100)
    with opened(path) as archive:
        record(archive, ONE, at=100)
        assert archive.count() == 1
    assert len(list(path.parent.glob("archive.db.damaged-*"))) == 1
