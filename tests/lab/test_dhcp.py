"""The dhcp exporter beside real DHCP servers and clients."""

import json
import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import dhcp
from tests.lab.dhcp import Wire
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.processes import NETVANE, run
from tests.lab.rack import Rack
from tests.lab.wait import eventually
from tests.leases import SERVERS
from tests.leases import leases as made_leases

pytestmark = pytest.mark.lab

LEASES = "netvane_dhcp_leases"
READABLE = "netvane_dhcp_lease_file_readable"
FIRST_MAC = "b8:27:eb:0a:00:01"


@pytest.fixture
def wire(rack: Rack) -> Wire:
    return dhcp.lay_wire(rack)


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    folder.mkdir()
    return folder / "dhcp.leases"


def running(wire: Wire, tmp_path: Path, **settings: Any) -> AbstractContextManager[RunningExporter]:
    return running_exporter("dhcp", wire.server, tmp_path, {"dhcp": {"server_check": False, **settings}})


def events(exporter: RunningExporter, kind: str = "lease") -> list[dict[str, Any]]:
    """Oldest first."""
    places = ["--storage.data-dir", str(exporter.directory / "data"), "--storage.run-dir", str(exporter.directory)]
    command = [*NETVANE, "events", "--exporter", "dhcp", "--event", kind, "--format", "json"]
    done = run([*command, *places])
    return [json.loads(line) for line in reversed(done.stdout.splitlines())]


def changes(exporter: RunningExporter) -> list[tuple[str, str]]:
    return [(event["change"], event["mac"]) for event in events(exporter)]


def devices(exporter: RunningExporter) -> list[dict[str, Any]]:
    places = ["--storage.data-dir", str(exporter.directory / "data"), "--storage.run-dir", str(exporter.directory)]
    command = [*NETVANE, "leases", "export"]
    done = run([*command, *places])
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_dnsmasq_lease_renewal_under_another_name_and_release(wire: Wire, leases: Path, tmp_path: Path) -> None:
    dhcp.dnsmasq(wire, leases)
    with running(
        wire, tmp_path, lease_files=[str(leases)], server_configurations=[str(leases.with_suffix(".conf"))]
    ) as exporter:
        eventually(lambda: exporter.value(READABLE) == 1, what="an empty file read")
        first = wire.client(0, "fridge")
        eventually(lambda: exporter.value(LEASES, state="active") == 1, what="the lease")
        first.stop()
        second = wire.client(0, "freezer", release=True)
        eventually(lambda: len(changes(exporter)) == 2, what="the other name")
        second.stop()
        eventually(lambda: exporter.value(LEASES, state="active") == 0, what="the release")
        wire.client(1, "tv")
        eventually(lambda: exporter.value("netvane_dhcp_devices_seen") == 2, what="the archive")
        assert exporter.value("netvane_dhcp_parse_errors_total") == 0
        assert exporter.value("netvane_dhcp_pool_addresses") == 50
        assert exporter.value("netvane_dhcp_pool_used_addresses") == 1
        second_mac = FIRST_MAC.replace(":01", ":02")
        assert changes(exporter) == [
            ("new", FIRST_MAC),
            ("renewed", FIRST_MAC),
            ("released", FIRST_MAC),
            ("new", second_mac),
        ]
        fridge, tv = devices(exporter)
        assert [name["name"] for name in fridge["names"]] == ["freezer", "fridge"]
        assert (fridge["addresses"][0]["held"], tv["mac"], tv["addresses"][0]["held"]) == (False, second_mac, True)


