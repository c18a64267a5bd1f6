"""One frame at a time, for what netvane.flows.decode leaves: tags in tags, LLC, and whatever is cut short or malformed.
It decodes all others too, outermost headers only. Gives the keys of netvane.flows.keys.

Sources: IEEE 802.3 and 802.1Q, RFC 791, RFC 8200, RFC 4302 (AH), RFC 9293 (TCP), RFC 768 (UDP).

Malformed is what no sender means: a header that says it is longer than what was on the wire, or shorter than possible.
A frame that the capture cut short is not malformed. Either is decoded as far as it goes.
"""

import struct
from typing import NamedTuple

from netvane.flows import keys as k
from netvane.flows.decode import TCP, UDP

_ETHERNET = 14
_TAGS = (k.ETH_VLAN, k.ETH_QINQ, k.ETH_QINQ_OLD)
_SNAP = b"\xaa\xaa\x03\x00\x00\x00"
_MAC_MASK = (1 << 48) - 1

# Numbers as a key has them: in the order of the frame, read as a little-endian machine reads them.
_ADDRESSES = struct.Struct("<IHQ")  # destination MAC in two parts, source MAC with the type
_IPV4 = struct.Struct("<BxHxxHxBxxII")  # version and length, total, fragment, protocol, source, destination
_IPV6 = struct.Struct("<BxxxHBx4Q")  # version, payload, protocol, source, destination

_HOP, _ROUTING, _FRAGMENT, _AH, _NO_NEXT, _DESTINATION = 0, 43, 44, 51, 59, 60
_OPTIONS_LIKE = (_HOP, _ROUTING, _DESTINATION, 135, 139, 140)  # mobility, HIP, shim6
_EXTENSIONS = frozenset({*_OPTIONS_LIKE, _FRAGMENT, _AH})
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
    """What an IP header says: `addresses` are words 2 to 5 of the key. `protocol` is None where it is not reached, and
    `offset` is then of no use.
    """

    addresses: tuple[int, int, int, int] = (0, 0, 0, 0)
    protocol: int | None = None
    offset: int = 0  # of the protocol's header in the frame
    end: int = 0  # of the packet, in a whole frame
    fragment: bool = False  # not the first one
    malformed: bool = False


def decode(frame: bytes, wire: int, link: int = 0) -> Decoded:
    """`frame`: the captured bytes of `wire`; `link`: what is known of it already (netvane.flows.keys, word 0)."""
    if len(frame) < _ETHERNET:
        return _undecodable(frame, wire, link)
    low, high, second = _ADDRESSES.unpack_from(frame)
    first = low << 16 | high << 48
    ethertype = second >> 48
    offset = _ETHERNET
    while ethertype in _TAGS:
        if len(frame) < offset + 4:
            return Decoded(_key(first | link, second, ethertype), malformed=wire < offset + 4)
        if not link & k.TAGGED:
            link |= k.TAGGED | int.from_bytes(frame[offset : offset + 2]) & 0x0FFF
        ethertype = frame[offset + 2] | frame[offset + 3] << 8
        offset += 4
    first |= link
    if ethertype & 0xFF < 6:  # an ethertype is at least 0x0600, an 802.3 length less
        if frame[offset : offset + 6] != _SNAP or len(frame) < offset + 8:
            return Decoded(_key(first, second, 0))
        ethertype = frame[offset + 6] | frame[offset + 7] << 8
        offset += 8
    if ethertype not in {k.ETH_IPV4, k.ETH_IPV6}:
        return Decoded(_key(first, second, ethertype))
    ip = _ipv4(frame, offset, wire) if ethertype == k.ETH_IPV4 else _ipv6(frame, offset, wire)
    return _with_transport(frame, (first, second & _MAC_MASK | ethertype << 48), ip)


