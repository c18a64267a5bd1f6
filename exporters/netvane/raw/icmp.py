"""ICMP echo requests and what comes back: RFC 792, RFC 4443; bytes in, frozen records out."""

import socket
import struct
from typing import NamedTuple, TypeAlias

from netvane.raw.packet import ICMPV6, MalformedError, ipv6_address

ICMP = 1

_ECHO_REPLY4, _UNREACHABLE4, _ECHO4, _EXPIRED4 = 0, 3, 8, 11
_UNREACHABLE6, _EXPIRED6, _ECHO6, _ECHO_REPLY6 = 1, 3, 128, 129

# The types that `parse4` and `parse6` read.
ANSWERS4 = frozenset({_ECHO_REPLY4, _UNREACHABLE4, _EXPIRED4})
ANSWERS6 = frozenset({_ECHO_REPLY6, _UNREACHABLE6, _EXPIRED6})

_REASONS4 = {
    0: "network",
    1: "host",
    2: "protocol",
    3: "port",
    4: "too big",
    9: "prohibited",
    10: "prohibited",
    13: "prohibited",
}
_REASONS6 = {0: "network", 1: "prohibited", 3: "host", 4: "port", 5: "prohibited", 6: "prohibited"}


class EchoReply(NamedTuple):
    """The answer of the destination itself."""

    identifier: int
    sequence: int
    payload: bytes


class ErrorReply(NamedTuple):
    """An answer from the way: it quotes the packet in trouble, of which `source` to `sequence` tell.

    `unreachable` is why the packet went no further; None where only its time to live was over.
    """

    source: str
    destination: str
    identifier: int
    sequence: int
    unreachable: str | None


Reply: TypeAlias = EchoReply | ErrorReply


def checksum(data: bytes) -> int:
    """RFC 1071; over a message with its checksum in place the result is 0."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request4(identifier: int, sequence: int, payload: bytes) -> bytes:
    unsummed = struct.pack("!BBHHH", _ECHO4, 0, 0, identifier, sequence) + payload
    return struct.pack("!BBHHH", _ECHO4, 0, checksum(unsummed), identifier, sequence) + payload


def echo_request6(identifier: int, sequence: int, payload: bytes) -> bytes:
    """Its checksum covers the addresses too and is left to the kernel."""
    return struct.pack("!BBHHH", _ECHO6, 0, 0, identifier, sequence) + payload


def parse4(packet: bytes) -> Reply | None:
    """An IPv4 packet as a raw socket gives it; None for what is no answer to an echo request. Raises MalformedError."""
    header = 4 * (packet[0] & 0x0F) if packet else 0
    message = packet[header:]
    if not 20 <= header <= len(packet) or len(message) < 8:
        raise MalformedError("ICMP cut short")
    if checksum(message):
        raise MalformedError("ICMP checksum is wrong")
    kind, code = message[0], message[1]
    if kind == _ECHO_REPLY4:
        return _echo_reply(message)
    if kind == _UNREACHABLE4 or (kind == _EXPIRED4 and code == 0):
        return _quoted4(message[8:], _REASONS4.get(code, f"code {code}") if kind == _UNREACHABLE4 else None)
    return None


def parse6(message: bytes) -> Reply | None:
    """An ICMPv6 message as a raw socket gives it, its checksum verified by the kernel. Raises MalformedError."""
    if len(message) < 8:
        raise MalformedError("ICMPv6 cut short")
    kind, code = message[0], message[1]
    if kind == _ECHO_REPLY6:
        return _echo_reply(message)
    if kind == _UNREACHABLE6 or (kind == _EXPIRED6 and code == 0):
        return _quoted6(message[8:], _REASONS6.get(code, f"code {code}") if kind == _UNREACHABLE6 else None)
    return None


def _echo_reply(message: bytes) -> EchoReply:
    identifier, sequence = struct.unpack_from("!HH", message, 4)
    return EchoReply(identifier, sequence, message[8:])


def _quoted4(packet: bytes, unreachable: str | None) -> ErrorReply | None:
    """None where the quoted packet is no echo request."""
    header = 4 * (packet[0] & 0x0F) if packet else 0
    if header < 20 or packet[0] >> 4 != 4 or len(packet) < header + 8:
        raise MalformedError("ICMP error quotes too little")
    if packet[9] != ICMP or packet[header] != _ECHO4:
        return None
    identifier, sequence = struct.unpack_from("!HH", packet, header + 4)
    source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    return ErrorReply(source, destination, identifier, sequence, unreachable)


def _quoted6(packet: bytes, unreachable: str | None) -> ErrorReply | None:
    if len(packet) < 48 or packet[0] >> 4 != 6:
        raise MalformedError("ICMPv6 error quotes too little")
    if packet[6] != ICMPV6 or packet[40] != _ECHO6:
        return None
    identifier, sequence = struct.unpack_from("!HH", packet, 44)
    return ErrorReply(ipv6_address(packet[8:24]), ipv6_address(packet[24:40]), identifier, sequence, unreachable)