@pytest.mark.parametrize("server", ["kea", "isc"])
def test_a_lease_is_renewed_and_expires(wire: Wire, leases: Path, tmp_path: Path, server: str) -> None:
    (dhcp.kea if server == "kea" else dhcp.isc)(wire, leases, lifetime=6)
    with running(wire, tmp_path, lease_files=[str(leases)], expiry_per_lease=True) as exporter:
        eventually(lambda: exporter.value(READABLE) == 1, what="an empty file read")
        client = wire.client(0, "fridge")
        eventually(lambda: exporter.value(LEASES, state="active", server=server) == 1, what="the lease")
        end = exporter.value("netvane_dhcp_lease_expiry_timestamp_seconds")

        def is_renewed() -> bool:
            client.signal(signal.SIGUSR1)
            return exporter.value("netvane_dhcp_lease_expiry_timestamp_seconds") > end

        eventually(is_renewed, what="a renewal")
        assert changes(exporter) == [("new", FIRST_MAC)]
        client.stop()
        eventually(lambda: len(changes(exporter)) == 2, within=30, what="the end")
        assert changes(exporter) == [("new", FIRST_MAC), ("expired", FIRST_MAC)]
        assert exporter.value("netvane_dhcp_parse_errors_total") == 0
        (device,) = devices(exporter)
        assert (device["mac"], device["names"][0]["name"]) == (FIRST_MAC, "fridge")


@pytest.mark.parametrize("server", ["kea", "isc"])
def test_a_lease_is_released(wire: Wire, leases: Path, tmp_path: Path, server: str) -> None:
    (dhcp.kea if server == "kea" else dhcp.isc)(wire, leases, lifetime=600)
    with running(wire, tmp_path, lease_files=[str(leases)]) as exporter:
        eventually(lambda: exporter.value(READABLE) == 1, what="an empty file read")
        client = wire.client(0, "fridge", release=True)
        eventually(lambda: exporter.value(LEASES, state="active", server=server) == 1, what="the lease")
        client.stop()
        eventually(lambda: exporter.value(LEASES, state="active", server=server) == 0, what="the release")
        eventually(lambda: changes(exporter) == [("new", FIRST_MAC), ("released", FIRST_MAC)], what="both events")


@pytest.mark.parametrize("server", ["kea", "isc", "dnsmasq"])
def test_dhcpv6_leases(wire: Wire, leases: Path, tmp_path: Path, server: str) -> None:
    if server == "dnsmasq":
        dhcp.dnsmasq(wire, leases, f"dhcp-range={dhcp.POOL6[0]},{dhcp.POOL6[1]},64,10m", "enable-ra")
    else:
        (dhcp.kea if server == "kea" else dhcp.isc)(wire, leases, lifetime=600, version=6)
    with running(wire, tmp_path, lease_files=[str(leases)]) as exporter:
        wire.client6(0)
        eventually(lambda: exporter.value(LEASES, state="active", server=server) == 1, what="the lease")
        assert exporter.value("netvane_dhcp_parse_errors_total") == 0, leases.read_text()
        eventually(lambda: len(devices(exporter)) == 1, what="the archive")
        (device,) = devices(exporter)
        assert device["mac"] == FIRST_MAC
        assert device["addresses"][0]["address"].startswith("fd00:51::")


LINE = "{} b8:27:eb:00:00:{:02x} 198.51.100.{} host-{} *\n"
FAR = 1_900_000_000


def lines(*numbers: int) -> str:
    return "".join(LINE.format(FAR, number, number, number) for number in numbers)


