"""Frames decoded as columns: no Python loop over packets.

Done here are IPv4 and IPv6 with all that may be in their headers, and all that is not IP, each with at most one VLAN
tag and nothing malformed or cut short. All other frames are left to netvane.flows.slowpath. Both give the same keys.

Of every frame its Ethernet header is read, and then by family its IP header with what follows, as an array of structs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from netvane.flows import keys as k
from netvane.flows.batch import I64, U8, U64, Batch, gather
from netvane.flows.keys import SHIFT32, Hasher

U16 = npt.NDArray[np.uint16]
Bools = npt.NDArray[np.bool_]
Structs = npt.NDArray[np.void]

_U = np.uint64
_SHORT, _LOW48 = _U(0xFFFF), _U(0xFFFFFFFFFFFF)
_SHIFT48 = _U(48)
_ETHERNET, _TAG, _IPV4, _IPV6 = 14, 4, 20, 40

TCP, UDP = 6, 17
_FRAGMENT, _AH = 44, 51
# IPv6 extension headers that say what follows them (IANA).
_IS_EXTENSION = np.zeros(256, dtype=bool)
_IS_EXTENSION[[0, 43, _FRAGMENT, _AH, 60, 135, 139, 140]] = True
_MAX_EXTENSIONS = 8  # longer chains go the slow path

_TYPE = np.dtype("u2")

# Numbers of 16 bits are in the order of the frame.
_TRANSPORT = np.dtype([("ports", "u4"), ("numbers", "u8"), ("tcp_size", "u1"), ("tcp_flags", "u1")])
_IPV4_HEADERS = np.dtype(
    [
        ("version", "u1"),
        ("service", "u1"),
        ("total", "u2"),
        ("id", "u2"),
        ("fragment", "u2"),
        ("ttl", "u1"),
        ("protocol", "u1"),
        ("checksum", "u2"),
        ("source", "u4"),
        ("destination", "u4"),
        ("transport", _TRANSPORT),
    ]
)
_IPV6_HEADERS = np.dtype(
    [
        ("version", "u1"),
        ("class", "u1"),
        ("flow", "u2"),
        ("payload", "u2"),
        ("protocol", "u1"),
        ("hops", "u1"),
        ("source", "u8", 2),
        ("destination", "u8", 2),
        ("transport", _TRANSPORT),
    ]
)
_EXTENSION_HEADER = np.dtype([("next", "u1"), ("length", "u1"), ("fragment", "u2")])
_IPV4_USUAL = 0x45  # version 4 and 5 words of header
_OFFSET, _OFFSET_AND_MORE = np.uint16(0xFF1F), np.uint16(0xFF3F)
_OFFSET6 = np.uint16(0xF8FF)


@dataclass(frozen=True, slots=True)
class Columns:
    """A decoded batch of n frames. Rows that are in `slow` have hash 0 and no meaning elsewhere.

    `unusual`          how many of the others have IPv4 options, IPv6 extension headers, or are fragments.

    `hashes`           uint64[n], 0 where the slow path must look.
    `last`             uint64[n], word 6 of the key: ports, protocol, flags.
    `tcp`              uint8[n], flags of the TCP header, 0 where there is none.
    `slow`             int64, rows for the slow path.
    `data`             uint8, the batch's buffer.
    `starts`           int64[n], where what follows the Ethernet header and a tag begins in it.
    `first`, `second`  uint64[n], words 0 and 1 of the key.
    """

    hashes: U64
    last: U64
    tcp: U8
    slow: I64
    unusual: int
    data: U8
    starts: I64
    first: U64
    second: U64

    def keys(self, rows: I64) -> U64:
        """Keys uint64[rows, 7] (netvane.flows.keys) of rows that are not slow."""
        found = np.zeros((len(rows), k.WORDS), dtype=np.uint64)
        found[:, 0] = self.first[rows]
        found[:, 1] = self.second[rows]
        found[:, 6] = self.last[rows]
        ethertype = found[:, 1] >> _SHIFT48
        is4 = np.flatnonzero(ethertype == k.ETH_IPV4)
        headers = gather(self.data, self.starts[rows[is4]], _IPV4_HEADERS)
        found[is4, 2], found[is4, 4] = headers["source"], headers["destination"]
        is6 = np.flatnonzero(ethertype == k.ETH_IPV6)
        headers = gather(self.data, self.starts[rows[is6]], _IPV6_HEADERS)
        found[is6, 2:4], found[is6, 4:6] = headers["source"], headers["destination"]
        return found


@dataclass(frozen=True, slots=True)
class _Packets:
    """Decoded IP packets: `hashed` is what all but words 0 and 1 of the key add to the hash."""

    plain: Bools
    unusual: int
    hashed: U64
    last: U64
    tcp: U8


class Decoder:
    """Decodes batches; holds the key of the hash and nothing of what passed."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher

    def decode(self, batch: Batch) -> Columns:
        destination, source = batch.addresses()
        first = destination & ~_SHORT
        if batch.links is not None:
            first |= batch.links
        second = source.copy()
        ethertype = (second >> _SHIFT48).astype(np.uint16)
        starts = batch.offsets + _ETHERNET
        plain = batch.captured >= _ETHERNET
        tagged = np.flatnonzero(ethertype == k.ETH_VLAN)
        if tagged.size:
            at = starts[tagged]
            inner = gather(batch.data, at + 2, _TYPE)
            double = (first[tagged] & _U(k.TAGGED) != 0) | _is_tag(inner)
            link = gather(batch.data, at, _TYPE).byteswap() & np.uint16(0x0FFF) | np.uint16(k.TAGGED)
            first[tagged] |= np.where(double, np.uint16(0), link)
            second[tagged] = (second[tagged] & _LOW48) | (inner.astype(np.uint64) << _SHIFT48)
            ethertype[tagged] = inner
            starts[tagged] += _TAG
            plain[tagged] = (batch.captured[tagged] >= _ETHERNET + _TAG) & ~double

        # Rows that are no IP keep this hash, unless the type field is a tag's or the length of an 802.3 frame.
        hashes = self._hasher.add(self._hasher.add(None, 0, first), 1, second)
        is4, is6 = ethertype == k.ETH_IPV4, ethertype == k.ETH_IPV6
        is_length = (ethertype & np.uint16(0xFF)) < 6  # an ethertype is at least 0x0600
        plain &= ~(is_length | _is_tag(ethertype))
        last = np.zeros(len(batch), dtype=np.uint64)
        tcp = np.zeros(len(batch), dtype=np.uint8)
        unusual = 0
        for family, decode in ((is4, self._ipv4), (is6, self._ipv6)):
            rows = np.flatnonzero(family & plain)
            if rows.size:
                before = starts[rows] - batch.offsets[rows]
                captured, wire = (length[rows].view(np.int64) - before for length in (batch.captured, batch.wire))
                packets = decode(batch.data, starts[rows], captured, wire)
                hashes[rows] += packets.hashed
                last[rows] = packets.last
                tcp[rows] = packets.tcp
                plain[rows] = packets.plain
                unusual += packets.unusual
        hashes = np.maximum(hashes, _U(1)) * plain
        return Columns(hashes, last, tcp, np.flatnonzero(~plain), unusual, batch.data, starts, first, second)

    def _ipv4(self, data: U8, starts: I64, captured: I64, wire: I64) -> _Packets:
        headers = gather(data, starts, _IPV4_HEADERS)
        total, version, fragment = headers["total"].byteswap(), headers["version"], headers["fragment"]
        size = (version & np.uint8(15)) * np.uint8(4)
        unusual = version != _IPV4_USUAL
        optional = np.flatnonzero(unusual)
        if optional.size:
            headers["transport"][optional] = gather(data, starts[optional] + size[optional], _TRANSPORT)
        unusual |= fragment & _OFFSET_AND_MORE != 0
        whole = fragment & _OFFSET == 0  # or the first fragment
        is_tcp, is_udp = whole & (headers["protocol"] == TCP), whole & (headers["protocol"] == UDP)
        need = is_tcp * np.uint8(20) + is_udp * np.uint8(8) + size
        plain = (version & np.uint8(0xF0) == 0x40) & (size >= _IPV4)
        plain &= (need <= total) & (need <= captured) & (total <= wire)
        last, tcp, tcp_plain = _transport(headers["transport"], headers["protocol"], is_tcp, is_udp, total - size)
        plain &= tcp_plain
        hashed = self._hasher.add(None, 6, last)
        hashed = self._hasher.add_half(hashed, 2, headers["source"])
        hashed = self._hasher.add_half(hashed, 4, headers["destination"])
        return _Packets(plain, int(np.count_nonzero(plain & unusual)), hashed, last, tcp)

    def _ipv6(self, data: U8, starts: I64, captured: I64, wire: I64) -> _Packets:
        headers = gather(data, starts, _IPV6_HEADERS)
        payload, protocol = headers["payload"].byteswap(), headers["protocol"]
        plain = (headers["version"] & np.uint8(0xF0) == 0x60) & (payload != 0) & (payload <= wire - _IPV6)
        room = payload.astype(np.int64)
        captured = np.minimum(captured - _IPV6, room)
        whole = np.ones(len(starts), dtype=bool)
        extended = np.flatnonzero(_IS_EXTENSION[protocol] & plain)
        if extended.size:
            at = starts[extended] + _IPV6
            chain = _after_extensions(data, at, at + captured[extended], protocol[extended])
            headers["transport"][extended] = gather(data, at + chain.size, _TRANSPORT)
            protocol[extended] = chain.protocol
            whole[extended] = chain.whole
            plain[extended] = chain.plain
            room[extended] -= chain.size
            captured[extended] -= chain.size
        is_tcp, is_udp = whole & (protocol == TCP), whole & (protocol == UDP)
        plain &= is_tcp * np.uint8(20) + is_udp * np.uint8(8) <= captured
        last, tcp, tcp_plain = _transport(headers["transport"], protocol, is_tcp, is_udp, room)
        plain &= tcp_plain
        hashed = self._hasher.add(None, 6, last)
        for position, address in ((2, headers["source"]), (4, headers["destination"])):
            hashed = self._hasher.add(hashed, position, address[:, 0])
            hashed = self._hasher.add(hashed, position + 1, address[:, 1])
        return _Packets(plain, int(np.count_nonzero(plain[extended])), hashed, last, tcp)


