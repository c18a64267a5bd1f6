"""The kernel's routes: /proc/net/route and /proc/net/ipv6_route.

Sources: linux/Documentation/networking (proc_net_route), net/ipv6/route.c (rt6_info_route).
"""

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from netvane.common.system_file import text_of

_UP, _GATEWAY, _REJECT = 0x1, 0x2, 0x200  # RTF_… of linux/route.h


class Route(NamedTuple):
    """A line of either table."""

    interface: str
    destination: ipaddress.IPv4Network | ipaddress.IPv6Network
    gateway: ipaddress.IPv4Address | ipaddress.IPv6Address
    metric: int
    flags: int

    @property
    def router(self) -> str | None:
        """An IPv6 link-local one carries its zone: ``fe80::1%eth0``. None where the destination is on the link."""
        if not self.flags & _GATEWAY:
            return None
        zone = f"%{self.interface}" if self.gateway.version == 6 and self.gateway.is_link_local else ""
        return f"{self.gateway}{zone}"


class Routes(NamedTuple):
    """Both tables."""

    ipv4: tuple[Route, ...]
    ipv6: tuple[Route, ...]


def read() -> Routes:
    """Read anew each time it is wanted: no state, no wake-ups."""
    return Routes(tuple(parse4(text_of("/proc/net/route"))), tuple(parse6(text_of("/proc/net/ipv6_route"))))


def parse4(table: str) -> Iterator[Route]:
    """The lines of /proc/net/route; the addresses there are in host byte order."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        destination, gateway, mask = (
            ipaddress.IPv4Address(struct.pack("=I", int(fields[place], 16))) for place in (1, 2, 7)
        )
        network = ipaddress.IPv4Network(f"{destination}/{mask}", strict=False)
        yield Route(fields[0], network, gateway, int(fields[6]), int(fields[3], 16))


def parse6(table: str) -> Iterator[Route]:
    """The lines of /proc/net/ipv6_route."""
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 10:
            continue
        destination, length, _, _, gateway, metric, _, _, flags, interface = fields[:10]
        network = ipaddress.IPv6Network((bytes.fromhex(destination), int(length, 16)), strict=False)
        yield Route(interface, network, ipaddress.IPv6Address(bytes.fromhex(gateway)), int(metric, 16), int(flags, 16))


def defaults(routes: Iterable[Route]) -> list[Route]:
    """Those that lead everywhere, best first."""
    usable = (route for route in routes if route.flags & _UP and not route.flags & _REJECT)
    return sorted((route for route in usable if not route.destination.prefixlen), key=lambda route: route.metric)


def on_link(routes: Iterable[Route], interfaces: AbstractSet[str]) -> set[str]:
    """Subnets that `interfaces` are in; of IPv6 neither link-local nor multicast ones."""
    return {
        str(route.destination)
        for route in routes
        if route.interface in interfaces
        and not route.flags & (_GATEWAY | _REJECT)
        and 0 < route.destination.prefixlen < route.destination.max_prefixlen
        and not (route.destination.version == 6 and _is_scoped(route.destination.network_address))
    }


def _is_scoped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_link_local or address.is_multicast
