"""DHCPv6: RFC 8415 (messages, options, relays), RFC 4704 (client FQDN), RFC 6939 (client link-layer address)."""

from typing import NamedTuple

from netvane.common.text import clean_name
from netvane.raw.domain import decode_labels
from netvane.raw.packet import MalformedError, ipv6_address, mac_address

PORTS = frozenset({546, 547})

_MESSAGES = {
    1: "solicit",
    2: "advertise",
    3: "request",
    4: "confirm",
    5: "renew",
    6: "rebind",
    7: "reply",
    8: "release",
    9: "decline",
    10: "reconfigure",
    11: "information-request",
}
_FROM_SERVER = frozenset({2, 7, 10})
_RELAY_FORWARD, _RELAY_REPLY = 12, 13
_HOP_COUNT_LIMIT = 8

_CLIENT_ID, _SERVER_ID, _IA_NA, _IA_TA, _IA_ADDRESS = 1, 2, 3, 4, 5
_OPTION_REQUEST, _RELAY_MESSAGE, _VENDOR_CLASS, _DNS, _FQDN, _LINK_LAYER = 6, 9, 16, 23, 39, 79


class Dhcp6(NamedTuple):
    """`address` is the one in the identity association: wished for by a client, offered by a server.

    `client_mac` comes from a relay's word (option 79) or else from the client's DUID, where that holds one. `peer` is
    the client's link-local address as its relay saw it; None where there is no relay.
    """

    message: str
    from_server: bool
    client_id: str | None
    client_mac: str | None
    server_id: str | None
    address: str | None
    host_name: str | None
    vendor_class: str | None
    fingerprint: tuple[int, ...]
    dns: tuple[str, ...]
    peer: str | None


def parse(payload: bytes) -> Dhcp6:
    """A message as it stands in UDP, unwrapped from whatever relays put around it. Raises MalformedError."""
    peer, relayed_mac = None, None
    for _ in range(_HOP_COUNT_LIMIT + 1):
        if len(payload) < 4:
            raise MalformedError("DHCPv6 message cut short")
        if payload[0] not in {_RELAY_FORWARD, _RELAY_REPLY}:
            return _message(payload, peer, relayed_mac)
        if len(payload) < 34:
            raise MalformedError("DHCPv6 relay header cut short")
        options = _options(payload[34:])
        # The innermost relay is the one that heard the client itself.
        peer = ipv6_address(payload[18:34])
        relayed_mac = _ethernet_address(options.get(_LINK_LAYER, b""))
        payload = options.get(_RELAY_MESSAGE, b"")
    raise MalformedError("more DHCPv6 relays than are allowed")


def _message(payload: bytes, peer: str | None, relayed_mac: str | None) -> Dhcp6:
    options = _options(payload[4:])
    duid, requested = options.get(_CLIENT_ID, b""), options.get(_OPTION_REQUEST, b"")
    return Dhcp6(
        message=_MESSAGES.get(payload[0], f"type-{payload[0]}"),
        from_server=payload[0] in _FROM_SERVER,
        client_id=duid.hex() or None,
        client_mac=relayed_mac or _mac_of_duid(duid),
        server_id=options.get(_SERVER_ID, b"").hex() or None,
        address=_address(options),
        host_name=decode_labels(options.get(_FQDN, b"")[1:]),
        # Enterprise number, then data fields with a length each: the first says enough.
        vendor_class=clean_name(_sized(options.get(_VENDOR_CLASS, b"")[4:])),
        fingerprint=tuple(int.from_bytes(requested[at : at + 2], "big") for at in range(0, len(requested) - 1, 2)),
        dns=_addresses(options.get(_DNS, b"")),
        peer=peer,
    )


def _options(field: bytes) -> dict[int, bytes]:
    """Option code -> value of its first appearance."""
    options: dict[int, bytes] = {}
    at = 0
    while at < len(field):
        end = at + 4 + int.from_bytes(field[at + 2 : at + 4], "big")
        if at + 4 > len(field) or end > len(field):
            raise MalformedError("DHCPv6 option beyond its field")
        options.setdefault(int.from_bytes(field[at : at + 2], "big"), field[at + 4 : end])
        at = end
    return options


def _address(options: dict[int, bytes]) -> str | None:
    for code, header in ((_IA_NA, 12), (_IA_TA, 4)):
        association = options.get(code, b"")
        address = _options(association[header:]).get(_IA_ADDRESS, b"")
        if len(address) >= 24:
            return ipv6_address(address[:16])
    return None


def _addresses(value: bytes) -> tuple[str, ...]:
    if len(value) % 16:
        raise MalformedError("DHCPv6 option does not hold whole addresses")
    return tuple(ipv6_address(value[at : at + 16]) for at in range(0, len(value), 16))


def _sized(value: bytes) -> bytes:
    return value[2 : 2 + int.from_bytes(value[:2], "big")]


def _mac_of_duid(duid: bytes) -> str | None:
    """Types 1 (link-layer address plus time) and 3 (link-layer address) end in the hardware type and the address."""
    match duid[:2]:
        case b"\x00\x01":
            return _ethernet_address(duid[2:4] + duid[8:])
        case b"\x00\x03":
            return _ethernet_address(duid[2:])
        case _:
            return None


def _ethernet_address(value: bytes) -> str | None:
    """Hardware type and address; None unless that is an Ethernet device's."""
    try:
        return mac_address(value[2:]) if value[:2] == b"\x00\x01" else None
    except MalformedError:
        return None
