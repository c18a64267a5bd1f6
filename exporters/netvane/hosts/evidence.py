"""What tells that a device is there, or something about it: one record for all sources, each piece with its source.

Pure: sightings of `netvane raw` and what other sources found in, frozen records out.
"""

import ipaddress
import re
from typing import Literal, NamedTuple, TypeAlias

from netvane.common.raw_messages import Sighting

Source: TypeAlias = Literal["arp", "dhcp", "nd", "sweep", "nmap", "ping", "neighbour", "mdns", "lease", "self"]

# Asked for by Netvane itself: an answer to a sweep, or this machine.
SOLICITED: frozenset[Source] = frozenset({"sweep", "nmap", "self"})
# Sources in which a device itself says which address it has.
CLAIMS: frozenset[Source] = frozenset({"arp", "nd", "sweep", "neighbour", "self"})
# A lease outlives its holder's visit: it knows names, not who is there.
SAYS_PRESENT: frozenset[Source] = frozenset({"arp", "dhcp", "nd", "sweep", "nmap", "ping", "neighbour", "mdns", "self"})

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Evidence(NamedTuple):
    """One piece. `at` is when, in Unix nanoseconds; texts are clean (netvane.common.text).

    `network` is the subnet it was found in, where that is known. `is_answer` marks what a sweep calls forth beside its
    own answers: frames that come in such numbers only because Netvane asked.
    """

    mac: str
    at: int
    source: Source
    network: str | None = None
    address: str | None = None
    host_name: str | None = None
    client_id: str | None = None
    vendor_class: str | None = None
    fingerprint: tuple[int, ...] = ()
    services: tuple[str, ...] = ()
    rtt_seconds: float | None = None
    is_answer: bool = False


def of_sighting(sighting: Sighting) -> Evidence:
    source: Source = "dhcp" if sighting.kind in {"dhcp4", "dhcp6"} else "arp" if sighting.kind == "arp" else "nd"
    asked_for = {"arp": sighting.message == "reply", "nd": True, "dhcp": False}
    return Evidence(
        mac=sighting.mac,
        at=sighting.ts,
        source=source,
        address=usable_address(sighting.address),
        host_name=sighting.host_name,
        client_id=sighting.client_id,
        vendor_class=sighting.vendor_class,
        fingerprint=sighting.fingerprint,
        is_answer=asked_for[source],
    )


def usable_address(text: str | None) -> str | None:
    """An address that a device can have; None for loopback, groups, broadcast and what is no address."""
    if text is None:
        return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    unusable = address.is_multicast or address.is_loopback or address.is_unspecified
    if unusable or (address.version == 4 and (address.packed[0] == 0 or address.packed[0] >= 240)):
        return None
    return str(address)


def parse_mac(text: str) -> str | None:
    """``b8:27:eb:00:00:01`` from any usual way to write it; None for a group address, zeros and anything else."""
    digits = re.sub(r"[:.\-]", "", text).lower()
    mac = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
    return mac if is_device_mac(mac) else None


def is_device_mac(mac: str) -> bool:
    """Group addresses are never devices, nor is the zero address."""
    return _MAC.fullmatch(mac) is not None and not int(mac[:2], 16) & 1 and mac != "00:00:00:00:00:00"


def is_randomised(mac: str) -> bool:
    """Locally administered (IEEE 802, the second lowest bit of the first byte): phones make these up for privacy."""
    return bool(int(mac[:2], 16) & 2)
