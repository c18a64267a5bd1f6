"""dnsmasq's lease file.

Format: `lease_update_file` in dnsmasq's src/lease.c, which writes it, and `read_leases`, which reads it. Lines of
fields with one blank between them:

    1763726400 b8:27:eb:00:00:01 198.51.100.20 fridge 01:b8:27:eb:00:00:01
    duid 00:01:00:01:2f:…                                    the server's own DUID: DHCPv6 from here on
    1763726400 [T]305419896 fd00::1000 fridge 00:03:00:01:…  IAID, T: a temporary address
    vendorclass 198.51.100.20 75:64:68:63:70                 option 60, since dnsmasq 2.92
    agent-info 198.51.100.20 …                               option 82

First comes when the lease ends, in Unix seconds, 0 for never; a dnsmasq built for machines without a clock
(HAVE_BROKEN_RTC) writes the seconds that it was given for instead. ``*`` stands for no name and no client id. A MAC
address has its hardware type before it (``06-…``) where that is not Ethernet. The file is written anew in place, from
an empty one on, with each change.
"""

import io
import re

from netvane.common.text import clean_name
from netvane.dhcp.lease import EARLIEST, Damage, DamagedError, Lease, Parsed, device_mac, ipv4, ipv6, mac_of_duid

_HEX = rb"[0-9a-f]{2}(?::[0-9a-f]{2})"
_LEASE4 = re.compile(
    rb"(0|[1-9]\d{0,9}) ((?:[0-9a-f]{2}-)?(?:" + _HEX + rb"{0,15})?) (\d[\d.]{6,14}) (\S{1,255}) "
    rb"(\*|" + _HEX + rb"{0,254})"
)
_LEASE6 = re.compile(
    rb"(0|[1-9]\d{0,9}) T?(?:0|[1-9]\d{0,9}) ([0-9a-f:.]{2,45}) (\S{1,255}) (\*|" + _HEX + rb"{0,129})"
)
_EXTRA = re.compile(rb"(vendorclass|agent-info) ([0-9a-f:.]{2,45}) (" + _HEX + rb"{0,254})")
_DUID = re.compile(rb"duid " + _HEX + rb"{0,129}")
_PLAIN_NAME = re.compile(rb"[A-Za-z0-9_.-]+")


def recognizes(line: bytes) -> bool:
    """Whether `line` is one of this format's."""
    return any(pattern.fullmatch(line) for pattern in (_LEASE4, _LEASE6, _DUID))


def parse(text: bytes) -> Parsed:
    """Leases in a whole lease file; never raises."""
    leases: dict[str, Lease] = {}
    damage: list[Damage] = []
    durations: list[tuple[int, str]] = []
    twice: set[str] = set()
    for number, line in enumerate(io.BytesIO(text), 1):
        if not line.endswith(b"\n"):
            break
        try:
            lease = _read(line[:-1], leases)
        except DamagedError as error:
            damage.append(Damage(number, str(error)))
            continue
        if lease is None:
            continue
        if lease.address in leases:
            twice.add(lease.address)
            damage.append(Damage(number, f"{lease.address} is leased in a line before"))
        if lease.expires is not None and lease.expires < EARLIEST:
            durations.append((number, lease.address))
        leases[lease.address] = lease
    for address in twice:  # dnsmasq never writes an address twice: which of them is true cannot be told
        del leases[address]
    _settle_durations(leases, [found for found in durations if found[1] in leases], damage)
    return Parsed(leases, tuple(damage), complete=text.endswith(b"\n") or not text)


def _read(line: bytes, leases: dict[str, Lease]) -> Lease | None:
    """The lease in `line`; None for a line that is not one. Raises DamagedError."""
    if match := _LEASE4.fullmatch(line):
        return _lease4(*match.groups())
    if match := _LEASE6.fullmatch(line):
        return _lease6(*match.groups())
    if match := _EXTRA.fullmatch(line):
        _add_extra(leases, *match.groups())
    elif not _DUID.fullmatch(line):
        raise DamagedError("not a line of a dnsmasq lease file")
    return None


def _lease4(expires: bytes, hardware: bytes, address: bytes, name: bytes, client_id: bytes) -> Lease:
    return Lease(
        ipv4(address.decode("ascii")),
        int(expires) or None,
        mac=device_mac(hardware.decode("ascii")),
        client_id=_hex(client_id),
        host_name=_name(name),
    )


def _lease6(expires: bytes, address: bytes, name: bytes, duid: bytes) -> Lease:
    identity = _hex(duid)
    return Lease(
        ipv6(address.decode("ascii")),
        int(expires) or None,
        mac=mac_of_duid(identity) if identity else None,
        client_id=identity,
        host_name=_name(name),
    )


def _add_extra(leases: dict[str, Lease], what: bytes, address: bytes, value: bytes) -> None:
    lease = leases.get(address.decode("ascii"))
    if lease is None:
        raise DamagedError("of an address that no line before has")
    if what == b"vendorclass" and ":" not in lease.address:
        vendor_class = clean_name(bytes.fromhex(value.replace(b":", b"").decode("ascii")))
        leases[lease.address] = Lease(
            lease.address, lease.expires, "active", lease.mac, lease.client_id, lease.host_name, vendor_class
        )


def _settle_durations(leases: dict[str, Lease], short: list[tuple[int, str]], damage: list[Damage]) -> None:
    """Numbers too small for a time are durations where the whole file has no other, else they are damaged."""
    all_durations = all(lease.expires is None or lease.expires < EARLIEST for lease in leases.values())
    for line, address in short:
        lease = leases.pop(address)
        if all_durations:
            leases[address] = Lease(
                address, None, "active", lease.mac, lease.client_id, lease.host_name, lease.vendor_class
            )
        else:
            damage.append(Damage(line, f"{lease.expires} is not a time"))


def _hex(text: bytes) -> str | None:
    return None if text == b"*" else text.replace(b":", b"").decode("ascii")


def _name(raw: bytes) -> str | None:
    if raw == b"*":
        return None
    if _PLAIN_NAME.fullmatch(raw):
        return raw.decode("ascii")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise DamagedError("the host name is not text") from None
    if not text.isprintable():
        raise DamagedError("the host name is not text")
    return clean_name(text)