@dataclass(frozen=True, slots=True)
class _Chain:
    """Where chains of extension headers end: `size` bytes on, before a header of `protocol`.

    `whole` is False for later fragments, `plain` where the slow path must look.
    """

    size: I64
    protocol: U8
    whole: Bools
    plain: Bools


def _after_extensions(data: U8, starts: I64, ends: I64, protocol: U8) -> _Chain:
    """Walks chains that begin at `starts` with a header of `protocol`, as far as `ends`."""
    at, protocol = starts.copy(), protocol.copy()
    whole, plain = np.ones(len(starts), dtype=bool), np.ones(len(starts), dtype=bool)
    rows = np.arange(len(starts))
    for _ in range(_MAX_EXTENSIONS):
        if not rows.size:
            break
        header, kind = gather(data, at[rows], _EXTENSION_HEADER), protocol[rows]
        length = header["length"].astype(np.int64)
        size = np.where(kind == _AH, (length + 2) * 4, np.where(kind == _FRAGMENT, 8, (length + 1) * 8))
        fits = at[rows] + size <= ends[rows]
        plain[rows] = fits
        whole[rows] = (kind != _FRAGMENT) | (header["fragment"] & _OFFSET6 == 0)
        at[rows] += size * fits
        protocol[rows] = header["next"]
        rows = rows[fits & whole[rows] & _IS_EXTENSION[header["next"]]]
    plain[rows] = False
    return _Chain(at - starts, protocol, whole, plain)


def _transport(
    headers: Structs, protocol: U8, is_tcp: Bools, is_udp: Bools, room: npt.NDArray[Any]
) -> tuple[U64, U8, Bools]:
    """Word 6 of the keys, TCP flags (0 where it is no TCP), and whether the TCP header's length fits in `room`."""
    size = headers["tcp_size"] >> np.uint8(2) & np.uint8(0x3C)
    tcp = headers["tcp_flags"] * is_tcp
    syn = (tcp & np.uint8(0x12)) == 0x02
    high = (syn + np.uint16(k.IP)) << np.uint16(k.FLAGS_SHIFT - k.PROTOCOL_SHIFT) | protocol
    last = high.astype(np.uint64) << SHIFT32 | headers["ports"] * (is_tcp | is_udp)
    return last, tcp, ~is_tcp | ((size >= 20) & (size <= room))


def _is_tag(ethertype: U16) -> Bools:
    found: Bools = (ethertype == k.ETH_VLAN) | (ethertype == k.ETH_QINQ) | (ethertype == k.ETH_QINQ_OLD)
    return found
