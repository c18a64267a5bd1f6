"""One frame at a time, for all that is not plain: IPv4 options, fragments, IPv6 extension headers, tags in tags, LLC,
and whatever is cut short or malformed. Outermost headers only. Gives the keys of netvane.flows.keys.

Sources: IEEE 802.3 and 802.1Q, RFC 791, RFC 8200, RFC 4302 (AH), RFC 9293 (TCP), RFC 768 (UDP).

Malformed is what no sender means: a header that says it is longer than what was on the wire, or shorter than possible.
A frame that the capture cut short is not malformed. Either is decoded as far as it goes.
"""

from typing import NamedTuple

from netvane.flows import keys as k
from netvane.flows.decode import TCP, UDP

_ETHERNET = 14
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_SNAP = b"\xaa\xaa\x03\x00\x00\x00"
_LONGEST_802_3 = 0x0600
_IPV4, _IPV6 = 0x0800, 0x86DD

_HOP, _ROUTING, _FRAGMENT, _AH, _NO_NEXT, _DESTINATION = 0, 43, 44, 51, 59, 60
_OPTIONS_LIKE = (_HOP, _ROUTING, _DESTINATION, 135, 139, 140)  # mobility, HIP, shim6
_MAX_EXTENSIONS = 32


class Decoded(NamedTuple):
    """A frame's key (netvane.flows.keys), TCP flags (0 without), whether it is malformed.

    `payload` is where the data after the TCP or UDP header begin in the frame, and `end` where the IP packet says that
    they end (at most the end of the frame); None where they cannot be found.
    """

    key: tuple[int, int, int, int, int, int, int]
    tcp_flags: int = 0
    malformed: bool = False
    payload: int | None = None
    end: int = 0


class _Ip(NamedTuple):
    """What an IP header says. `protocol` is None where it is not reached; `offset` is then of no use."""

    source: bytes = b""
    destination: bytes = b""
    protocol: int | None = None
    offset: int = 0  # of the protocol's header in the frame
    end: int = 0  # of the packet, in a whole frame
    fragment: bool = False  # not the first one
    malformed: bool = False


class _Transport(NamedTuple):
    ports: int = 0
    tcp_flags: int = 0
    malformed: bool = False
    payload: int | None = None


def decode(frame: bytes, wire: int, link: int = 0) -> Decoded:
    """`frame`: the captured bytes of `wire`; `link`: what is known of it already (netvane.flows.keys, word 0)."""
    if len(frame) < _ETHERNET:
        return _undecodable(frame, wire, link)
    ethertype = int.from_bytes(frame[12:14])
    offset = _ETHERNET
    while ethertype in _VLAN_TYPES:
        if len(frame) < offset + 4:
            return Decoded(_key(frame, link, ethertype), malformed=wire < offset + 4)
        if not link & k.TAGGED:
            link |= k.TAGGED | int.from_bytes(frame[offset : offset + 2]) & 0x0FFF
        ethertype = int.from_bytes(frame[offset + 2 : offset + 4])
        offset += 4
    if ethertype < _LONGEST_802_3:
        if frame[offset : offset + 6] != _SNAP or len(frame) < offset + 8:
            return Decoded(_key(frame, link, 0))
        ethertype = int.from_bytes(frame[offset + 6 : offset + 8])
        offset += 8
    if ethertype == _IPV4:
        ip = _ipv4(frame, offset, wire)
    elif ethertype == _IPV6:
        ip = _ipv6(frame, offset, wire)
    else:
        return Decoded(_key(frame, link, ethertype))
    transport = _transport(frame, ip)
    protocol = 0
    flags = 0
    if ip.protocol is not None:
        syn = transport.tcp_flags & 0x12 == 0x02
        protocol, flags = ip.protocol, k.IP | (k.SYN if syn else 0)
    key = (
        *_key(frame, link, ethertype)[:2],
        int.from_bytes(ip.source[:8], "little"),
        int.from_bytes(ip.source[8:], "little"),
        int.from_bytes(ip.destination[:8], "little"),
        int.from_bytes(ip.destination[8:], "little"),
        transport.ports | protocol << k.PROTOCOL_SHIFT | flags << k.FLAGS_SHIFT,
    )
    malformed = ip.malformed or transport.malformed
    return Decoded(key, transport.tcp_flags, malformed, transport.payload, min(ip.end, len(frame)))


