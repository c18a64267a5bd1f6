"""The access point on the air: hostapd's own driver, simulated radios, stations that join with the pass phrase.

By hand, `make test-radio`: it needs a virtual machine. docs/access-point.md has the result.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import radios, virtual
from tests.deploy.radios import ACCESS_POINT, Station, connecting
from tests.deploy.target import Target, playbook_of
from tests.deploy.virtual import VirtualMachine
from tests.lab import addresses as at
from tests.lab.home import Home
from tests.lab.wait import eventually

pytestmark = [
    pytest.mark.radio,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(virtual.missing() is not None, reason=virtual.missing() or ""),
]

GATEWAY = "198.18.40.1"
SSID = "netvane-iot"
PORT = 8123
SETTINGS: dict[str, Any] = {
    "netvane_access_point": True,
    "netvane_access_point_country": "DE",
    "netvane_access_point_address": GATEWAY,
}
UNITS = ("netvane-access-point", "netvane-hostapd", "netvane-dnsmasq")


@pytest.fixture(params=["bookworm", "trixie"])
def vane(request: pytest.FixtureRequest) -> Iterator[VirtualMachine]:
    with (
        Home(gadgets=1, ipv6=False) as home,
        VirtualMachine(home, request.param, packages=radios.PACKAGES, files=radios.FILES) as machine,
    ):
        yield machine


def test_gadgets_join_and_reach_the_internet_only(vane: VirtualMachine, tmp_path: Path) -> None:
    home, playbook = vane.home, playbook_of(tmp_path, "base", "access_point")
    before = interface(vane)
    assert "Power save: on" in before
    played = vane.play(playbook, **SETTINGS)
    found = re.search(r"pass\s+phrase:\s+(\S{20})", played)
    assert found is not None, played
    assert vane.run(f"systemctl is-active {' '.join(UNITS)}").stdout.split() == ["active"] * len(UNITS)
    assert f"ssid {SSID}" in vane.run(f"iw dev {ACCESS_POINT} info").stdout
    assert "Power save: off" in vane.run(f"iw dev {ACCESS_POINT} get power_save").stdout
    assert "country DE" in vane.run("iw reg get").stdout

    lamp, fridge = Station(vane, "lamp", 1), Station(vane, "fridge", 2)
    for station, security in ((lamp, "wpa2"), (fridge, "wpa3")):
        station.unpack()
        station.associate(SSID, found[1], security)
    assert stations(vane) == {lamp.mac, fridge.mac}
    addresses = {station.name: station.lease() for station in (lamp, fridge)}
    assert all(address.startswith("198.18.40.") for address in addresses.values())

    (people,) = home.gadgets
    with home.net.listen(at.ANCHORS4[1], PORT), people.ns.listen(people.address, PORT):
        assert lamp.connects(at.ANCHORS4[1], PORT)
        vane.run(connecting(people.address, PORT))
        assert not lamp.connects(people.address, PORT)
    assert lamp.pings(GATEWAY)
    assert not lamp.connects(GATEWAY, 22)
    vane.run(f"ping -c 1 -W 5 {addresses['fridge']}")  # who does answer,
    assert not lamp.pings(addresses["fridge"])  # but for ap_isolate

    assert at.site(1)[0] in lamp.run(f"busybox nslookup site1.example {GATEWAY}", check=False)
    assert lamp.mac in vane.run("cat /var/lib/misc/dnsmasq.leases").stdout

    vane.reboot()
    eventually(lambda: f"ssid {SSID}" in air(vane), within=120, what="the access point after a reboot")
    assert vane.run("findmnt -n -o FSTYPE /tmp").stdout == "tmpfs\n"  # netvane_tmp_in_memory
    lamp.unpack()
    lamp.associate(SSID, found[1], "wpa3")
    lamp.leave()

    off = playbook_of(tmp_path / "off", "access_point")
    assert "failed=0" in vane.play(off, **{**SETTINGS, "netvane_access_point": False})
    assert interface(vane) == before


def interface(machine: Target) -> str:
    """What the access point's interface is and does."""
    looks = (
        f"ip -brief address show dev {ACCESS_POINT}",
        f"iw dev {ACCESS_POINT} info | grep -E 'addr|type'",
        f"iw dev {ACCESS_POINT} get power_save",
        "grep . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/[ew]*0/forwarding",
        "nft list tables || true",
    )
    return machine.run("; ".join(looks), check=False).stdout


def stations(machine: Target) -> set[str]:
    """The MACs that the access point's kernel knows as authorised."""
    dump = machine.run(f"iw dev {ACCESS_POINT} station dump").stdout
    return {
        entry.split()[0] for entry in dump.split("Station ")[1:] if re.search(r"authorized:\s+yes", entry) is not None
    }


def air(machine: Target) -> str:
    return machine.run(f"iw dev {ACCESS_POINT} info", check=False).stdout
