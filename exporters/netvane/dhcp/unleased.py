"""Addresses that are used on the network though nobody was given them: the rule, without sockets and clocks."""

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

from netvane.common.leases import Lack, PublishedLease, lack_of_lease
from netvane.common.raw_messages import Sighting

GRACE_SECONDS = 60.0  # a client may use its address before the server's file has been read
FORGET_SECONDS = 900.0
MAX_ADDRESSES = 4_096
MAX_REPORTED = 50


class Unleased(NamedTuple):
    address: str
    mac: str
    lack: Lack


class _Use(NamedTuple):
    mac: str
    since: float
    last: float


class AddressesInUse:
    """IPv4 addresses that ARP showed somebody to use. Times are in seconds of any clock that only moves forward."""

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}

    def take(self, sighting: Sighting, now: float) -> None:
        address = sighting.address
        if sighting.kind != "arp" or address is None:
            return
        use = self._uses.get(address)
        if use is not None and use.mac == sighting.mac:
            self._uses[address] = use._replace(last=now)
        elif use is not None or len(self._uses) < MAX_ADDRESSES:
            self._uses[address] = _Use(sighting.mac, now, now)

    def without_lease(
        self, held: Mapping[str, PublishedLease], exempt: frozenset[str], subnet: str | None, now: float
    ) -> list[Unleased]:
        """Those within `subnet` that have been used for a while, sorted, at most `MAX_REPORTED`."""
        self._uses = {address: use for address, use in self._uses.items() if now - use.last <= FORGET_SECONDS}
        network = ipaddress.ip_network(subnet) if subnet is not None else None
        found = []
        for address, use in self._uses.items():
            if address in exempt or now - use.since < GRACE_SECONDS:
                continue
            if network is not None and ipaddress.ip_address(address) not in network:
                continue
            lack = lack_of_lease(address, use.mac, held)
            if lack is not None:
                found.append(Unleased(address, use.mac, lack))
        return sorted(found)[:MAX_REPORTED]