def _undecodable(frame: bytes, wire: int, link: int) -> Decoded:
    """A frame without a whole Ethernet header: it is counted, and for no device unless both addresses are there."""
    if len(frame) < 12:
        frame, link = b"", link | k.NO_SOURCE | k.NO_DESTINATION
    return Decoded(_key(frame.ljust(_ETHERNET, b"\0"), link, 0), malformed=wire < _ETHERNET)


def _key(frame: bytes, link: int, ethertype: int) -> tuple[int, int, int, int, int, int, int]:
    first = link | int.from_bytes(frame[0:6], "little") << 16
    swapped = (ethertype & 0xFF) << 8 | ethertype >> 8
    return first, int.from_bytes(frame[6:12], "little") | swapped << 48, 0, 0, 0, 0, 0


def _ipv4(frame: bytes, offset: int, wire: int) -> _Ip:
    header = frame[offset : offset + 20]
    if len(header) < 20:
        return _Ip(malformed=wire < offset + 20)
    size = (header[0] & 15) * 4
    total = int.from_bytes(header[2:4]) or wire - offset  # 0: the sender's card cuts the segments and fills it in
    if header[0] >> 4 != 4 or size < 20:
        return _Ip(malformed=True)
    source, destination = header[12:16], header[16:20]
    if total < size or wire < offset + size:
        return _Ip(source, destination, malformed=True)
    fragment = int.from_bytes(header[6:8]) & 0x1FFF != 0
    end = offset + total
    return _Ip(source, destination, header[9], offset + size, min(end, wire), fragment, malformed=end > wire)


def _ipv6(frame: bytes, offset: int, wire: int) -> _Ip:
    header = frame[offset : offset + 40]
    if len(header) < 40:
        return _Ip(malformed=wire < offset + 40)
    if header[0] >> 4 != 6:
        return _Ip(malformed=True)
    source, destination = header[8:24], header[24:40]
    length = int.from_bytes(header[4:6])
    end = offset + 40 + length if length else wire  # 0: a jumbogram, or segments still to be cut
    malformed = end > wire
    end = min(end, wire)
    protocol, offset = header[6], offset + 40
    fragment = False
    for _ in range(_MAX_EXTENSIONS):
        if fragment or (protocol not in _OPTIONS_LIKE and protocol not in {_FRAGMENT, _AH}):
            break
        size = 8
        if len(frame) >= offset + 2 and protocol != _FRAGMENT:
            size = (frame[offset + 1] + 2) * 4 if protocol == _AH else (frame[offset + 1] + 1) * 8
        if offset + size > min(end, len(frame)):
            return _Ip(source, destination, malformed=malformed or offset + size > end)
        if protocol == _FRAGMENT:
            fragment = int.from_bytes(frame[offset + 2 : offset + 4]) & 0xFFF8 != 0
        protocol = frame[offset]
        offset += size
    return _Ip(source, destination, protocol, offset, end, fragment, malformed)


def _transport(frame: bytes, ip: _Ip) -> _Transport:
    if ip.protocol not in {TCP, UDP} or ip.fragment:
        return _Transport()
    room = ip.end - ip.offset
    header = frame[ip.offset : min(ip.end, ip.offset + 20)]
    ports = int.from_bytes(header[:4], "little") if len(header) >= 4 else 0
    if ip.protocol == UDP:
        return _Transport(ports, malformed=room < 8, payload=ip.offset + 8 if len(header) >= 8 else None)
    if len(header) < 14:
        return _Transport(ports, malformed=room < 20)
    size = (header[12] >> 4) * 4
    malformed = size < 20 or size > room
    return _Transport(ports, header[13], malformed, None if malformed else ip.offset + size)
