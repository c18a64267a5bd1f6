"""ICMP echo messages as a ping socket takes and gives them: bytes in, frozen records out.

Formats: RFC 792 (echo and echo reply), RFC 4443 section 4. The kernel writes the identifier and the checksum, and hands
over replies to this socket's identifier only, without the IP header (ping sockets, net/ipv4/ping.c).

The payload starts with 16 bytes: a cookie of this process (8) and the probe's number (8, big endian). The 16-bit
sequence number of ICMP is too short to tell a very late answer from a new one.
"""

import struct
from typing import NamedTuple

HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_TOKEN = struct.Struct("!8sQ")  # cookie, number
MIN_PAYLOAD = _TOKEN.size
_REQUEST = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}


class Malformed(Exception):  # noqa: N818 - a record of what came, raised to leave the parser
    """Not an answer to one of our probes; `reason` is a short word for a label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Token(NamedTuple):
    """What a payload says of the probe it belongs to."""

    cookie: bytes
    number: int
    payload_bytes: int


def echo_request(family: int, cookie: bytes, number: int, payload_bytes: int) -> bytes:
    """An echo request of `payload_bytes` (at least 16) for `family` 4 or 6; `cookie` is 8 bytes."""
    header = HEADER.pack(_REQUEST[family], 0, 0, 0, number & 0xFFFF)
    return header + _TOKEN.pack(cookie, number) + bytes(payload_bytes - MIN_PAYLOAD)


def echo_reply(family: int, message: bytes) -> Token:
    """The token in an echo reply. Raises Malformed: short, not_a_reply, altered."""
    if len(message) < HEADER.size + MIN_PAYLOAD:
        raise Malformed("short")
    kind, code, _, _, sequence = HEADER.unpack_from(message)
    if kind != _REPLY[family] or code != 0:
        raise Malformed("not_a_reply")
    cookie, number = _TOKEN.unpack_from(message, HEADER.size)
    if sequence != number & 0xFFFF:
        raise Malformed("altered")
    return Token(cookie, number, len(message) - HEADER.size)


def sent_number(frame: bytes, payload_bytes: int) -> int:
    """The number of the probe in a sent frame, which the kernel hands back, link-layer header and all, with its send
    timestamp. Raises Malformed.
    """
    if len(frame) < payload_bytes + HEADER.size:
        raise Malformed("short")
    return int(_TOKEN.unpack_from(frame, len(frame) - payload_bytes)[1])
