"""DHCPv4: RFC 2131 (message), RFC 2132 (options), RFC 3396 (long options), RFC 4702 (client FQDN)."""

import socket
import struct
from typing import NamedTuple

from netvane.common.text import clean_name
from netvane.raw.domain import decode_labels
from netvane.raw.packet import MalformedError, held, mac_address

PORTS = frozenset({67, 68})

_COOKIE = bytes([99, 130, 83, 99])
_SNAME, _FILE, _OPTIONS = slice(44, 108), slice(108, 236), slice(240, None)

_MESSAGES = {
    1: "discover",
    2: "offer",
    3: "request",
    4: "decline",
    5: "ack",
    6: "nak",
    7: "release",
    8: "inform",
    9: "forcerenew",
}

_PAD, _END = 0, 255
_ANSWER_BY_BROADCAST = 0x8000
_ROUTERS, _DNS, _HOST_NAME = 3, 6, 12
_REQUESTED_ADDRESS, _LEASE_TIME, _OVERLOAD, _MESSAGE_TYPE, _SERVER_ID = 50, 51, 52, 53, 54
_PARAMETER_LIST, _VENDOR_CLASS, _CLIENT_ID, _FQDN = 55, 60, 61, 81


class Dhcp4(NamedTuple):
    """`address` is what the client already uses (ciaddr), `requested` what it asks for, `offered` what it is given."""

    message: str
    from_server: bool
    client_mac: str | None
    address: str | None
    offered: str | None
    requested: str | None
    host_name: str | None
    vendor_class: str | None
    client_id: str | None
    fingerprint: tuple[int, ...]
    server_id: str | None
    routers: tuple[str, ...]
    dns: tuple[str, ...]
    lease_seconds: int | None


def discover(mac: bytes, transaction: int) -> bytes:
    """A DHCPDISCOVER from `mac`, to be answered by broadcast, as long as the shortest BOOTP message (300 bytes)."""
    fixed = struct.pack("!BBBBIHH16x6s10x192x", 1, 1, 6, 0, transaction, 0, _ANSWER_BY_BROADCAST, mac)
    wanted = bytes([_PARAMETER_LIST, 3, _ROUTERS, _DNS, _LEASE_TIME])
    return (fixed + _COOKIE + bytes([_MESSAGE_TYPE, 1, 1]) + wanted + bytes([_END])).ljust(300, b"\0")


def parse(payload: bytes) -> Dhcp4:
    """A message as it stands in UDP. Raises MalformedError."""
    if len(payload) < 240 or payload[236:240] != _COOKIE:
        raise MalformedError("not a DHCPv4 message")
    if payload[0] not in {1, 2}:
        raise MalformedError(f"DHCPv4 operation {payload[0]}")
    options = _options(payload)
    kind = options.get(_MESSAGE_TYPE)
    if kind is not None and len(kind) != 1:
        raise MalformedError("DHCPv4 message type of a wrong length")
    requested = _addresses(options, _REQUESTED_ADDRESS)[:1]
    server = _addresses(options, _SERVER_ID)[:1]
    lease = options.get(_LEASE_TIME, b"")
    return Dhcp4(
        message="bootp" if kind is None else _MESSAGES.get(kind[0], f"type-{kind[0]}"),
        from_server=payload[0] == 2,
        client_mac=mac_address(payload[28:34]) if payload[1:3] == b"\x01\x06" else None,
        address=held(socket.inet_ntoa(payload[12:16])),
        offered=held(socket.inet_ntoa(payload[16:20])),
        requested=held(requested[0]) if requested else None,
        host_name=clean_name(options.get(_HOST_NAME, b"")) or _fqdn(options.get(_FQDN, b"")),
        vendor_class=clean_name(options.get(_VENDOR_CLASS, b"")),
        client_id=options.get(_CLIENT_ID, b"").hex() or None,
        fingerprint=tuple(options.get(_PARAMETER_LIST, b"")),
        server_id=server[0] if server else None,
        routers=_addresses(options, _ROUTERS),
        dns=_addresses(options, _DNS),
        lease_seconds=int.from_bytes(lease, "big") if len(lease) == 4 else None,
    )


def _options(payload: bytes) -> dict[int, bytes]:
    """Option code -> value, the pieces of a repeated one joined, those in `file` and `sname` included."""
    options: dict[int, bytes] = {}
    _read_options(payload[_OPTIONS], options)
    overload = options.get(_OVERLOAD, b"\0")
    if overload in {b"\x01", b"\x03"}:
        _read_options(payload[_FILE], options)
    if overload in {b"\x02", b"\x03"}:
        _read_options(payload[_SNAME], options)
    return options


def _read_options(field: bytes, options: dict[int, bytes]) -> None:
    at = 0
    # A field that just stops is taken as it is: some gadgets forget the end mark.
    while at < len(field) and field[at] != _END:
        if field[at] == _PAD:
            at += 1
            continue
        end = at + 2 + field[at + 1] if at + 1 < len(field) else len(field) + 1
        if end > len(field):
            raise MalformedError("DHCPv4 option beyond its field")
        options[field[at]] = options.get(field[at], b"") + field[at + 2 : end]
        at = end


def _addresses(options: dict[int, bytes], code: int) -> tuple[str, ...]:
    value = options.get(code, b"")
    if len(value) % 4:
        raise MalformedError(f"DHCPv4 option {code} does not hold whole addresses")
    return tuple(socket.inet_ntoa(value[at : at + 4]) for at in range(0, len(value), 4))


def _fqdn(value: bytes) -> str | None:
    """Flags, two obsolete result codes, the name: in DNS labels where the flag E (4) is set, else as text."""
    if len(value) < 4:
        return None
    return decode_labels(value[3:]) if value[0] & 4 else clean_name(value[3:].removesuffix(b"."))