def _with_transport(frame: bytes, ethernet: tuple[int, int], ip: _Ip) -> Decoded:
    """`ethernet`: words 0 and 1 of the key."""
    addresses, protocol, offset, end, fragment, malformed = ip
    last, tcp_flags, payload = 0, 0, None
    if protocol in {TCP, UDP} and not fragment:
        last, tcp_flags, broken, payload = _transport(frame, offset, end, protocol)
        malformed = malformed or broken
    if protocol is not None:
        syn = k.SYN if tcp_flags & 0x12 == 0x02 else 0
        last |= protocol << k.PROTOCOL_SHIFT | (k.IP | syn) << k.FLAGS_SHIFT
    return Decoded((*ethernet, *addresses, last), tcp_flags, malformed, payload, min(end, len(frame)))


def _undecodable(frame: bytes, wire: int, link: int) -> Decoded:
    """A frame without a whole Ethernet header: it is counted, and for no device unless both addresses are there."""
    if len(frame) < 12:
        frame, link = b"", link | k.NO_SOURCE | k.NO_DESTINATION
    low, high, second = _ADDRESSES.unpack(frame.ljust(_ETHERNET, b"\0"))
    return Decoded(_key(low << 16 | high << 48 | link, second, 0), malformed=wire < _ETHERNET)


def _key(first: int, second: int, ethertype: int) -> tuple[int, int, int, int, int, int, int]:
    return first, second & _MAC_MASK | ethertype << 48, 0, 0, 0, 0, 0


def _ipv4(frame: bytes, offset: int, wire: int) -> _Ip:
    if len(frame) < offset + 20:
        return _Ip(malformed=wire < offset + 20)
    version, total, fragment, protocol, source, destination = _IPV4.unpack_from(frame, offset)
    size = (version & 15) * 4
    # 0: the sender's card cuts the segments and fills it in.
    total = (total & 0xFF) << 8 | total >> 8 if total else wire - offset
    if version >> 4 != 4 or size < 20:
        return _Ip(malformed=True)
    addresses = (source, 0, destination, 0)
    if total < size or wire < offset + size:
        return _Ip(addresses, malformed=True)
    end = offset + total
    return _Ip(addresses, protocol, offset + size, min(end, wire), fragment & 0xFF1F != 0, end > wire)


def _ipv6(frame: bytes, offset: int, wire: int) -> _Ip:
    if len(frame) < offset + 40:
        return _Ip(malformed=wire < offset + 40)
    version, length, protocol, *words = _IPV6.unpack_from(frame, offset)
    if version >> 4 != 6:
        return _Ip(malformed=True)
    addresses = (words[0], words[1], words[2], words[3])
    offset += 40
    # 0: a jumbogram, or segments still to be cut.
    end = offset + ((length & 0xFF) << 8 | length >> 8) if length else wire
    malformed = end > wire
    end = min(end, wire)
    captured = min(end, len(frame))
    fragment = False
    for _ in range(_MAX_EXTENSIONS):
        if fragment or protocol not in _EXTENSIONS:
            break
        size = 8
        if len(frame) >= offset + 2 and protocol != _FRAGMENT:
            size = (frame[offset + 1] + 2) * 4 if protocol == _AH else (frame[offset + 1] + 1) * 8
        if offset + size > captured:
            return _Ip(addresses, malformed=malformed or offset + size > end)
        if protocol == _FRAGMENT:
            fragment = int.from_bytes(frame[offset + 2 : offset + 4]) & 0xFFF8 != 0
        protocol = frame[offset]
        offset += size
    return _Ip(addresses, protocol, offset, end, fragment, malformed)


def _transport(frame: bytes, offset: int, end: int, protocol: int) -> tuple[int, int, bool, int | None]:
    """(ports as in word 6 of a key, TCP flags, whether it is malformed, where the payload begins or None)."""
    room, captured = end - offset, min(end, len(frame)) - offset
    ports = int.from_bytes(frame[offset : offset + 4], "little") if captured >= 4 else 0
    if protocol == UDP:
        return ports, 0, room < 8, offset + 8 if captured >= 8 else None
    if captured < 14:
        return ports, 0, room < 20, None
    size = (frame[offset + 12] >> 4) * 4
    malformed = size < 20 or size > room
    return ports, frame[offset + 13], malformed, None if malformed else offset + size
