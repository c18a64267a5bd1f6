"""What the flows exporter knows of the network around it."""

from pathlib import Path

import pytest

from netvane.common import devices, exchange, leases, routes, settings
from netvane.common.config import ConfigError
from netvane.common.devices import DevicesView, PublishedDevice
from netvane.common.leases import LeasesView, PublishedLease
from netvane.flows.anomalies.addresses import Addresses
from netvane.flows.anomalies.learned import Memory
from netvane.flows.anomalies.limits import DAY, Limits
from netvane.flows.anomalies.records import DeviceTick, Home, Tick
from netvane.flows.devices import Devices, devices_of, read_devices, read_leases
from netvane.flows.home import Surroundings, neighbourhood
from netvane.flows.settings import FlowsSettings
from tests.clock import FakeClock

ROUTER, FRIDGE, PHONE, PRIVATE = (f"24:0a:c4:00:00:0{number}" for number in range(1, 5))
ROUTE4 = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t016433C6\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t006433C6\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
wlan0\t006533C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
wlan0\t0A0112C6\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
wlan0\t000012C6\t016433C6\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
short line
"""
ZERO = "0" * 32
ROUTE6 = f"""\
20010db8000000010000000000000000 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth0
fd000000000000000000000000000000 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001    wlan0
fd000000000000000000000000000001 80 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001    wlan0
fe800000000000000000000000000000 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001    wlan0
ff000000000000000000000000000000 08 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001    wlan0
{ZERO} 00 {ZERO} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0
"""


def test_subnets_on_the_link_of_an_interface() -> None:
    assert routes.on_link(routes.parse4(ROUTE4), {"wlan0"}) == {"198.51.101.0/24"}
    assert routes.on_link(routes.parse4(ROUTE4), {"wlan0", "eth0"}) == {"198.51.100.0/24", "198.51.101.0/24"}
    assert routes.on_link(routes.parse6(ROUTE6), {"wlan0"}) == {"fd00::/64"}
    assert routes.on_link(routes.parse6(ROUTE6), {"eth0"}) == {"2001:db8:0:1::/64"}
    assert routes.on_link(routes.parse4(""), {"eth0"}) == routes.on_link(routes.parse6(""), {"eth0"}) == set()


def published(mac: str, *more: str, name: str = "", addresses: tuple[str, ...] = ()) -> PublishedDevice:
    return PublishedDevice(device=mac, macs=(mac, *more), state="present", name=name, addresses=addresses)


def test_names_and_addresses_of_the_hosts_exporter(tmp_path: Path) -> None:
    clock = FakeClock()
    assert read_devices(tmp_path, clock) == Devices()
    view = DevicesView(
        (
            published(ROUTER, addresses=("198.51.100.1",)),
            published(PHONE, PRIVATE, name="Phone", addresses=("198.51.100.30",)),
            published(FRIDGE, name="phone"),
        )
    )
    exchange.publish(tmp_path / devices.FILE_NAME, view, clock)
    found = read_devices(tmp_path, clock)
    assert found.names == {PHONE: "Phone", PRIVATE: "Phone", FRIDGE: "phone"}
    assert found.macs == {"phone": (PHONE, PRIVATE, FRIDGE)}
    assert found.addresses == {"198.51.100.1": ROUTER}
    clock.advance(devices.MAX_AGE_SECONDS + 1)
    assert read_devices(tmp_path, clock) == Devices()


def test_leases_are_believed_only_where_all_are_known(tmp_path: Path) -> None:
    clock = FakeClock()
    assert read_leases(tmp_path, clock) is None
    held = (PublishedLease("198.51.100.30", PHONE), PublishedLease("198.51.100.31"))
    for complete, expected in (
        (False, None),
        (True, {(PHONE, "198.51.100.30"), (None, "198.51.100.31"), (None, "198.51.100.1")}),
    ):
        view = LeasesView(held, complete=complete, exempt=("198.51.100.1",))
        exchange.publish(tmp_path / leases.FILE_NAME, view, clock)
        assert read_leases(tmp_path, clock) == expected


def test_an_address_of_nobody_in_particular_is_no_finding() -> None:
    addresses, memory = Addresses(), Memory(since=1)
    home = Home(prefixes=("198.51.100.0/24",), leases=frozenset({(None, "198.51.100.1"), (PHONE, "198.51.100.30")}))
    found = []
    for minute in range(10):
        tick = Tick(
            now=10 * DAY + minute * 60 * 10**9,
            seconds=60,
            devices=(
                DeviceTick(mac=ROUTER, addresses=("198.51.100.1",)),
                DeviceTick(mac=PHONE, addresses=("198.51.100.30",)),
                DeviceTick(mac=FRIDGE, addresses=("198.51.100.30", "198.51.100.77")),
            ),
        )
        found += [(finding.mac, finding.address) for finding in addresses.feed(tick, home, memory, Limits())]
    assert found == [(FRIDGE, "198.51.100.30"), (FRIDGE, "198.51.100.77")]


def test_no_source_is_wrong_while_nobody_knows_which_device_the_router_is() -> None:
    flows, surroundings = FlowsSettings(), Surroundings()
    network = settings.Network(interface="lo", router="198.51.100.1", resolvers=("203.0.113.53",))
    near = neighbourhood(network, ("lo",))
    home = surroundings.look(flows, network.resolvers, near, Devices(), None)
    assert home.prefixes == ()
    assert home.routers == {"198.51.100.1"}
    assert home.resolvers >= {"198.51.100.1", "203.0.113.53"}
    known = devices_of([published(ROUTER, addresses=("198.51.100.1",))])
    home = surroundings.look(flows, network.resolvers, near, known, None)
    assert "127.0.0.0/8" in home.prefixes
    assert ROUTER in home.exempt
    # The kernel and the hosts exporter forget silent devices.
    assert ROUTER in surroundings.look(flows, network.resolvers, near, Devices(), None).exempt


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{surge_packets_per_second: {tpc: 5}}", "no such packet class: tpc"),
        ("{scanned_ports: 0}", "scanned_ports"),
        ("{upload_min_bytes: 0B}", "expected at least 1B"),
    ],
)
def test_limits_that_make_no_sense(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "netvane.yml"
    file.write_text(f"flows:\n  anomalies: {text}\n")
    with pytest.raises(ConfigError, match=complaint):
        settings.load(file).section("flows", FlowsSettings)
