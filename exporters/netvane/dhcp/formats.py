"""Which lease file is this? Told by its content alone."""

from netvane.dhcp import dnsmasq_leases, isc_leases, kea_leases
from netvane.dhcp.lease import Damage, Format, Parsed

LOOKED_AT_LINES = 50


def recognize(text: bytes) -> Format | None:
    """The format of the first line that belongs to one; None for an empty text and for anything else."""
    for line in text[:65536].split(b"\n", LOOKED_AT_LINES)[:LOOKED_AT_LINES]:
        if kea := kea_leases.recognizes(line):
            return kea
        if isc_leases.recognizes(line):
            return "isc"
        if dnsmasq_leases.recognizes(line):
            return "dnsmasq"
    return None


def parse(text: bytes, lease_format: Format | None) -> Parsed:
    """The leases in `text`; in one that is not empty and in no known format, none and one damage. Never raises."""
    match lease_format:
        case "dnsmasq":
            return dnsmasq_leases.parse(text)
        case "kea4":
            return kea_leases.parse4(text)
        case "kea6":
            return kea_leases.parse6(text)
        case "isc":
            return isc_leases.parse(text)
        case None:
            if not text.strip():
                return Parsed({})
            return Parsed({}, (Damage(1, "not a lease file of dnsmasq, Kea or ISC dhcpd"),))
