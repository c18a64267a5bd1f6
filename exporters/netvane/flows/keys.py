"""Keys of the flow table: what a frame is counted under, and their keyed hash.

A key is seven uint64 words, most of them as they lie in the frame (network order read as little-endian words):

    0  link (16 bits) | destination MAC << 16        link: VLAN id | TAGGED, or 0; NO_SOURCE, NO_DESTINATION
    1  source MAC | ethertype << 48                  0 as ethertype: none (802.3 length)
    2  source address, its first 8 bytes (IPv4: all 4)
    3  source address, its last 8 bytes
    4  destination address, likewise
    5
    6  source port | destination port << 16 | protocol << 32 | flags << 40
"""

import os

import numpy as np
import numpy.typing as npt

from netvane.flows.batch import U64

WORDS = 7

# Numbers in the order of a frame's bytes, as a little-endian machine reads them.
ETH_IPV4 = 0x0008
ETH_IPV6 = 0xDD86
ETH_ARP = 0x0608
ETH_VLAN = 0x0081
ETH_QINQ = 0xA888
ETH_QINQ_OLD = 0x0091  # before 802.1ad had a number of its own

# Word 0
TAGGED = 0x1000
NO_SOURCE, NO_DESTINATION = 0x2000, 0x4000  # the link carries no such address

# Word 6
PROTOCOL_SHIFT = 32
FLAGS_SHIFT = 40
SYN = 1  # TCP with SYN and without ACK
IP = 2  # `protocol` was read from an IP header
FOLDED = 4  # an entry of `other` (netvane.flows.table): words 2 and 3 hold classes and scopes

MASK32 = np.uint64(0xFFFFFFFF)
SHIFT32 = np.uint64(32)


def reversed_keys(keys: U64) -> U64:
    """Keys of what goes the other way, without the flag SYN."""
    mac = np.uint64(0xFFFFFFFFFFFF)
    turned = np.empty_like(keys)
    turned[:, 0] = keys[:, 0] & np.uint64(0xFFFF) | (keys[:, 1] & mac) << np.uint64(16)
    turned[:, 1] = keys[:, 0] >> np.uint64(16) | keys[:, 1] & ~mac
    turned[:, 2:4], turned[:, 4:6] = keys[:, 4:6], keys[:, 2:4]
    last = keys[:, 6] & ~np.uint64(SYN << FLAGS_SHIFT)
    ports = (last & np.uint64(0xFFFF)) << np.uint64(16) | (last >> np.uint64(16)) & np.uint64(0xFFFF)
    turned[:, 6] = last & ~MASK32 | ports
    return turned


class Hasher:
    """Multilinear hashing of 32-bit halves modulo 2^64, keyed by random words.

    Two keys that differ in a half by d collide with a chance of 2^-(64 - t), t the number of trailing zero bits of d:
    at most 2^-33 for any pair, so that nobody who does not know the words can aim at an entry (Lemire and Kaser,
    "Strongly universal string hashing is fast", 2014). The top bits are the best ones: positions come from them.
    """

    def __init__(self, seed: bytes | None = None) -> None:
        """`seed`: 112 bytes; drawn afresh unless given."""
        words = np.frombuffer(seed or os.urandom(16 * WORDS), dtype=np.uint64)
        self.low = words[0::2]
        self.high = words[1::2]

    def add(self, total: U64 | None, position: int, words: U64) -> U64:
        """`total` and what the word at `position` of keys adds to their hash, in place; None for 0."""
        # The lower half need not be masked: what the upper one adds by `low` is one more random factor of its own.
        added: U64 = words * self.low[position]
        added += (words >> SHIFT32) * self.high[position]
        if total is not None:
            added += total
        return added

    def add_half(self, total: U64, position: int, halves: npt.NDArray[np.uint32]) -> U64:
        """The same where the upper half of the word is 0."""
        total += halves.astype(np.uint64) * self.low[position]
        return total

    def of_words(self, keys: U64) -> U64:
        """uint64[n] of keys uint64[n, 7]; never 0, which means an empty place."""
        total = self.add(None, 0, keys[:, 0])
        for position in range(1, WORDS):
            total = self.add(total, position, keys[:, position])
        return np.maximum(total, np.uint64(1))
