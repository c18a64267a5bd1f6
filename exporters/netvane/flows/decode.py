"""Plain frames decoded as columns: no Python loop over packets.

Plain are IPv4 without options and fragments, IPv6 without extension headers, and all that is not IP, each with at most
one VLAN tag and nothing malformed. All other frames are left to netvane.flows.slowpath. Both give the same keys.

Of every frame its Ethernet header is read, and then by family its IP header with what follows, as an array of structs.
"""

from dataclasses import dataclass

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
# IPv6 extension headers (IANA), and "no next header".
_EXTENSIONS = (0, 43, 44, 51, 59, 60, 135, 139, 140)
_IS_EXTENSION = np.zeros(256, dtype=bool)
_IS_EXTENSION[list(_EXTENSIONS)] = True

_TYPE = np.dtype("u2")

# Numbers of 16 bits are in the order of the frame.
_TRANSPORT = [("ports", "u4"), ("numbers", "u8"), ("tcp_size", "u1"), ("tcp_flags", "u1")]
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
        *_TRANSPORT,
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
        *_TRANSPORT,
    ]
)
_IPV4_PLAIN = 0x45  # version 4 and 5 words of header
_NOT_FRAGMENT = np.uint16(0xFF3F)  # neither "more fragments" nor an offset


@dataclass(frozen=True, slots=True)
class Columns:
    """A decoded batch of n frames. Rows that are in `slow` have hash 0 and no meaning elsewhere.

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
    data: U8
    starts: I64
    first: U64
    second: U64

    def keys(self, rows: I64) -> U64:
        """Keys uint64[rows, 7] (netvane.flows.keys) of plain rows."""
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
        hashes = np.maximum(hashes, _U(1)) * plain
        return Columns(hashes, last, tcp, np.flatnonzero(~plain), batch.data, starts, first, second)

    def _ipv4(self, data: U8, starts: I64, captured: I64, wire: I64) -> _Packets:
        headers = gather(data, starts, _IPV4_HEADERS)
        total = headers["total"].byteswap()
        is_tcp, is_udp = headers["protocol"] == TCP, headers["protocol"] == UDP
        need = is_tcp * np.uint8(20) + is_udp * np.uint8(8) + np.uint8(_IPV4)
        plain = (headers["version"] == _IPV4_PLAIN) & (headers["fragment"] & _NOT_FRAGMENT == 0)
        plain &= (need <= total) & (need <= captured) & (total <= wire)
        last, tcp, tcp_plain = _transport(headers, is_tcp, is_udp, total - np.uint16(_IPV4))
        hashed = self._hasher.add(None, 6, last)
        hashed = self._hasher.add_half(hashed, 2, headers["source"])
        hashed = self._hasher.add_half(hashed, 4, headers["destination"])
        return _Packets(plain & tcp_plain, hashed, last, tcp)

    def _ipv6(self, data: U8, starts: I64, captured: I64, wire: I64) -> _Packets:
        headers = gather(data, starts, _IPV6_HEADERS)
        payload = headers["payload"].byteswap()
        is_tcp, is_udp = headers["protocol"] == TCP, headers["protocol"] == UDP
        need = is_tcp * np.uint8(20) + is_udp * np.uint8(8)
        plain = (headers["version"] & np.uint8(0xF0) == 0x60) & ~_IS_EXTENSION[headers["protocol"]]
        plain &= (need <= payload) & (payload != 0) & (need <= captured - _IPV6) & (payload <= wire - _IPV6)
        last, tcp, tcp_plain = _transport(headers, is_tcp, is_udp, payload)
        hashed = self._hasher.add(None, 6, last)
        for position, address in ((2, headers["source"]), (4, headers["destination"])):
            hashed = self._hasher.add(hashed, position, address[:, 0])
            hashed = self._hasher.add(hashed, position + 1, address[:, 1])
        return _Packets(plain & tcp_plain, hashed, last, tcp)


def _transport(headers: Structs, is_tcp: Bools, is_udp: Bools, room: U16) -> tuple[U64, U8, Bools]:
    """Word 6 of the keys, TCP flags (0 where it is no TCP), and whether the TCP header's length fits in `room`."""
    size = headers["tcp_size"] >> np.uint8(2) & np.uint8(0x3C)
    tcp = headers["tcp_flags"] * is_tcp
    syn = (tcp & np.uint8(0x12)) == 0x02
    high = (syn + np.uint16(k.IP)) << np.uint16(k.FLAGS_SHIFT - k.PROTOCOL_SHIFT) | headers["protocol"]
    last = high.astype(np.uint64) << SHIFT32 | headers["ports"] * (is_tcp | is_udp)
    return last, tcp, ~is_tcp | ((size >= 20) & (size <= room))


def _is_tag(ethertype: U16) -> Bools:
    found: Bools = (ethertype == k.ETH_VLAN) | (ethertype == k.ETH_QINQ) | (ethertype == k.ETH_QINQ_OLD)
    return found
