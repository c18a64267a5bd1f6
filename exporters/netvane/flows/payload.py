"""What a TCP or UDP packet carries, for those few frames whose content is read."""

import struct
from functools import lru_cache

import msgspec

from netvane.flows import keys as k
from netvane.flows import slowpath
from netvane.flows.decode import TCP, UDP

_ETHERNET, _TAG = 14, 4
# What is plain begins with these: version, length, fragment, protocol, addresses, ports.
_IPV4 = struct.Struct("!BxH2xHxB2x4s4sHH")
_IPV6 = struct.Struct("!B3xHBx16s16sHH")


class Payload(msgspec.Struct, frozen=True, gc=False):
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
    if kind == b"\x08\x00" and len(frame) >= at + 28:
        version, length, fragment, protocol, source, destination, *ports = _IPV4.unpack_from(frame, at)
        transport, end = at + 20, at + length
        plain = version == 0x45 and not fragment & 0x3FFF and end <= wire
    elif kind == b"\x86\xdd" and len(frame) >= at + 48:
        version, length, protocol, source, destination, *ports = _IPV6.unpack_from(frame, at)
        transport = at + 40
        end = transport + length
        plain = version >> 4 == 6 and transport < end <= wire
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
        ports[0],
        ports[1],
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


@lru_cache(maxsize=4096)
def mac_text(mac: bytes) -> str:
    """``02:00:00:00:00:01``."""
    return mac.hex(":")
