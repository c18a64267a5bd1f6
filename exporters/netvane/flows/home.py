"""What the engine and the rules need to know of the network around: found on the machine, now and then."""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from netvane.common import link, network, routes, settings
from netvane.common.network import NetworkView
from netvane.common.system_file import text_of
from netvane.flows.anomalies.records import Home
from netvane.flows.devices import Devices
from netvane.flows.prefixes import PRIVATE, Prefixes
from netvane.flows.settings import FlowsSettings


class Neighbourhood(NamedTuple):
    """The network as the kernel's tables tell it."""

    view: NetworkView
    interfaces: frozenset[str]
    prefixes: frozenset[str]


def neighbourhood(network_settings: settings.Network, interfaces: Iterable[str] = ()) -> Neighbourhood:
    """The subnets at `interfaces`, at the one that leads out, and that of the network which is watched."""
    table = routes.read()
    view = network.view_of(network_settings, table)
    near = frozenset(name for name in (*interfaces, view.interface) if name)
    found = routes.on_link((*table.ipv4, *table.ipv6), near)
    return Neighbourhood(view, near, frozenset(found | ({view.subnet} if view.subnet else set())))


def local_prefixes(flows: FlowsSettings, near: Neighbourhood) -> Prefixes:
    """Configured and found ones; private ones always, because behind this network's router they lead nowhere."""
    texts = {*flows.local_prefixes, *near.prefixes, *PRIVATE}
    return Prefixes(sorted(str(ipaddress.ip_network(text)) for text in texts))


class Surroundings:
    """Remembers which MAC a router had: it is not in the kernel's table all the time."""

    def __init__(self) -> None:
        self._router_macs: dict[str, str] = {}

    def look(
        self,
        flows: FlowsSettings,
        resolvers: Iterable[str],
        near: Neighbourhood,
        devices: Devices,
        leases: frozenset[tuple[str | None, str]] | None,
    ) -> Home:
        view = near.view
        own = {address for name in near.interfaces if (address := _address(name))}
        routers = {router.partition("%")[0] for router in (view.router, view.router6) if router}
        at = {**devices.addresses, **neighbours()}
        self._router_macs.update({router: at[router] for router in routers if router in at})
        known = view.router is None or view.router in self._router_macs
        return Home(
            # What comes in through the router is from everywhere: as long as nobody knows which device that is, no
            # source address can be said to be wrong.
            prefixes=tuple(sorted({*flows.local_prefixes, *near.prefixes})) if known else (),
            leases=leases,
            routers=frozenset(routers),
            # Gadgets ask the router, the resolvers that the owner names, or this machine where it is their access
            # point.
            resolvers=frozenset({*resolvers, *routers, *own}),
            exempt=frozenset(
                [own_mac for name in near.interfaces if (own_mac := _mac(name))]
                + [self._router_macs[router] for router in routers if router in self._router_macs]
            ),
        )


def neighbours() -> dict[str, str]:
    """IPv4 address -> MAC, the kernel's ARP table, proc(5); less those that did not answer."""
    lines = text_of("/proc/net/arp").splitlines()[1:]
    found = {fields[0]: fields[3] for line in lines if len(fields := line.split()) >= 4}
    return {address: mac for address, mac in found.items() if mac != "00:00:00:00:00:00"}


def _address(interface: str) -> str | None:
    try:
        return str(link.address(interface).ip)
    except OSError:  # no such interface, or no address on it
        return None


def _mac(interface: str) -> str | None:
    try:
        return link.mac(interface).hex(":")
    except OSError:
        return None
