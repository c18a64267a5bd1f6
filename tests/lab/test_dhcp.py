"""The dhcp exporter beside real DHCP servers and clients."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import dhcp
from tests.lab.dhcp import Wire
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.processes import PYTHON_ENV, run
from tests.lab.rack import Rack
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

LEASES = "netvane_dhcp_leases"
FIRST_MAC = "b8:27:eb:0a:00:01"


@pytest.fixture
def wire(rack: Rack) -> Wire:
    return dhcp.lay_wire(rack)


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "server"
    folder.mkdir()
    return folder / "dhcp.leases"


def running(wire: Wire, tmp_path: Path, **settings: Any) -> Any:
    return running_exporter("dhcp", wire.server, tmp_path, {"dhcp": {"server_check": False, **settings}})


def events(exporter: RunningExporter, kind: str = "lease") -> list[dict[str, Any]]:
    """Oldest first."""
    places = ["--data-dir", str(exporter.directory / "data"), "--run-dir", str(exporter.directory)]
    command = [sys.executable, "-m", "netvane.cli", "events", "--exporter", "dhcp", "--event", kind, "--format", "json"]
    done = run(["env", f"PYTHONPATH={PYTHON_ENV['PYTHONPATH']}", *command, *places])
    return [json.loads(line) for line in reversed(done.stdout.splitlines())]


def changes(exporter: RunningExporter) -> list[tuple[str, str]]:
    return [(event["change"], event["mac"]) for event in events(exporter)]


def devices(exporter: RunningExporter) -> list[dict[str, Any]]:
    places = ["--data-dir", str(exporter.directory / "data"), "--run-dir", str(exporter.directory)]
    command = [sys.executable, "-m", "netvane.cli", "leases", "export"]
    done = run(["env", f"PYTHONPATH={PYTHON_ENV['PYTHONPATH']}", *command, *places])
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_dnsmasq_lease_renewal_under_another_name_and_release(wire: Wire, leases: Path, tmp_path: Path) -> None:
    dhcp.dnsmasq(wire, leases)
    with running(
        wire, tmp_path, lease_files=[str(leases)], server_configurations=[str(leases.with_suffix(".conf"))]
    ) as exporter:
        eventually(lambda: exporter.value("netvane_dhcp_lease_file_readable") == 1, what="an empty file read")
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
        assert (fridge["vendor_class"], tv["mac"], tv["addresses"][0]["held"]) == ("lab-client", second_mac, True)


@pytest.mark.parametrize("server", ["kea", "isc"])
def test_a_lease_is_renewed_and_expires(wire: Wire, leases: Path, tmp_path: Path, server: str) -> None:
    (dhcp.kea if server == "kea" else dhcp.isc)(wire, leases, lifetime=6)
    with running(wire, tmp_path, lease_files=[str(leases)], expiry_per_lease=True) as exporter:
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
