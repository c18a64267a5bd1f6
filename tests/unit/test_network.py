"""The kernel's tables, as text, and the machine itself."""

from netvane.common import network, routes
from netvane.common.settings import Network

ROUTE4 = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t016433C6\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0A6433C6\t0003\t0\t0\t100\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t900\t00000000\t0\t0\t0
eth0\t006433C6\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
eth1\t00000000\t016433C6\t0203\t0\t0\t1\t00000000\t0\t0\t0
short line
"""
ZERO = "0" * 32
ROUTE6 = f"""\
fd000000000000000000000000000000 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth0
{ZERO} 00 {ZERO} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0
{ZERO} 00 {ZERO} 00 fd000000000000000000000000000009 00000040 00000001 00000000 00000003     eth1
{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo
"""


def test_default_routes_best_first() -> None:
    assert [(route.interface, route.router, route.metric) for route in routes.defaults(routes.parse4(ROUTE4))] == [
        ("eth0", "198.51.100.10", 100),
        ("wlan0", "198.51.100.1", 600),
        ("tun0", None, 900),
    ]
    assert [(route.interface, route.router, route.metric) for route in routes.defaults(routes.parse6(ROUTE6))] == [
        ("eth1", "fd00::9", 0x40),
        ("eth0", "fe80::1%eth0", 0x400),
    ]


def test_no_table_is_no_route() -> None:
    assert routes.defaults(routes.parse4("")) == []
    assert routes.defaults(routes.parse6("")) == []


def test_settings_win_over_what_is_found() -> None:
    view = network.find(Network(interface="lo", router="198.51.100.1", router6="fd00::1"))
    assert view == network.NetworkView("lo", "127.0.0.0/8", "198.51.100.1", "fd00::1")


def test_interface_that_does_not_exist() -> None:
    assert network.find(Network(interface="absent0")).subnet is None
