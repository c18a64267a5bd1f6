"""The registry, in memory and on the disk: nothing is lost, nothing is silently begun anew."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from netvane.common.event_schema import Device as DeviceEvent
from netvane.common.sqlite_file import StoreInUseError, StoreTooNewError
from netvane.hosts import untold
from netvane.hosts.evidence import Evidence
from netvane.hosts.records import Merge
from netvane.hosts.registry import MAX_ADDRESSES, MAX_MACS, SCANNED_META, Registry, RegistryFullError
from netvane.hosts.registry_file import RegistryFile
from netvane.hosts.registry_rows import give_back, take_unsaved
from tests.clock import FakeClock
from tests.lab.processes import PYTHON_ENV

PI, PHONE, PHONE_NEW = "b8:27:eb:00:00:01", "02:11:11:11:11:11", "06:22:22:22:22:22"


@contextmanager
def owned(path: Path) -> Iterator[RegistryFile]:
    file = RegistryFile(path, FakeClock())
    try:
        yield file
    finally:
        file.close()


def populated() -> Registry:
    registry = Registry()
    registry.add(PI, 10, announced=0)
    registry.add(PHONE, 20, announced=25)
    registry.add(PHONE_NEW, 30, announced=None)
    registry.apply(Evidence(PI, 40, "sweep", network="198.51.100.0/24", address="198.51.100.20"), heard_since=0)
    dhcp = Evidence(PHONE, 50, "dhcp", host_name="phone", client_id="ff00", fingerprint=(1, 3), vendor_class="dhcpcd")
    registry.apply(dhcp, heard_since=0)
    registry.apply(Evidence(PI, 60, "mdns", host_name="pi", services=("_ssh._tcp",)), heard_since=0)
    registry.merge(Merge(PHONE_NEW, PHONE_NEW, PHONE, 70, "observation", "DHCP host name phone"))
    registry.devices[PI].expected = registry.devices[PI].trusted = True
    registry.devices[PI].name = "Pi \"of\" the 'house'"
    registry.touch(PI)
    registry.set_meta("learned 198.51.100.0/24", "80")
    registry.end_round(frozenset())
    return registry


def facts(registry: Registry) -> tuple[object, ...]:
    devices = [(d.id, d.name, d.trusted, d.expected, d.announced, d.presence.run) for d in registry.devices.values()]
    return sorted(map(repr, registry.macs.values())), sorted(devices, key=str), registry.merges, registry.meta


def save(file: RegistryFile, registry: Registry) -> None:
    file.save(take_unsaved(registry)[0])


def test_there_and_back(tmp_path: Path) -> None:
    registry = populated()
    with owned(tmp_path / "registry.db") as file:
        assert file.open().registry.macs == {}
        save(file, registry)
        assert not registry.unsaved
    with owned(tmp_path / "registry.db") as file:
        opened = file.open()
        assert opened.restored is None
        assert facts(opened.registry) == facts(registry)
        opened.registry.forget(PHONE)
        save(file, opened.registry)
    with owned(tmp_path / "registry.db") as file:
        assert set(file.open().registry.macs) == {PI}
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        assert connection.execute("SELECT count(*) FROM merges").fetchone() == (0,)


def test_what_was_changed_while_the_exporter_was_stopped_is_told_once_with_its_time(tmp_path: Path) -> None:
    registry = populated()
    told = [
        DeviceEvent(device=PI, change=change, by="owner", previous=None, current="x") for change in ("name", "notes")
    ]
    with owned(tmp_path / "registry.db") as file:
        file.open()
        untold.keep(registry, told, 1_767_225_600_000_000_000)
        registry.set_meta(untold.UNTOLD_META + "rubbish", "{")
        save(file, registry)
    with owned(tmp_path / "registry.db") as file:
        again = file.open().registry
        assert list(untold.take(again)) == [(1_767_225_600_000_000_000, event) for event in told]
        save(file, again)
    with owned(tmp_path / "registry.db") as file:
        again = file.open().registry
        assert list(untold.take(again)) == []
        assert again.meta == {"learned 198.51.100.0/24": "80"}


def test_forgetting_leaves_nothing_behind() -> None:
    registry = populated()
    registry.set_meta(SCANNED_META + PHONE, "{}")
    registry.forget(PHONE)
    assert not [text for text in facts(registry) if PHONE in str(text)]


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    registry = populated()
    with owned(tmp_path / "registry.db") as file:
        file.open()
        with closing(sqlite3.connect(tmp_path / "registry.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            statements, taken = take_unsaved(registry)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                file.save(statements)
        registry.forget(PI)
        give_back(registry, taken)
        save(file, registry)
    with owned(tmp_path / "registry.db") as file:
        assert facts(file.open().registry) == facts(registry)


def test_one_owner(tmp_path: Path) -> None:
    with owned(tmp_path / "registry.db"), pytest.raises(StoreInUseError):
        RegistryFile(tmp_path / "registry.db", FakeClock())


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with owned(path) as file, pytest.raises(StoreTooNewError, match="version 99, this Netvane knows up to 1"):
        file.open()
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["truncated", "emptied", "overwritten", "table dropped", "rubbish in a row", "gone"])
def test_a_damaged_file_is_kept_and_the_good_copy_takes_its_place(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "registry.db"
    registry = populated()
    with owned(path) as file:
        file.open()
        save(file, registry)
        file.copy()
    break_file(path, damage)
    with owned(path) as file:
        opened = file.open()
        assert opened.restored is not None
        assert facts(opened.registry) == facts(registry)
        registry.set_meta("more", "1")
        save(file, registry)  # and it can be written
    assert len(list(tmp_path.glob("registry.db.damaged-*"))) >= (damage != "gone")


def test_a_damaged_file_without_a_copy_is_kept_too(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"no database at all" * 1000)
    with owned(path) as file:
        opened = file.open()
        assert opened.restored is not None
        assert "begun anew" in opened.restored
    (kept,) = tmp_path.glob("registry.db.damaged-*")
    assert kept.read_bytes().startswith(b"no database")


def break_file(path: Path, damage: str) -> None:
    match damage:
        case "truncated":
            os.truncate(path, path.stat().st_size // 2)
        case "emptied":
            os.truncate(path, 0)
        case "overwritten":
            path.write_bytes(b"\xa5" * path.stat().st_size)
        case "gone":
            path.unlink()
        case "table dropped":
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("DROP TABLE names")
        case _:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("UPDATE macs SET services = '{]'")


SAVER = """
import sys
from pathlib import Path
from netvane.common.clock import SystemClock
from netvane.hosts.registry import Registry
from netvane.hosts.registry_file import RegistryFile
from netvane.hosts.registry_rows import take_unsaved
file = RegistryFile(Path(sys.argv[1]), SystemClock())
registry = file.open().registry
for number in range(len(registry.macs), 100_000):
    mac = f"24:0a:c4:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    registry.add(mac, number + 1, announced=0).name = f"name {number}"
    file.save(take_unsaved(registry)[0])
    print(mac, flush=True)
