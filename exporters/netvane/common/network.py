"""The network that this machine is in, read from the kernel: interface, subnet, default routers."""

import msgspec

from netvane.common import link, routes
from netvane.common.routes import Route, Routes
from netvane.common.settings import Network


class NetworkView(msgspec.Struct, frozen=True):
    """What is watched. An IPv6 link-local router carries its zone: ``fe80::1%eth0``."""

    interface: str | None = None
    subnet: str | None = None
    router: str | None = None
    router6: str | None = None


def find(settings: Network) -> NetworkView:
    """The network as `settings` names it and the kernel's tables tell it; what there is none of is None."""
    return view_of(settings, routes.read())


def view_of(settings: Network, table: Routes) -> NetworkView:
    """The same where the tables are at hand."""
    routes4, routes6 = (
        [route for route in routes.defaults(part) if _wanted(route, settings)] for part in (table.ipv4, table.ipv6)
    )
    interface = settings.interface or next((route.interface for route in routes4 + routes6), None)
    return NetworkView(
        interface=interface,
        subnet=_subnet(interface) if interface else None,
        router=settings.router or next((route.router for route in routes4 if route.router), None),
        router6=settings.router6 or next((route.router for route in routes6 if route.router), None),
    )


def _wanted(route: Route, settings: Network) -> bool:
    return route.interface != "lo" and settings.interface in {None, route.interface}


def _subnet(interface: str) -> str | None:
    try:
        return str(link.address(interface).network)
    except OSError:  # no such interface, or no address on it yet
        return None
