"""IPv6 neighbour discovery (RFC 4861, ICMPv6 types 133 to 137) over Ethernet (RFC 2464)."""

from typing import NamedTuple

from netvane.raw.packet import MalformedError, Packet, held, ipv6_address, mac_address

# Type -> its word, bytes before the options.
_MESSAGES = {
    133: ("router-solicitation", 8),
    134: ("router-advertisement", 16),
    135: ("solicitation", 24),
    136: ("advertisement", 24),
    137: ("redirect", 40),
}
_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER = 1, 2
_FROM_ROUTER = 0x80  # the flag R of an advertisement


class NeighbourDiscovery(NamedTuple):
    """`address` is the device's own, `requested` what it asks whether anybody else uses (a ``probe``, RFC 4862).

    `mac` is None where the message does not say it: then it is the frame's source.
    """

    message: str
    mac: str | None
    address: str | None
    requested: str | None
    router: bool


def parse(packet: Packet) -> NeighbourDiscovery:
    """Raises MalformedError, also for what RFC 4861 tells to ignore: a message that a router has forwarded."""
    body = packet.payload
    if len(body) < 4 or body[0] not in _MESSAGES:
        raise MalformedError("not a neighbour discovery message")
    message, header = _MESSAGES[body[0]]
    if packet.hop_limit != 255 or body[1] != 0:
        raise MalformedError("neighbour discovery from beyond the link")
    if len(body) < header:
        raise MalformedError("neighbour discovery cut short")
    options = _options(body[header:])
    source = held(packet.source)
    match message:
        case "solicitation" if source is None:
            return NeighbourDiscovery("probe", None, None, _unicast(body[8:24]), router=False)
        case "advertisement":
            mac = _link_layer(options, _TARGET_LINK_LAYER)
            return NeighbourDiscovery(message, mac, _unicast(body[8:24]), None, router=bool(body[4] & _FROM_ROUTER))
        case "redirect":  # its target's address is another router's
            return NeighbourDiscovery(message, None, source, None, router=True)
        case _:
            lifetime = int.from_bytes(body[6:8], "big") if message == "router-advertisement" else 0
            mac = _link_layer(options, _SOURCE_LINK_LAYER)
            return NeighbourDiscovery(message, mac, source, None, router=lifetime > 0)


def _options(field: bytes) -> dict[int, bytes]:
    """Option type -> value; lengths count units of eight bytes, the two of type and length included."""
    options: dict[int, bytes] = {}
    at = 0
    while at < len(field):
        end = at + 8 * field[at + 1] if at + 1 < len(field) else at
        if end == at or end > len(field):
            raise MalformedError("neighbour discovery option beyond the message")
        options.setdefault(field[at], field[at + 2 : end])
        at = end
    return options


def _link_layer(options: dict[int, bytes], code: int) -> str | None:
    return mac_address(options[code]) if code in options else None


def _unicast(raw: bytes) -> str:
    if raw[0] == 0xFF or not any(raw):
        raise MalformedError("neighbour discovery for an address that nobody can have")
    return ipv6_address(raw)
