"""Who holds which address, guessed from what `netvane raw` overhears: for homes whose DHCP server is not ours to read.

A switch passes on what clients broadcast, and seldom what servers answer. So an address that a client asked for is
believed to be its own when the server's consent was heard, or when the client was then seen to use it. When such a
lease ends is not known: renewals go to the server alone.
"""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from netvane.common.raw_messages import Sighting
from netvane.dhcp.lease import Lease

MAX_CLIENTS = 4_096
FORGET_SECONDS = 86_400.0

_REQUESTS = frozenset({"request", "renew", "rebind", "confirm"})
_ENDS = frozenset({"release", "decline"})


class Identity(NamedTuple):
    """What a client tells of itself."""

    host_name: str | None = None
    client_id: str | None = None
    vendor_class: str | None = None
    fingerprint: tuple[int, ...] = ()

    def updated(self, sighting: Sighting) -> "Identity":
        """With what this message tells, where it tells anything."""
        return Identity(
            sighting.host_name or self.host_name,
            sighting.client_id or self.client_id,
            sighting.vendor_class or self.vendor_class,
            sighting.fingerprint or self.fingerprint,
        )


UNKNOWN = Identity()


class Overheard:
    """Clients and the leases that they seem to have; at most `MAX_CLIENTS`, those longest silent go first.

    Times are in seconds of any clock that only moves forward.
    """

    def __init__(self) -> None:
        self.leases: dict[str, Lease] = {}
        self._identities: dict[str, Identity] = {}
        self._asked: dict[tuple[str, str], str] = {}  # MAC and kind -> address
        self._heard: dict[str, float] = {}  # by MAC, the longest silent first

    def identity(self, mac: str) -> Identity:
        return self._identities.get(mac, UNKNOWN)

    def take(self, sighting: Sighting, now: float) -> bool:
        """Whether that changed `leases`."""
        if sighting.server is not None:
            return self._take_server(sighting, now)
        mac, address = sighting.mac, sighting.address or sighting.requested
        if sighting.kind in {"arp", "nd"}:
            return self._take_use(mac, address, now)
        self._note(mac, now)
        self._identities[mac] = self.identity(mac).updated(sighting)
        if sighting.message in _ENDS:
            return address is not None and self._end(mac, address)
        if sighting.message in _REQUESTS:
            # With DHCPv6 `address` is the link-local one that the message came from.
            wanted = (sighting.requested or sighting.address) if sighting.kind == "dhcp4" else sighting.requested
            if wanted is not None:
                self._asked[mac, sighting.kind] = wanted
                lease = self.leases.get(wanted)
                if lease is not None and lease.mac == mac:
                    return self._believe(mac, wanted)
        return False

    def restore(self, leases: Iterable[Lease], now: float) -> None:
        """Begin with what was believed before a restart."""
        for lease in leases:
            if lease.mac is not None:
                self._note(lease.mac, now)
                self.leases[lease.address] = lease

    def forget(self, now: float) -> list[Lease]:
        """Drop who was not heard of for a day; gives back the leases that this ends, as expired."""
        silent = {mac for mac, heard in self._heard.items() if now - heard > FORGET_SECONDS}
        ended = [replace(lease, state="expired") for lease in self.leases.values() if lease.mac in silent]
        for mac in silent:
            self._drop(mac)
        return ended

    def _take_server(self, sighting: Sighting, now: float) -> bool:
        server = sighting.server
        if server is None or server.client_mac is None:
            return False
        mac = server.client_mac
        if sighting.message == "nak":
            self._asked.pop((mac, sighting.kind), None)
            return sum(self._end(mac, address) for address in self._addresses(mac)) > 0
        if sighting.message in {"ack", "reply"} and server.offered is not None:
            self._note(mac, now)
            return self._believe(mac, server.offered)
        return False

    def _take_use(self, mac: str, address: str | None, now: float) -> bool:
        if mac in self._heard:
            self._note(mac, now)
        if address is None or address not in {self._asked.get((mac, "dhcp4")), self._asked.get((mac, "dhcp6"))}:
            return False
        return self._believe(mac, address)

    def _believe(self, mac: str, address: str) -> bool:
        identity = self.identity(mac)
        lease = Lease(
            address,
            None,
            mac=mac,
            client_id=identity.client_id,
            host_name=identity.host_name,
            vendor_class=identity.vendor_class,
            fingerprint=identity.fingerprint,
        )
        if self.leases.get(address) == lease:
            return False
        is_ipv6 = ":" in address
        for other in self._addresses(mac):
            if (":" in other) == is_ipv6 and other != address:
                del self.leases[other]
        self.leases[address] = lease
        return True

    def _addresses(self, mac: str) -> list[str]:
        return [address for address, lease in self.leases.items() if lease.mac == mac]

    def _end(self, mac: str, address: str) -> bool:
        lease = self.leases.get(address)
        if lease is None or lease.mac != mac:
            return False
        del self.leases[address]
        return True

    def _note(self, mac: str, now: float) -> None:
        self._heard.pop(mac, None)
        self._heard[mac] = now
        if len(self._heard) > MAX_CLIENTS:
            self._drop(next(iter(self._heard)))

    def _drop(self, mac: str) -> None:
        del self._heard[mac]
        self._identities.pop(mac, None)
        self._asked.pop((mac, "dhcp4"), None)
        self._asked.pop((mac, "dhcp6"), None)
        for address in self._addresses(mac):
            del self.leases[address]
