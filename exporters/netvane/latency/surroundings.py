"""What the kernel knows of the way out: the link, the router in the neighbour table, resolvers, IPv6 addresses.

Sources: netdevice(7) for the flags, arp(7) and net/ipv4/arp.c for /proc/net/arp, net/ipv6/addrconf.c for
/proc/net/if_inet6, resolv.conf(5).
"""

import socket

from netvane.common import link
from netvane.common.network import NetworkView
from netvane.common.settings import address_family
from netvane.common.system_file import text_of
from netvane.latency.evidence import Surroundings
from netvane.latency.settings import MAX_RESOLVERS

_ATF_COMPLETE = 0x2  # linux/if_arp.h
_GLOBAL_SCOPE = 0x00  # include/net/ipv6.h


def look(view: NetworkView) -> Surroundings:
    """As of now, for the network of `view`. A thing that cannot be told counts as being well."""
    return Surroundings(
        link_up=view.interface is None or link_is_up(view.interface),
        router_in_neighbour_table=view.router is None or is_known(text_of("/proc/net/arp"), view.router),
        ipv6_configured=view.router6 is not None and has_global6(text_of("/proc/net/if_inet6"), view.interface),
    )


def link_is_up(interface: str) -> bool:
    """Whether it is switched on and has a carrier; False where it is gone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return link.is_running(control, interface)


def is_known(table: str, address: str) -> bool:
    """Whether `address` has a MAC address in the text of /proc/net/arp, or is not there to be judged."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 6 and fields[0] == address:
            return bool(int(fields[2], 16) & _ATF_COMPLETE)
    return True


def has_global6(table: str, interface: str | None) -> bool:
    """Whether `interface` has an address in the text of /proc/net/if_inet6 that is good beyond the link."""
    rows = (line.split() for line in table.splitlines())
    return any(len(row) >= 6 and int(row[3], 16) == _GLOBAL_SCOPE and row[5] == interface for row in rows)


def resolvers_of(text: str) -> tuple[str, ...]:
    """The name servers in the text of resolv.conf(5), at most three."""
    rows = (line.split() for line in text.splitlines())
    found = [row[1] for row in rows if len(row) >= 2 and row[0] == "nameserver" and address_family(row[1]) is not None]
    return tuple(dict.fromkeys(found))[:MAX_RESOLVERS]


def machine_resolvers() -> tuple[str, ...]:
    """Those of /etc/resolv.conf; none where it cannot be read."""
    return resolvers_of(text_of("/etc/resolv.conf"))
