"""What a TCP or UDP packet carries, for those few frames whose content is read."""

from typing import NamedTuple

from netvane.flows import keys as k
from netvane.flows import slowpath
from netvane.flows.decode import TCP, UDP

_ETHERNET, _TAG = 14, 4


class Payload(NamedTuple):
    """Addresses as they are in the frame: MACs of 6 bytes, IP addresses of 4 or 16."""

    source_mac: bytes
    destination_mac: bytes
    protocol: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    data: bytes


def payload_of(frame: bytes, wire: int) -> Payload | None:
    """The payload as far as it was captured; None where there is none: no TCP or UDP, a later fragment, damage."""
    kind, at = frame[12:14], _ETHERNET
    if kind == b"\x81\x00":
        kind, at = frame[16:18], _ETHERNET + _TAG
    if kind == b"\x08\x00" and len(frame) >= at + 28 and frame[at] == 0x45:
        protocol, transport = frame[at + 9], at + 20
        end = at + (frame[at + 2] << 8 | frame[at + 3])
        plain = not (frame[at + 6] & 0x3F or frame[at + 7]) and end <= wire
        source, destination = frame[at + 12 : at + 16], frame[at + 16 : at + 20]
    elif kind == b"\x86\xdd" and len(frame) >= at + 48 and frame[at] >> 4 == 6:
        protocol, transport = frame[at + 6], at + 40
        end = transport + (frame[at + 4] << 8 | frame[at + 5])
        plain = transport < end <= wire
        source, destination = frame[at + 8 : at + 24], frame[at + 24 : at + 40]
    else:
        return _slowly(frame, wire)
    if plain and protocol == UDP and end >= transport + 8:
        start = transport + 8
    elif plain and protocol == TCP and len(frame) >= transport + 20:
        size = frame[transport + 12] >> 4
        start = transport + size * 4
        if size < 5 or start > end:
            return None
    else:
        return _slowly(frame, wire)
    return Payload(
        frame[6:12],
        frame[0:6],
        protocol,
        source,
        destination,
        frame[transport] << 8 | frame[transport + 1],
        frame[transport + 2] << 8 | frame[transport + 3],
        frame[start:end],
    )


def _slowly(frame: bytes, wire: int) -> Payload | None:
    found = slowpath.decode(frame, wire)
    if found.payload is None:
        return None
    last = found.key[6]
    size = 4 if found.key[1] >> 48 == k.ETH_IPV4 else 16
    return Payload(
        frame[6:12],
        frame[0:6],
        last >> k.PROTOCOL_SHIFT & 0xFF,
        _address(found.key[2], found.key[3], size),
        _address(found.key[4], found.key[5], size),
        int.from_bytes((last & 0xFFFF).to_bytes(2, "little")),
        int.from_bytes((last >> 16 & 0xFFFF).to_bytes(2, "little")),
        frame[found.payload : found.end],
    )


def _address(first: int, second: int, size: int) -> bytes:
    return (first.to_bytes(8, "little") + second.to_bytes(8, "little"))[:size]
