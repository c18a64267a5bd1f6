"""Frames of other links as Ethernet frames, one at a time: captures of an access point come in all of these.

Link types: https://www.tcpdump.org/linktypes.html; radiotap: https://www.radiotap.org; IEEE 802.11-2020 section 9.2.
"""

from collections.abc import Callable
from typing import NamedTuple

from netvane.flows.keys import NO_DESTINATION, NO_SOURCE

ETHERNET = 1
_NO_MAC = bytes(6)
# A cooked packet's kind says whether it went to all or to a group, but not to whom.
_GROUPS = {1: b"\xff" * 6, 2: b"\x01" + bytes(5)}
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"


class Reframed(NamedTuple):
    """An Ethernet frame as far as it was captured, and how long it would have been on the wire."""

    frame: bytes
    wire: int
    link: int = 0  # which addresses are missing (netvane.flows.keys, word 0)


# Nothing that can be decoded, and nothing wrong with it.
_OPAQUE = Reframed(bytes(14), 14, NO_SOURCE | NO_DESTINATION)
# Cut short within the link's own header.
_BROKEN = Reframed(b"", 0, NO_SOURCE | NO_DESTINATION)


def reframe(link: int, frame: bytes, wire: int) -> Reframed:
    """`frame`: the captured bytes of `wire`, of link type `link`, which is not ETHERNET."""
    convert = _LINKS.get(link)
    return convert(frame, wire) if convert else _OPAQUE


def _ethernet(
    ends: tuple[bytes | None, bytes | None], ethertype: bytes, frame: bytes, wire: int, start: int
) -> Reframed:
    destination, source = ends
    link = (NO_DESTINATION if destination is None else 0) | (NO_SOURCE if source is None else 0)
    header = (destination or _NO_MAC) + (source or _NO_MAC) + ethertype
    return Reframed(header + frame[start:], wire - start + 14, link)


def _raw_ip(frame: bytes, wire: int) -> Reframed:
    if not frame:
        return _BROKEN
    ethertype = _IPV6 if frame[0] >> 4 == 6 else _IPV4
    return _ethernet((None, None), ethertype, frame, wire, 0)


def _cooked(frame: bytes, wire: int) -> Reframed:
    """LINKTYPE_LINUX_SLL: packet type, ARPHRD, address length (16 bits each), 8 bytes of address, protocol."""
    if len(frame) < 16:
        return _BROKEN
    source = frame[6:12] if frame[5] == 6 else None
    return _cooked_frame(int.from_bytes(frame[0:2]), source, frame[14:16], frame[16:], wire - 16)


def _cooked2(frame: bytes, wire: int) -> Reframed:
    """LINKTYPE_LINUX_SLL2: protocol, 16 bits, interface index, ARPHRD, packet type, address length, address."""
    if len(frame) < 20:
        return _BROKEN
    source = frame[12:18] if frame[11] == 6 else None
    return _cooked_frame(frame[10], source, frame[0:2], frame[20:], wire - 20)


def _cooked_frame(kind: int, source: bytes | None, protocol: bytes, data: bytes, wire: int) -> Reframed:
    made = _ethernet((_GROUPS.get(kind), source), protocol, data, wire, 0)
    return made._replace(link=made.link | NO_DESTINATION)


def _radiotap(frame: bytes, wire: int) -> Reframed:
    if len(frame) < 8:
        return _BROKEN
    size = int.from_bytes(frame[2:4], "little")
    if size < 8 or len(frame) < size:
        return _BROKEN
    flags = _radiotap_flags(frame[:size])
    trailer = 4 if flags & 0x10 else 0  # the frame check sequence
    end = min(len(frame), wire - trailer)
    return _wifi(frame[size:end], wire - trailer - size, padded=bool(flags & 0x20))


def _radiotap_flags(header: bytes) -> int:
    """The flags field: behind the 64-bit timestamp where there is one, both of them after all `present` words."""
    present = int.from_bytes(header[4:8], "little")
    offset = 8
    word = present
    while word & 1 << 31 and offset + 4 <= len(header):
        word = int.from_bytes(header[offset : offset + 4], "little")
        offset += 4
    if not present & 2:
        return 0
    if present & 1:
        offset = (offset + 7) // 8 * 8 + 8
    return header[offset] if offset < len(header) else 0


def _wifi(frame: bytes, wire: int, *, padded: bool = False) -> Reframed:
    """IEEE 802.11: data frames that are not encrypted, with what they carry; data that are, with their addresses."""
    if len(frame) < 24:
        return _BROKEN if frame[:1] == b"" or frame[0] & 0x0C == 0x08 else _OPAQUE
    kind, flags = frame[0], frame[1]
    if kind & 0x0C != 0x08:
        return _OPAQUE
    to_system, from_system = bool(flags & 1), bool(flags & 2)
    size = 30 if to_system and from_system else 24
    first, second, third, fourth = frame[4:10], frame[10:16], frame[16:22], frame[24:30]
    destination = third if to_system else first
    source = (fourth if to_system else third) if from_system else second
    aggregated = False
    if kind & 0x80:
        aggregated = len(frame) > size and bool(frame[size] & 0x80)
        size += 2 + (4 if flags & 0x80 else 0)
    if padded:
        size = (size + 3) // 4 * 4
    if len(frame) < size:
        return _BROKEN
    if kind & 0x40 or flags & 0x40 or aggregated:  # without data, encrypted, several frames in one
        return _ethernet((destination, source), b"\0\0", frame, wire, size)
    if frame[size : size + 6] == b"\xaa\xaa\x03\x00\x00\x00" and len(frame) >= size + 8:
        return _ethernet((destination, source), frame[size + 6 : size + 8], frame, wire, size + 8)
    return _ethernet((destination, source), b"\0\0", frame, wire, size)


_LINKS: dict[int, Callable[[bytes, int], Reframed]] = {
    12: _raw_ip,
    14: _raw_ip,
    101: _raw_ip,
    105: _wifi,
    113: _cooked,
    127: _radiotap,
    228: _raw_ip,
    229: _raw_ip,
    276: _cooked2,
}
