"""What is swept, and how: pure, from the machine's interfaces and its owner's wishes."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netvane.hosts.kernel import Interface

ETHERNET = 1  # ARPHRD_ETHER, which Wi-Fi interfaces say too

# Made by container engines, hypervisors and VPNs: whoever is behind them is not on the home's network.
_NOT_HOME = re.compile(
    r"(docker|veth|tun|tap|wg|tailscale|zt|virbr|vnet|vmnet|cni|flannel|cali|lxc|lxdbr|br-[0-9a-f]{12}$|lo$)"
)


class Attached(NamedTuple):
    """A subnet to sweep by ARP."""

    subnet: str
    interface: str


class Refused(NamedTuple):
    subnet: str
    reason: str


class Plan(NamedTuple):
    """`attached` are swept by ARP, `routed` by nmap; `refused` not at all."""

    attached: tuple[Attached, ...]
    routed: tuple[str, ...]
    refused: tuple[Refused, ...]

    def network_of(self, address: str | None, interface: str | None = None) -> str | None:
        """The subnet that an IPv4 address is in; else the interface's own, where it has just one."""
        if address is not None and ":" not in address:
            number = ipaddress.IPv4Address(address)
            for attached in self.attached:
                if number in ipaddress.IPv4Network(attached.subnet):
                    return attached.subnet
        own = [attached.subnet for attached in self.attached if interface in {None, attached.interface}]
        return own[0] if len(own) == 1 else None

    def interface_of(self, network: str) -> str | None:
        """The interface that leads to a network; for one that is not attached, the first of all."""
        found = [attached.interface for attached in self.attached if attached.subnet == network]
        return next(iter((*found, *(attached.interface for attached in self.attached))), None)


def plan(interfaces: Iterable[Interface], named: Sequence[str], *, only: str | None, largest_prefix: int) -> Plan:
    """`named` are the subnets of the configuration; `only` is the interface to stay on, where one is configured."""
    attached: dict[str, Attached] = {}
    refused: dict[str, Refused] = {}
    reachable = set()
    for interface in interfaces:
        for text in interface.addresses:
            address = ipaddress.ip_interface(text)
            subnet = str(address.network)
            if address.version == 6 or address.network.prefixlen > 30:
                continue
            reason = _reason_against(interface, address.network, subnet in named, only, largest_prefix)
            if reason is None:
                attached.setdefault(subnet, Attached(subnet, interface.name))
                reachable.add(subnet)
            elif reason:
                refused.setdefault(subnet, Refused(subnet, reason))
    routed = []
    for subnet in named:
        if subnet in reachable or subnet in refused:
            continue
        if ipaddress.ip_network(subnet).prefixlen < largest_prefix:
            refused[subnet] = Refused(subnet, _too_large(subnet, largest_prefix))
        else:
            routed.append(subnet)
    return Plan(tuple(attached.values()), tuple(routed), tuple(refused.values()))


def _reason_against(
    interface: Interface,
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
    is_named: bool,
    only: str | None,
    largest_prefix: int,
) -> str | None:
    """Why not; "" where that goes without saying; None where nothing speaks against it."""
    if network.is_loopback or interface.hardware != ETHERNET or not interface.is_up:
        return ""
    if not is_named:
        if _NOT_HOME.match(interface.name) or (only is not None and interface.name != only) or network.is_link_local:
            return ""
        if not network.is_private:
            return "a public subnet is swept only where hosts.subnets names it"
    if network.prefixlen < largest_prefix:
        return _too_large(str(network), largest_prefix)
    return None


def _too_large(subnet: str, largest_prefix: int) -> str:
    return f"{subnet} is larger than /{largest_prefix} (hosts.largest_subnet)"
