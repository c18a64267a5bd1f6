"""Lease files on a real disk: what belongs together is read together, and the kernel tells of changes."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.dhcp import lease_file, pools
from netvane.dhcp.inotify import Inotify
from tests.leases import KEA4, SERVERS, kea4, leases

ONE, TWO, THREE = leases(3)


def test_keas_older_files_are_read_before_the_current_one(tmp_path: Path) -> None:
    path = tmp_path / "kea-leases4.csv"
    renewed = kea4(ONE).replace("host-0", "renewed")
    path.write_text(KEA4 + renewed)
    path.with_name("kea-leases4.csv.1").write_text(KEA4 + kea4(TWO))
    path.with_name("kea-leases4.csv.2").write_text(KEA4 + kea4(ONE) + kea4(THREE) + "damaged\n")
    read = lease_file.read(path, None)
    assert set(read.leases) == {ONE.address, TWO.address, THREE.address}
    assert read.leases[ONE.address].host_name == "renewed"
    assert [(file.name, damage.line) for file, damage in read.damage] == [("kea-leases4.csv.2", 4)]
    assert read.states == lease_file.look(path, "kea4")
    path.with_name("kea-leases4.csv.completed").write_text(KEA4 + kea4(THREE))
    assert set(lease_file.read(path, "kea4").leases) == {ONE.address, THREE.address}


def test_copies_beside_another_servers_file_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "dnsmasq.leases"
    path.write_bytes(SERVERS[0].file([ONE]))
    path.with_name("dnsmasq.leases.1").write_bytes(SERVERS[0].file([TWO]))
    assert set(lease_file.read(path, None).leases) == {ONE.address}


def test_an_empty_file_keeps_its_format_and_a_foreign_one_loses_it(tmp_path: Path) -> None:
    path = tmp_path / "leases"
    path.touch()
    assert lease_file.read(path, "isc").lease_format == "isc"
    assert lease_file.read(path, None).lease_format is None
    path.write_text("something else\n")
    read = lease_file.read(path, "isc")
    assert (read.lease_format, read.leases, len(read.damage)) == (None, {}, 1)


def test_a_file_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "leases"
    with path.open("wb") as file:
        file.truncate(lease_file.MAX_BYTES + 1)
    with pytest.raises(OSError, match="too large"):
        lease_file.read(path, None)


def test_growth_is_told_from_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "leases"
    path.write_text("one\n")
    before = lease_file.look(path, "isc")
    with path.open("a") as file:
        file.write("two\n")
    assert lease_file.is_growth(before, lease_file.look(path, "isc"))
    path.write_text("")
    assert not lease_file.is_growth(before, lease_file.look(path, "isc"))
    other = tmp_path / "other"
    other.write_text("one\ntwo\n")
    other.replace(path)
    assert not lease_file.is_growth(before, lease_file.look(path, "isc"))


def test_the_kernel_tells_of_every_kind_of_change(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "leases"
    inotify = Inotify()
    try:
        assert inotify.watch({folder, tmp_path / "absent"}) == {tmp_path / "absent"}
        path.write_text("one")
        assert set(inotify.changed()) == {path}
        with path.open("a") as file:
            file.write("two")
            file.flush()
            assert set(inotify.changed()) == {path}
        assert set(inotify.changed()) == {path}, "closed"
        path.chmod(0o600)
        assert set(inotify.changed()) == {path}
        other = folder / "other"
        path.rename(other)
        assert set(inotify.changed()) == {path, other}
        other.unlink()
        folder.rmdir()
        assert folder in set(inotify.changed())
        folder.mkdir()
        assert inotify.watch({folder}) == set()
        path.touch()
        assert set(inotify.changed()) == {path}
        assert inotify.watch(set()) == set()
        path.touch()
        assert path not in set(inotify.changed())
        assert os.fstat(inotify.fileno())
    finally:
        inotify.close()


@given(st.text(max_size=300), st.booleans())
def test_rubbish_has_no_pools(text: str, like_kea: bool) -> None:
    assert all(pool.size > 0 for pool in pools.from_configuration(('{"Dhcp4": ' if like_kea else "dhcp-range=") + text))
