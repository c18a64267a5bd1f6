"""Plain frames decoded as columns: no Python loop over packets.

Plain are IPv4 without options and fragments, IPv6 without extension headers, and all that is not IP, each with at most
one VLAN tag and nothing malformed. All other frames are left to netvane.flows.slowpath. Both give the same keys.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from netvane.flows import keys as k
from netvane.flows.batch import I64, U8, U64, Batch, gather
from netvane.flows.keys import MASK32, SHIFT32, Hasher

_U = np.uint64
_SHIFT8, _SHIFT16, _SHIFT48, _SHIFT56 = _U(8), _U(16), _U(48), _U(56)
_BYTE, _SHORT, _LOW48 = _U(0xFF), _U(0xFFFF), _U(0xFFFFFFFFFFFF)
_ETHERNET = 14

# First word of an IPv4 header: version 4 with 5 words of header; neither "more fragments" nor a fragment offset.
_IPV4_SHAPE, _IPV4_PLAIN = _U(0xFF3F0000000000FF), _U(0x45)
_IPV6_VERSION, _IPV6_PLAIN = _U(0xF0), _U(0x60)

TCP, UDP = 6, 17
# IPv6 extension headers (IANA), and "no next header".
_EXTENSIONS = (0, 43, 44, 51, 59, 60, 135, 139, 140)

# By protocol: bytes of its header that must be there, and which bits of a header's first 32 are ports.
_NEED = np.zeros(256, dtype=np.uint64)
_NEED[TCP], _NEED[UDP] = 20, 8
_PORTS = np.zeros(256, dtype=np.uint64)
_PORTS[[TCP, UDP]] = MASK32
_NEED6 = _NEED.copy()
_NEED6[list(_EXTENSIONS)] = 1 << 32  # never there: the slow path walks them

_SYN_ACK, _SYN = _U(0x12), _U(0x02)


@dataclass(frozen=True, slots=True)
class Columns:
    """A decoded batch. Rows that are in `slow` have hash 0 and no meaning elsewhere.

    `words`   uint64[9, n] of the frames, VLAN tags taken out (netvane.flows.batch).
    `hashes`  uint64[n], 0 where the slow path must look.
    `last`    uint64[n], word 6 of the key: ports, protocol, flags.
    `tcp`     uint8[n], flags of the TCP header, 0 where there is none.
    `slow`    int64, rows for the slow path.
    """

    words: U64
    hashes: U64
    last: U64
    tcp: U8
    slow: I64

    def keys(self, rows: I64) -> U64:
        """Keys uint64[rows, 7] (netvane.flows.keys) of plain rows."""
        words = self.words[:, rows]
        found = np.zeros((len(rows), k.WORDS), dtype=np.uint64)
        found[:, 0] = words[0]
        found[:, 1] = words[1]
        ethertype = words[1] >> _SHIFT48
        is4, is6 = ethertype == k.ETH_IPV4, ethertype == k.ETH_IPV6
        found[:, 2] = np.where(is4, words[3] >> SHIFT32, np.where(is6, words[3], _U(0)))
        found[:, 3] = np.where(is6, words[4], _U(0))
        found[:, 4] = np.where(is4, words[4] & MASK32, np.where(is6, words[5], _U(0)))
        found[:, 5] = np.where(is6, words[6], _U(0))
        found[:, 6] = self.last[rows]
        return found


class Decoder:
    """Decodes batches; holds the key of the hash and nothing of what passed."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher

    def decode(self, batch: Batch) -> Columns:
        n = len(batch)
        words = batch.words()
        links = np.zeros(n, dtype=np.uint64) if batch.links is None else batch.links
        captured = np.maximum(batch.captured, _U(_ETHERNET)) - _U(_ETHERNET)
        wire = np.maximum(batch.wire, _U(_ETHERNET)) - _U(_ETHERNET)
        ethertype = words[1] >> _SHIFT48
        plain = batch.captured >= _ETHERNET
        tagged = np.flatnonzero(ethertype == k.ETH_VLAN)
        if tagged.size:
            links, double = _untag(batch, words, links, tagged)
            ethertype = words[1] >> _SHIFT48
            for lengths in (captured, wire):
                lengths[tagged] = np.maximum(lengths[tagged], _U(4)) - _U(4)
            plain[tagged] = (batch.captured[tagged] >= _ETHERNET + 4) & ~double
        words[0] = (words[0] & ~_SHORT) | links

        hashes = np.zeros(n, dtype=np.uint64)
        last = np.zeros(n, dtype=np.uint64)
        tcp = np.zeros(n, dtype=np.uint8)
        is4, is6 = ethertype == k.ETH_IPV4, ethertype == k.ETH_IPV6
        for family, decode in ((is4, self._ipv4), (is6, self._ipv6)):
            rows = np.flatnonzero(family & plain)
            if rows.size == n:
                hashes, last, tcp = decode(words, captured, wire)
            elif rows.size:
                hashes[rows], last[rows], tcp[rows] = decode(words[:, rows], captured[rows], wire[rows])
        # What is left is neither IP nor tagged twice, unless its type field is the length of an 802.3 frame.
        rest = np.flatnonzero(plain & ~(is4 | is6))
        if rest.size:
            low = words[1, rest] >> _SHIFT48
            length = (low & _BYTE) < 6  # an ethertype is at least 0x0600
            hashes[rest] = np.where(length | _is_tag(low), _U(0), self._ethernet(words[0, rest], words[1, rest]))
        return Columns(words, hashes, last, tcp, np.flatnonzero(hashes == 0))

    def _ethernet(self, first: U64, second: U64) -> U64:
        low, high = self._hasher.low, self._hasher.high
        total: U64 = (first & MASK32) * low[0]
        total += (first >> SHIFT32) * high[0]
        total += (second & MASK32) * low[1]
        total += (second >> SHIFT32) * high[1]
        return total

    def _finish(self, total: U64, last: U64, plain: npt.NDArray[np.bool_]) -> U64:
        total += (last & MASK32) * self._hasher.low[6]
        total += (last >> SHIFT32) * self._hasher.high[6]
        return np.maximum(total, _U(1)) * plain

    def _ipv4(self, words: U64, captured: U64, wire: U64) -> tuple[U64, U64, U8]:
        low = self._hasher.low
        total = _swapped((words[2] >> _SHIFT16) & _SHORT)
        protocol = (words[3] >> _SHIFT8) & _BYTE
        need = _NEED[protocol] + _U(20)
        plain = (words[2] & _IPV4_SHAPE) == _IPV4_PLAIN
        plain &= (need <= total) & (need <= captured) & (total <= wire)
        flags, tcp_plain = _tcp(words[6], protocol == TCP, total - _U(20))
        last = ((words[4] >> SHIFT32) & _PORTS[protocol]) | _protocol_and_flags(protocol, flags)
        hashed = self._ethernet(words[0], words[1])
        hashed += (words[3] >> SHIFT32) * low[2]
        hashed += (words[4] & MASK32) * low[4]
        return self._finish(hashed, last, plain & tcp_plain), last, flags.astype(np.uint8)

    def _ipv6(self, words: U64, captured: U64, wire: U64) -> tuple[U64, U64, U8]:
        low, high = self._hasher.low, self._hasher.high
        payload = _swapped((words[2] >> SHIFT32) & _SHORT)
        protocol = (words[2] >> _SHIFT48) & _BYTE
        need = _NEED6[protocol]
        plain = (words[2] & _IPV6_VERSION) == _IPV6_PLAIN
        plain &= (need <= payload) & (need + _U(40) <= captured) & (payload + _U(40) <= wire) & (payload != 0)
        flags, tcp_plain = _tcp(words[8] >> SHIFT32, protocol == TCP, payload)
        last = (words[7] & _PORTS[protocol]) | _protocol_and_flags(protocol, flags)
        hashed = self._ethernet(words[0], words[1])
        for position, word in ((2, words[3]), (3, words[4]), (4, words[5]), (5, words[6])):
            hashed += (word & MASK32) * low[position]
            hashed += (word >> SHIFT32) * high[position]
        return self._finish(hashed, last, plain & tcp_plain), last, flags.astype(np.uint8)


