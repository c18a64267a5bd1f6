"""The network that this machine is in, read from the kernel: interface, subnet, default routers.

Sources: linux/Documentation/networking (proc_net_route), net/ipv6/route.c (rt6_info_route) for the two tables,
netdevice(7) for the ioctls. Read again whenever it is wanted: no state, no wake-ups.
"""

import fcntl
import ipaddress
import socket
import struct
from pathlib import Path
from typing import NamedTuple

import msgspec

from netvane.common.settings import Network

_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B  # linux/sockios.h
_RTF_UP, _RTF_GATEWAY, _RTF_REJECT = 0x1, 0x2, 0x200  # linux/route.h


class NetworkView(msgspec.Struct, frozen=True):
    """What is watched. An IPv6 link-local router carries its zone: ``fe80::1%eth0``."""

    interface: str | None = None
    subnet: str | None = None
    router: str | None = None
    router6: str | None = None


class Route(NamedTuple):
    """A default route."""

    interface: str
    router: str | None
    metric: int


def default_routes4(table: str) -> list[Route]:
    """Default routes in the text of /proc/net/route, best first; the addresses there are in host byte order."""
    routes = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        interface, destination, gateway, flags, _, _, metric, mask = fields[:8]
        if int(destination, 16) or int(mask, 16) or not int(flags, 16) & _RTF_UP or int(flags, 16) & _RTF_REJECT:
            continue
        address = str(ipaddress.IPv4Address(struct.pack("=I", int(gateway, 16))))
        routes.append(Route(interface, address if int(flags, 16) & _RTF_GATEWAY else None, int(metric)))
    return sorted(routes, key=lambda route: route.metric)


def default_routes6(table: str) -> list[Route]:
    """Default routes in the text of /proc/net/ipv6_route, best first."""
    routes = []
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 10:
            continue
        destination, prefix, _, _, gateway, metric, _, _, flags, interface = fields[:10]
        if int(destination, 16) or int(prefix, 16) or not int(flags, 16) & _RTF_UP or int(flags, 16) & _RTF_REJECT:
            continue
        address = ipaddress.IPv6Address(bytes.fromhex(gateway))
        router = f"{address}%{interface}" if address.is_link_local else str(address)
        routes.append(Route(interface, router if int(flags, 16) & _RTF_GATEWAY else None, int(metric, 16)))
    return sorted(routes, key=lambda route: route.metric)


def find(settings: Network) -> NetworkView:
    """The network as `settings` names it and the kernel's tables tell it; what there is none of is None."""
    routes4 = [route for route in default_routes4(_read("/proc/net/route")) if _wanted(route, settings)]
    routes6 = [route for route in default_routes6(_read("/proc/net/ipv6_route")) if _wanted(route, settings)]
    interface = settings.interface or next((route.interface for route in routes4 + routes6), None)
    return NetworkView(
        interface=interface,
        subnet=_subnet(interface) if interface else None,
        router=settings.router or next((route.router for route in routes4 if route.router), None),
        router6=settings.router6 or next((route.router for route in routes6 if route.router), None),
    )


def _wanted(route: Route, settings: Network) -> bool:
    return route.interface != "lo" and settings.interface in {None, route.interface}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:  # a kernel without IPv6 has no such table
        return ""


def _subnet(interface: str) -> str | None:
    request = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            address = fcntl.ioctl(control, _SIOCGIFADDR, request)[20:24]
            mask = fcntl.ioctl(control, _SIOCGIFNETMASK, request)[20:24]
        except OSError:  # no such interface, or no address on it yet
            return None
    prefix = ipaddress.IPv4Address(mask)
    return str(ipaddress.IPv4Network(f"{ipaddress.IPv4Address(address)}/{prefix}", strict=False))
