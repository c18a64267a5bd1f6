"""Kea's lease files, those of its memfile backend, for DHCPv4 and DHCPv6.

Format: Kea's src/lib/dhcpsrv/csv_lease_file4.cc and csv_lease_file6.cc (columns and their order), versioned_csv_file.cc
(older and newer files), csv_file.cc (``&#x2c`` is a comma), lease.h (states). The first row has the names of the
columns. Every change of a lease is a row more, and the last one of an address is true; a lifetime of 0 says that the
lease was given up or taken away, one of 4294967295 that it lasts for ever. ``expire`` is in Unix seconds.

A second program, kea-lfc(8), now and then sums the old rows up: then a lease may stand in one of `SIBLINGS` only.
"""

import re
from typing import Literal

from netvane.common.text import clean_name
from netvane.dhcp.lease import (
    EARLIEST,
    LATEST,
    Damage,
    DamagedError,
    Lease,
    Parsed,
    State,
    device_mac,
    ipv4,
    ipv6,
    mac_of_duid,
    prefix6,
)

# What `loadLeasesFromFiles` of memfile_lease_mgr.cc reads before the file itself: the first alone where it is there.
SIBLINGS = ((".completed",), (".2", ".1"))

COLUMNS4 = (
    *("address", "hwaddr", "client_id", "valid_lifetime", "expire", "subnet_id", "fqdn_fwd", "fqdn_rev", "hostname"),
    *("state", "user_context", "pool_id"),
)
COLUMNS6 = (
    *("address", "duid", "valid_lifetime", "expire", "subnet_id", "pref_lifetime", "lease_type", "iaid", "prefix_len"),
    *("fqdn_fwd", "fqdn_rev", "hostname", "hwaddr", "state", "user_context", "hwtype", "hwaddr_source", "pool_id"),
)
_LEAST4, _LEAST6 = COLUMNS4.index("hostname") + 1, COLUMNS6.index("hostname") + 1

_STATES: dict[str, State] = {"0": "active", "1": "declined", "2": "expired", "3": "released", "4": "active"}
_FOR_EVER = 0xFFFF_FFFF
_IS_PREFIX = "2"

_NUMBER = r"(?:0|[1-9]\d{0,9})"
_HEX = r"(?:[0-9a-f]{2}(?::[0-9a-f]{2})*)?"
_PATTERNS = {
    name: re.compile(pattern)
    for name, pattern in {
        "hwaddr": _HEX,
        "client_id": _HEX,
        "duid": _HEX,
        "valid_lifetime": _NUMBER,
        "expire": r"[1-9]\d{0,11}",
        "subnet_id": _NUMBER,
        "pref_lifetime": _NUMBER,
        "lease_type": "[012]",
        "iaid": _NUMBER,
        "prefix_len": r"\d{1,3}",
        "fqdn_fwd": "[01]",
        "fqdn_rev": "[01]",
        "hostname": r"[^\x00-\x1f\x7f-\x9f]{0,1024}",
        "state": f"[{''.join(_STATES)}]",
        "user_context": r"(?:\{.*\})?",
        "hwtype": f"{_NUMBER}?",
        "hwaddr_source": f"{_NUMBER}?",
        "pool_id": _NUMBER,
    }.items()
}
_ESCAPE = re.compile(rb"&#x([0-9A-Fa-f]{2})")


def recognizes(line: bytes) -> Literal["kea4", "kea6"] | None:
    """Which of the two formats begins with `line`."""
    if line.startswith(b"address,hwaddr,client_id,"):
        return "kea4"
    return "kea6" if line.startswith(b"address,duid,valid_lifetime,") else None


def parse4(text: bytes) -> Parsed:
    """The leases of one DHCPv4 file; never raises."""
    return _parse(text, COLUMNS4, _LEAST4)


def parse6(text: bytes) -> Parsed:
    """The leases of one DHCPv6 file; never raises."""
    return _parse(text, COLUMNS6, _LEAST6)


def _parse(text: bytes, columns: tuple[str, ...], least: int) -> Parsed:
    *rows, rest = text.split(b"\n")
    if not rows:
        return Parsed({}, complete=not rest)
    header = rows[0].decode("ascii", errors="replace").split(",")
    known = min(len(header), len(columns))
    if known < least or tuple(header[:known]) != columns[:known]:
        return Parsed({}, (Damage(1, "not the first row of a Kea lease file that this Netvane knows"),), not rest)
    # A newer Kea goes on with longer rows below an older header until the next clean-up.
    widths = frozenset(range(len(header), max(len(header), len(columns)) + 1))
    leases: dict[str, Lease] = {}
    damage: list[Damage] = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        try:
            lease = _lease(row, columns, widths)
        except DamagedError as error:
            damage.append(Damage(number, str(error)))
        else:
            leases[lease.address] = lease
    return Parsed(leases, tuple(damage), complete=not rest)


def _lease(row: bytes, columns: tuple[str, ...], widths: frozenset[int]) -> Lease:
    try:
        values = row.decode().split(",")
    except UnicodeDecodeError:
        raise DamagedError("not UTF-8 text") from None
    if len(values) not in widths:
        raise DamagedError(f"{len(values)} columns instead of {min(widths)}")
    fields = dict(zip(columns, values, strict=False))
    for name, value in fields.items():
        if name in _PATTERNS and not _PATTERNS[name].fullmatch(value):
            raise DamagedError(f"{name} cannot be {value[:60]!r}")
    lifetime, expires = int(fields["valid_lifetime"]), int(fields["expire"])
    # With no end to the lifetime the sum in `expire` has twelve places or wraps around: it is no time.
    if lifetime != _FOR_EVER and not EARLIEST <= expires - lifetime <= expires <= LATEST:
        raise DamagedError(f"{expires} is not when {lifetime} seconds end")
    is_ipv6 = "duid" in fields
    identity = fields["duid" if is_ipv6 else "client_id"].replace(":", "") or None
    state = _STATES[fields.get("state", "0")]
    mac = device_mac(fields.get("hwaddr", ""))
    if is_ipv6 and mac is None and identity is not None:
        mac = mac_of_duid(identity)
    if not fields.get("hwaddr") and identity is None and state != "declined":
        raise DamagedError("neither hardware address nor client id")
    return Lease(
        _address6(fields) if is_ipv6 else ipv4(fields["address"]),
        None if lifetime == _FOR_EVER else expires,
        state if lifetime else "released",
        mac=mac,
        client_id=identity,
        host_name=clean_name(_unescaped(fields["hostname"])),
    )


def _address6(fields: dict[str, str]) -> str:
    if fields["lease_type"] == _IS_PREFIX:
        return prefix6(fields["address"], fields["prefix_len"])
    return ipv6(fields["address"])


def _unescaped(text: str) -> bytes:
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), text.encode())