"""


def test_kill_9_at_any_moment_loses_no_device_and_no_label(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    said: list[str] = []
    dice = random.Random(4)  # noqa: S311 - moments to kill at
    for _ in range(5):
        command = [sys.executable, "-c", SAVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **PYTHON_ENV}) as saver:
            assert saver.stdout is not None
            said += [saver.stdout.readline().strip() for _ in range(dice.randrange(1, 60))]
            saver.send_signal(signal.SIGKILL)
            said += saver.stdout.read().split("\n")[:-1]
        with owned(path) as file:
            opened = file.open()
        assert opened.restored is None
        assert set(said) <= set(opened.registry.macs)
        assert all(device.name for device in opened.registry.devices.values())


def test_rounds_only_count_for_networks_that_were_swept() -> None:
    registry = populated()
    before = registry.devices[PI].presence.run
    registry.end_round(frozenset({"198.51.100.0/24"}))
    assert registry.devices[PI].presence.run == before
    assert registry.devices[PHONE].presence.run == before + 1


def test_a_lease_and_an_old_sighting_do_not_make_present() -> None:
    registry = Registry()
    registry.add(PI, 1, announced=0).presence.heard = False
    registry.apply(Evidence(PI, 500, "lease", host_name="pi"), heard_since=100)
    registry.apply(Evidence(PI, 99, "arp"), heard_since=100)
    assert not registry.devices[PI].presence.heard
    assert registry.macs[PI].last == 99
    registry.apply(Evidence(PI, 100, "arp"), heard_since=100)
    assert registry.devices[PI].presence.heard


def test_bounds() -> None:
    registry = Registry()
    registry.add(PI, 1, announced=0).trusted = True
    for number in range(MAX_MACS + 100):
        registry.add(f"06:00:00:00:{number // 256:02x}:{number % 256:02x}", number + 2, announced=0)
    assert len(registry.macs) == MAX_MACS
    assert registry.evicted == 101
    assert PI in registry.macs
    for number in range(200):
        piece = Evidence(PI, number, "nd", address=f"fd00::{number:x}", services=(f"_{number}._tcp",))
        registry.apply(piece, heard_since=0)
    assert len(registry.macs[PI].addresses) == MAX_ADDRESSES
    assert len(registry.macs[PI].services) == 32
    for device in registry.devices.values():
        device.trusted = True
    with pytest.raises(RegistryFullError):
        registry.add(PHONE, 1, announced=0)


def test_merge_and_split() -> None:
    registry = populated()
    assert [mac.mac for mac in registry.macs_of(PHONE)] == [PHONE, PHONE_NEW]
    assert PHONE_NEW not in registry.devices
    assert registry.are_one(PHONE, PHONE_NEW)
    device = registry.split(PHONE_NEW)
    assert device.id == PHONE_NEW
    assert [mac.mac for mac in registry.macs_of(PHONE)] == [PHONE]
    assert registry.merges == {}
    registry.merge(Merge(PI, PI, PHONE, 90, "owner", "one machine"))
    assert registry.devices[PHONE].expected  # the owner's word goes along
    assert PI not in registry.devices
