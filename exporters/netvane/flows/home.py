"""What the rules need to know of the network around: found on the machine, now and then."""

import fcntl
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from netvane.common import network, settings
from netvane.flows.anomalies.records import Home
from netvane.flows.settings import FlowsSettings

_SIOCGIFADDR, _SIOCGIFHWADDR = 0x8915, 0x8927  # linux/sockios.h


def look(flows: FlowsSettings, network_settings: settings.Network, interfaces: Iterable[str]) -> Home:
    view = network.find(network_settings)
    listening = list(interfaces)
    own = {address for name in (*listening, view.interface) if name and (address := _address(name))}
    routers = {router.partition("%")[0] for router in (view.router, view.router6) if router}
    macs = {mac for name in (*listening, view.interface) if name and (mac := _mac(name))}
    macs |= {mac for address, mac in neighbours().items() if address in routers}
    prefixes = {*flows.local_prefixes, *([view.subnet] if view.subnet else [])}
    return Home(
        prefixes=tuple(sorted(prefixes)),
        routers=frozenset(routers),
        # Gadgets ask the router, the resolvers that the owner names, or this machine where it is their access point.
        resolvers=frozenset({*network_settings.resolvers, *routers, *own}),
        exempt=frozenset(macs),
    )


def neighbours() -> dict[str, str]:
    """IPv4 address -> MAC, the kernel's ARP table, proc(5)."""
    try:
        lines = Path("/proc/net/arp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return {}
    return {fields[0]: fields[3] for line in lines if len(fields := line.split()) >= 4}


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