def published(snapshot: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(snapshot.read_text())["data"]
    return data


def active(exporter: RunningExporter) -> float:
    return exporter.value(LEASES, state="active")


def test_a_file_replaced_rotated_truncated_and_damaged(wire: Wire, leases: Path, tmp_path: Path) -> None:
    leases.write_text(lines(1, 2, 3))
    with running(wire, tmp_path, lease_files=[str(leases)]) as exporter:
        eventually(lambda: active(exporter) == 3, what="the first look")
        other = leases.with_name("new")
        other.write_text(lines(1, 2, 3, 4))
        other.replace(leases)
        eventually(lambda: active(exporter) == 4, what="a file renamed over it")
        leases.rename(leases.with_name("old"))
        leases.write_text(lines(1, 2, 3, 4, 5))
        eventually(lambda: active(exporter) == 5, what="a file rotated away")
        with leases.open("r+") as file:
            file.truncate(0)
            file.write(lines(1, 2, 3, 4, 5, 6))
        eventually(lambda: active(exporter) == 6, what="a file written anew in place")
        with leases.open("a") as file:
            file.write("half a li")
            file.flush()
            eventually(lambda: exporter.value("netvane_dhcp_lease_file_reads_total", result="unsettled") > 0)
            assert exporter.value("netvane_dhcp_parse_errors_total") == 0
            file.write("ne\n" + lines(7))
        eventually(lambda: active(exporter) == 7, what="the rest of the line, and a good one")
        assert exporter.value("netvane_dhcp_damaged_record", file=str(leases), line="7") == 1
        assert exporter.value("netvane_dhcp_parse_errors_total", file=str(leases)) == 1
        assert "line=7" in exporter.process.output()
        leases.write_text("")
        eventually(lambda: active(exporter) == 0, what="a file that stays empty")
        assert {change for change, _ in changes(exporter)} == {"new", "released"}


def test_a_file_taken_away_and_a_folder_that_comes_later(wire: Wire, leases: Path, tmp_path: Path) -> None:
    later = tmp_path / "later" / "dhcp.leases"
    leases.write_text(lines(1, 2))
    with running(wire, tmp_path, lease_files=[str(leases), str(later)]) as exporter:
        eventually(lambda: exporter.value(READABLE, file=str(leases)) == 1, what="the file")
        eventually(
            lambda: f"{later}: No such file" in wire.server.http(exporter.url + "/").text, what="the other named"
        )
        leases.unlink()
        eventually(lambda: exporter.value(READABLE, file=str(leases)) == 0, what="the loss noticed")
        assert active(exporter) == 2
        eventually(lambda: not published(tmp_path / "leases.json")["complete"], what="the snapshot")
        leases.write_text(lines(1, 2, 3))
        later.parent.mkdir()
        later.write_text(lines(8))
        eventually(lambda: active(exporter) == 4, within=20, what="both files")
        eventually(lambda: changes(exporter) == [("new", "b8:27:eb:00:00:03")], what="only the news")


def test_a_file_that_may_not_be_read(wire: Wire, leases: Path, tmp_path: Path) -> None:
    leases.write_text(lines(1))
    os.chown(leases, 65534, 65534)
    leases.chmod(0o600)
    settings = {"dhcp": {"server_check": False, "lease_files": [str(leases)]}}
    bounded = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    with running_exporter("dhcp", wire.server, tmp_path, settings, through=bounded) as exporter:
        eventually(lambda: "Permission denied" in wire.server.http(exporter.url + "/").text, what="the reason")
        assert exporter.value(READABLE, file=str(leases)) == 0
        leases.chmod(0o644)
        eventually(lambda: exporter.value(READABLE, file=str(leases)) == 1, within=20, what="readable again")


def test_restarts_tell_what_changed_meanwhile_and_nothing_else(wire: Wire, leases: Path, tmp_path: Path) -> None:
    leases.write_text(lines(1, 2))
    with running(wire, tmp_path, lease_files=[str(leases)]) as exporter:
        eventually(lambda: len(devices(exporter)) == 2, what="the archive")
    leases.write_text(lines(2, 3))
    with running(wire, tmp_path, lease_files=[str(leases)]) as exporter:
        eventually(lambda: len(changes(exporter)) == 2, what="the news")
        assert changes(exporter) == [("released", "b8:27:eb:00:00:01"), ("new", "b8:27:eb:00:00:03")]
        assert len(devices(exporter)) == 3
    assert len(devices(exporter)) == 3, "from its file when the exporter is stopped"


def test_a_hundred_thousand_leases(wire: Wire, leases: Path, tmp_path: Path) -> None:
    leases.write_bytes(SERVERS[0].file(list(made_leases(100_000, first_end=FAR))))
    with running(wire, tmp_path, lease_files=[str(leases)], expiry_per_lease=True) as exporter:
        eventually(lambda: active(exporter) == 100_000, within=30, what="all of them")
        assert len(exporter.samples("netvane_dhcp_lease_expiry_timestamp_seconds")) == 1_000
        eventually(lambda: exporter.value("netvane_dhcp_devices_seen") == 100_000, within=60, what="the archive")
        snapshot = tmp_path / "leases.json"
        eventually(lambda: snapshot.exists() and len(published(snapshot)["leases"]) == 20_000, what="the snapshot")
        assert not published(snapshot)["complete"]


def test_without_a_lease_file_leases_are_overheard(wire: Wire, tmp_path: Path) -> None:
    watcher = wire.clients[1]
    watcher.ip("addr add 198.51.100.10/24 dev eth0")
    dhcp.dnsmasq(wire, tmp_path / "dnsmasq.leases")
    settings = {"network": {"interface": "eth0"}, "dhcp": {"server_check": False}}
    with dhcp.raw(watcher, wire.rack, tmp_path), running_exporter("dhcp", watcher, tmp_path, settings) as exporter:
        eventually(lambda: "lease files off: none found" in exporter.process.output(), what="the line")
        wire.client(0, "fridge")
        eventually(lambda: exporter.value(LEASES, server="passive", state="active") == 1, what="the lease")
        eventually(lambda: len(devices(exporter)) == 1, what="the archive")
        (device,) = devices(exporter)
        assert (device["mac"], device["vendor_class"]) == (FIRST_MAC, "lab-client")
        assert device["addresses"][0]["source"] == "passive"
        assert device["fingerprint"][:3] == [1, 3, 6]
        assert not published(tmp_path / "leases.json")["complete"]


def test_what_was_overheard_is_remembered_over_a_restart(wire: Wire, tmp_path: Path) -> None:
    watcher = wire.clients[1]
    watcher.ip("addr add 198.51.100.10/24 dev eth0")
    dhcp.dnsmasq(wire, tmp_path / "dnsmasq.leases")
    settings = {"network": {"interface": "eth0"}, "dhcp": {"server_check": False}}
    with running_exporter("dhcp", watcher, tmp_path, settings) as exporter:
        with dhcp.raw(watcher, wire.rack, tmp_path):
            wire.client(0, "fridge")
            eventually(lambda: exporter.value(LEASES, server="passive", state="active") == 1, what="the lease")
        eventually(lambda: changes(exporter) == [("new", FIRST_MAC)], what="the event")
    with running_exporter("dhcp", watcher, tmp_path, settings) as exporter:
        eventually(lambda: exporter.value(LEASES, server="passive", state="active") == 1, what="the same lease")
        assert changes(exporter) == [("new", FIRST_MAC)]


def test_reload_reads_other_files_from_then_on(wire: Wire, leases: Path, tmp_path: Path) -> None:
    other = leases.with_name("other")
    leases.write_text(lines(1))
    other.write_text(lines(2, 3))
    with running(wire, tmp_path, lease_files=[str(leases)]) as exporter:
        eventually(lambda: active(exporter) == 1, what="the first file")
        exporter.configure({"dhcp": {"lease_files": [str(other)], "pools": ["198.51.100.0/29"]}})
        exporter.process.signal(signal.SIGHUP)
        eventually(lambda: active(exporter) == 2, what="the other file")
        assert {labels["file"] for labels, _ in exporter.samples(LEASES)} == {str(other)}
        assert exporter.value("netvane_dhcp_pool_used_addresses", pool="198.51.100.0-198.51.100.7") == 2
        assert changes(exporter) == []


@pytest.mark.long
def test_a_lease_of_dnsmasq_is_renewed_and_expires(wire: Wire, leases: Path, tmp_path: Path) -> None:
    """Two minutes are the shortest lease that dnsmasq gives."""
    dhcp.dnsmasq(wire, leases)
    expiry = "netvane_dhcp_lease_expiry_timestamp_seconds"
    with running(wire, tmp_path, lease_files=[str(leases)], expiry_per_lease=True) as exporter:
        eventually(lambda: exporter.value(READABLE) == 1, what="an empty file read")
        client = wire.client(0, "fridge")
        eventually(lambda: exporter.value(expiry) > 0, what="the lease")
        end = exporter.value(expiry)

        def is_renewed() -> bool:
            client.signal(signal.SIGUSR1)
            return exporter.value(expiry) > end

        eventually(is_renewed, what="a renewal")
        client.stop()
        eventually(lambda: active(exporter) == 0, within=150, what="the end")
        eventually(lambda: changes(exporter) == [("new", FIRST_MAC), ("expired", FIRST_MAC)], what="both events")


def test_a_second_server_is_found_within_one_check_and_gone_with_the_next(wire: Wire, tmp_path: Path) -> None:
    watcher = wire.clients[1]
    watcher.ip("addr add 198.51.100.10/24 dev eth0", "route add default via 198.51.100.1")
    dhcp.dnsmasq(wire, tmp_path / "dnsmasq.leases")
    settings = {"dhcp": {"server_check_interval": "10s", "server_check_seconds": 1.5}}
    known = "netvane_dhcp_server_known"
    with dhcp.raw(watcher, wire.rack, tmp_path), running_exporter("dhcp", watcher, tmp_path, settings) as exporter:
        eventually(lambda: exporter.value(known, server=dhcp.SERVER4) == 1, within=30, what="the router learned")
        rogue = wire.clients[0]
        rogue.ip("addr add 198.51.100.66/24 dev eth0")
        server = dhcp.dnsmasq(
            wire, tmp_path / "rogue.leases", "dhcp-range=198.51.100.200,198.51.100.210,2m", namespace=rogue
        )
        checks = exporter.value("netvane_dhcp_server_checks_total", result="ok")
        eventually(lambda: exporter.samples(known)[-1][0]["server"] == "198.51.100.66", within=30, what="the rogue")
        assert exporter.value("netvane_dhcp_server_checks_total", result="ok") <= checks + 1
        assert exporter.value(known, server="198.51.100.66", mac=FIRST_MAC) == 0
        (anomaly,) = events(exporter, "anomaly")
        assert (anomaly["anomaly"], anomaly["mac"]) == ("rogue_dhcp_server", FIRST_MAC)
        assert (tmp_path / "rogue.leases").read_text() == "", "no lease is taken"
        server.stop()
        eventually(lambda: len(exporter.samples(known)) == 1, within=30, what="the rogue gone")
        assert exporter.value(known, server=dhcp.SERVER4) == 1


@pytest.mark.long
def test_an_address_without_a_lease(wire: Wire, leases: Path, tmp_path: Path) -> None:
    squatter = wire.clients[0]
    leases.write_text(lines(1))
    settings = {"network": {"interface": "eth0"}, "dhcp": {"lease_files": [str(leases)], "dhcp_only": True}}
    with (
        dhcp.raw(wire.server, wire.rack, tmp_path),
        running_exporter("dhcp", wire.server, tmp_path, settings) as exporter,
    ):
        squatter.ip("addr add 198.51.100.77/24 dev eth0")

        def is_named() -> bool:
            squatter.run(f"ping -c 1 -W 1 {dhcp.SERVER4}", check=False)
            squatter.ip("neigh flush dev eth0")
            name = "netvane_dhcp_address_without_lease"
            return exporter.value(name, address="198.51.100.77", mac=FIRST_MAC, lease="none") == 1

        eventually(is_named, within=90, what="the squatter")
