"""What every reader of lease files turns its text into."""

import re
import socket
from ipaddress import IPv6Network
from typing import Literal, TypeAlias

import msgspec

State: TypeAlias = Literal["active", "expired", "released", "declined", "free"]
Format: TypeAlias = Literal["dnsmasq", "kea4", "kea6", "isc"]

# Ten digits: from 2001 to 2286. Times outside are no times.
EARLIEST, LATEST = 1_000_000_000, 9_999_999_999

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


class Lease(msgspec.Struct, frozen=True, gc=False):
    """One address (or, with a slash, a delegated prefix) and who holds it.

    `expires` is in Unix seconds, None where the lease never expires or its file does not say when. `mac` is that of the
    network card, for DHCPv6 often only what the DUID tells (which may be another card of the same device).
    `client_id` is option 61 or the DUID in hexadecimal. Names are clean (netvane.common.text). `fingerprint` is the
    list of options that the client asked for (option 55); lease files do not have it.
    """

    address: str
    expires: int | None
    state: State = "active"
    mac: str | None = None
    client_id: str | None = None
    host_name: str | None = None
    vendor_class: str | None = None
    fingerprint: tuple[int, ...] = ()

    def state_at(self, now: float) -> State:
        """Its state at a moment (Unix seconds): files keep a lease as active until its server tidies up."""
        if self.state == "active" and self.expires is not None and self.expires <= now:
            return "expired"
        return self.state

    @property
    def holder(self) -> str | None:
        """Who holds it, as far as can be told: the MAC address, else ``id:`` and the client id."""
        return self.mac or (f"id:{self.client_id}" if self.client_id else None)


class Damage(msgspec.Struct, frozen=True):
    """A record that was not believed: the number of its first line and what is wrong with it."""

    line: int
    problem: str


class Parsed(msgspec.Struct, frozen=True):
    """What one text says: leases by address, the last word on each.

    `complete` is False where the text breaks off in the middle of a record, which is then left out.
    """

    leases: dict[str, Lease]
    damage: tuple[Damage, ...] = ()
    complete: bool = True


class DamagedError(ValueError):
    """A record that cannot be believed; the message says why."""


def device_mac(text: str) -> str | None:
    """`text` if it is the MAC address of a device; None for a group address, for zeros, and for other hardware."""
    if _MAC.fullmatch(text) is None or int(text[1], 16) & 1 or text == "00:00:00:00:00:00":
        return None
    return text


def mac_of_duid(duid: str) -> str | None:
    """The Ethernet address in a DUID-LLT or DUID-LL, hexadecimal without colons; RFC 8415, 11.2 and 11.4."""
    if len(duid) == 28 and duid.startswith("00010001"):
        return device_mac(_colons(duid[16:]))
    if len(duid) == 20 and duid.startswith("00030001"):
        return device_mac(_colons(duid[8:]))
    return None


def ipv4(text: str) -> str:
    """A host's IPv4 address as it is usually written. Raises DamagedError."""
    try:
        packed = socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        raise DamagedError(f"{text[:40]!r} is not an IPv4 address") from None
    if packed[0] in {0, 127} or packed[0] >= 224 or socket.inet_ntop(socket.AF_INET, packed) != text:
        raise DamagedError(f"{text} is not the address of a host")
    return text


def ipv6(text: str) -> str:
    """A host's IPv6 address in the form of inet_ntop(3). Raises DamagedError."""
    try:
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        raise DamagedError(f"{text[:60]!r} is not an IPv6 address") from None
    if packed[0] in {0, 0xFF} or socket.inet_ntop(socket.AF_INET6, packed) != text:
        raise DamagedError(f"{text} is not the address of a host")
    return text


def prefix6(address: str, length: str) -> str:
    """A delegated prefix: an address whose bits end with `length`. Raises DamagedError."""
    try:
        return str(IPv6Network(f"{ipv6(address)}/{int(length)}"))
    except ValueError:
        raise DamagedError(f"{address[:60]}/{length[:10]} is not a prefix") from None


def _colons(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
