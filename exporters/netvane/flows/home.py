"""What the rules need to know of the network around: found on the machine, now and then."""

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from netvane.common import network, settings
from netvane.common.network import NetworkView
from netvane.flows.anomalies.records import Home
from netvane.flows.devices import Devices
from netvane.flows.settings import FlowsSettings

_SIOCGIFADDR, _SIOCGIFHWADDR = 0x8915, 0x8927  # linux/sockios.h
_RTF_GATEWAY, _RTF_REJECT = 0x2, 0x200  # linux/route.h


class Surroundings:
    """Remembers which MAC a router had: it is not in the kernel's table all the time."""

    def __init__(self) -> None:
        self._router_macs: dict[str, str] = {}

    def look(
        self,
        flows: FlowsSettings,
        network_settings: settings.Network,
        interfaces: Iterable[str],
        devices: Devices,
        leases: frozenset[tuple[str | None, str]] | None,
    ) -> Home:
        view = network.find(network_settings)
        near = {name for name in (*interfaces, view.interface) if name}
        own = {address for name in near if (address := _address(name))}
        routers = {router.partition("%")[0] for router in (view.router, view.router6) if router}
        at = {**devices.addresses, **neighbours()}
        self._router_macs.update({router: at[router] for router in routers if router in at})
        known = view.router is None or view.router in self._router_macs
        return Home(
            # What comes in through the router is from everywhere: as long as nobody knows which device that is, no
            # source address can be said to be wrong.
            prefixes=tuple(sorted({*flows.local_prefixes, *found_prefixes(view, near)})) if known else (),
            leases=leases,
            routers=frozenset(routers),
            # Gadgets ask the router, the resolvers that the owner names, or this machine where it is their access
            # point.
            resolvers=frozenset({*network_settings.resolvers, *routers, *own}),
            exempt=frozenset(
                [own_mac for name in near if (own_mac := _mac(name))]
                + [self._router_macs[router] for router in routers if router in self._router_macs]
            ),
        )


def found_prefixes(view: NetworkView, interfaces: Iterable[str]) -> set[str]:
    """The subnets at `interfaces` and that of `view`."""
    near = set(interfaces)
    found = on_link4(_read("/proc/net/route"), near) | on_link6(_read("/proc/net/ipv6_route"), near)
    return found | ({view.subnet} if view.subnet else set())


def on_link4(table: str, interfaces: set[str]) -> set[str]:
    """Subnets that `interfaces` are in, from the text of /proc/net/route; its numbers are in host byte order."""
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[0] not in interfaces or int(fields[3], 16) & (_RTF_GATEWAY | _RTF_REJECT):
            continue
        address, mask = (ipaddress.IPv4Address(struct.pack("=I", int(fields[place], 16))) for place in (1, 7))
        subnet = ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
        if 0 < subnet.prefixlen < 32:
            found.add(str(subnet))
    return found


def on_link6(table: str, interfaces: set[str]) -> set[str]:
    """The same for IPv6, from the text of /proc/net/ipv6_route; neither link-local nor multicast."""
    found = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 10 or fields[9] not in interfaces or int(fields[8], 16) & (_RTF_GATEWAY | _RTF_REJECT):
            continue
        address, length = ipaddress.IPv6Address(bytes.fromhex(fields[0])), int(fields[1], 16)
        if 0 < length < 128 and not address.is_link_local and not address.is_multicast:
            found.add(f"{address}/{length}")
    return found


def neighbours() -> dict[str, str]:
    """IPv4 address -> MAC, the kernel's ARP table, proc(5); less those that did not answer."""
    lines = _read("/proc/net/arp").splitlines()[1:]
    found = {fields[0]: fields[3] for line in lines if len(fields := line.split()) >= 4}
    return {address: mac for address, mac in found.items() if mac != "00:00:00:00:00:00"}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:  # a kernel without IPv6 has no such table
        return ""


def _address(interface: str) -> str | None:
    answer = _ask(interface, _SIOCGIFADDR)
    return None if answer is None else socket.inet_ntop(socket.AF_INET, answer[20:24])


def _mac(interface: str) -> str | None:
    answer = _ask(interface, _SIOCGIFHWADDR)
    return None if answer is None else answer[18:24].hex(":")


def _ask(interface: str, request: int) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            return fcntl.ioctl(control, request, struct.pack("256s", interface.encode()[:15]))
        except OSError:  # no such interface, or no address on it
            return None