def _untag(batch: Batch, words: U64, links: U64, rows: I64) -> tuple[U64, npt.NDArray[np.bool_]]:
    """Take the first VLAN tag out of `words` of `rows`; returns `links` with it, and which of
    the rows have another one.
    """
    moved = gather(batch.data, batch.offsets[rows] + 4)
    found = _swapped(words[2, rows] & _SHORT) & _U(0x0FFF) | _U(k.TAGGED)
    ethertype = moved[1] >> _SHIFT48
    double = (links[rows] & _U(k.TAGGED) != 0) | _is_tag(ethertype)
    words[1, rows] = (words[1, rows] & _LOW48) | (ethertype << _SHIFT48)
    words[2:, rows] = moved[2:]
    links = links.copy()
    links[rows] = np.where(double, links[rows], links[rows] | found)
    return links, double


def _is_tag(ethertype: U64) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (ethertype == k.ETH_VLAN) | (ethertype == k.ETH_QINQ) | (ethertype == k.ETH_QINQ_OLD)
    return found


def _swapped(short: U64) -> U64:
    swapped: U64 = ((short & _BYTE) << _SHIFT8) | (short >> _SHIFT8)
    return swapped


def _tcp(word: U64, is_tcp: npt.NDArray[np.bool_], size: U64) -> tuple[U64, npt.NDArray[np.bool_]]:
    """Flags (0 where it is no TCP) and whether the header length is possible; `word` begins with the length's byte."""
    header = (word >> _U(2)) & _U(0x3C)
    flags = ((word >> _SHIFT8) & _BYTE) * is_tcp
    return flags, ~is_tcp | ((header >= 20) & (header <= size))


def _protocol_and_flags(protocol: U64, tcp_flags: U64) -> U64:
    syn = (tcp_flags & _SYN_ACK) == _SYN
    both: U64 = (protocol << SHIFT32) | ((syn + _U(k.IP)) << _U(k.FLAGS_SHIFT))
    return both
