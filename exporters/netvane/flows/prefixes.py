"""Which addresses are local: LAN means the far address is in a configured or found prefix, or never leaves the link."""

import ipaddress
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from netvane.flows import keys as k
from netvane.flows.batch import U64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Addresses that no router forwards: unspecified, link-local, multicast, broadcast.
_ON_LINK = ("0.0.0.0/32", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "::/128", "fe80::/10", "ff00::/8")
# Where nothing is configured or found, as for a file: RFC 1918, RFC 6598, RFC 4193.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")

SOURCE, DESTINATION = np.uint64(1), np.uint64(2)


class Prefixes:
    """Compares whole columns of addresses as they lie in keys (netvane.flows.keys)."""

    def __init__(self, local: Iterable[str]) -> None:
        """`local`: prefixes, e.g. ``198.51.100.0/24``. Raises ValueError."""
        networks = [ipaddress.ip_network(text) for text in (*_ON_LINK, *local)]
        self.networks: tuple[Network, ...] = tuple(networks)
        self._ipv4 = _words([network for network in networks if network.version == 4])
        self._ipv6 = _words([network for network in networks if network.version == 6])

    def scopes(self, keys: U64) -> U64:
        """uint64[n] of keys uint64[n, 7]: bit 0 where the source and bit 1 where the destination is local.

        What is not IP never leaves the link, and where no address could be read none is far.
        """
        ethertype = keys[:, 1] >> np.uint64(48)
        is4, is6 = ethertype == k.ETH_IPV4, ethertype == k.ETH_IPV6
        result = np.where(is4 | is6, np.uint64(0), SOURCE | DESTINATION)
        for family, networks in ((is4, self._ipv4), (is6, self._ipv6)):
            rows = np.flatnonzero(family)
            if rows.size:
                found = keys[rows]
                source, destination = _inside(found[:, 2:4], networks), _inside(found[:, 4:6], networks)
                result[rows] = source * SOURCE | destination * DESTINATION
        return result


def _inside(addresses: U64, networks: U64) -> npt.NDArray[np.bool_]:
    """Which addresses uint64[n, 2] are in any of the networks (as `_words` gives them)."""
    mask1, value1, mask2, value2 = networks
    first, second = addresses[:, :1], addresses[:, 1:]
    inside: npt.NDArray[np.bool_] = ((first & mask1 == value1) & (second & mask2 == value2)).any(axis=1)
    return inside


def _words(networks: list[Network]) -> U64:
    """uint64[4, m]: mask and value of the first, and of the second word of an address in a key."""
    rows = []
    for network in networks:
        mask, value = network.netmask.packed, network.network_address.packed
        parts = (mask[:8], value[:8], mask[8:], value[8:])
        rows.append([int.from_bytes(part, "little") for part in parts])
    return np.array(rows, dtype=np.uint64).T
