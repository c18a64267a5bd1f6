"""Ethernet II, IPv4, IPv6 and UDP headers: bytes in, frozen records out; nothing is copied but the payload.

Formats: IEEE 802.3, RFC 791, RFC 8200, RFC 768. Fragments and IPv6 extension headers are not read: the kernel filter
(netvane.raw.bpf) lets none through. UDP checksums are not verified: with offload a good frame often has none yet.
"""

import socket
import struct
from typing import NamedTuple

UDP = 17
ICMPV6 = 58

_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


class MalformedError(ValueError):
    """The bytes are not what their protocol allows."""


class Frame(NamedTuple):
    """`source` as ``b8:27:eb:00:00:01``; `payload` may end in padding."""

    source: str
    ethertype: int
    payload: bytes


class Packet(NamedTuple):
    """An IPv4 or IPv6 packet; `hop_limit` is IPv4's TTL; `payload` without padding."""

    source: str
    destination: str
    protocol: int
    hop_limit: int
    payload: bytes


def mac_address(raw: bytes) -> str:
    """Six bytes as text. Raises MalformedError for a group address or all zeros, which no device has."""
    if len(raw) != 6 or raw[0] & 1 or not any(raw):
        raise MalformedError(f"{raw.hex(':')} is nobody's MAC address")
    return raw.hex(":")


def held(address: str) -> str | None:
    """None for the unspecified address, which says that the sender has none."""
    return None if address in _UNSPECIFIED else address


def ethernet(frame: bytes) -> Frame:
    if len(frame) < 14:
        raise MalformedError("Ethernet header cut short")
    return Frame(mac_address(frame[6:12]), int.from_bytes(frame[12:14], "big"), frame[14:])


def ipv4(packet: bytes) -> Packet:
    if len(packet) < 20 or packet[0] >> 4 != 4:
        raise MalformedError("no IPv4 header")
    header, total = 4 * (packet[0] & 0x0F), int.from_bytes(packet[2:4], "big")
    if not 20 <= header <= total <= len(packet):
        raise MalformedError("IPv4 lengths contradict each other")
    source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    return Packet(source, destination, packet[9], packet[8], packet[header:total])


def ipv6(packet: bytes) -> Packet:
    if len(packet) < 40 or packet[0] >> 4 != 6:
        raise MalformedError("no IPv6 header")
    end = 40 + int.from_bytes(packet[4:6], "big")
    if end > len(packet):
        raise MalformedError("IPv6 packet cut short")
    return Packet(ipv6_address(packet[8:24]), ipv6_address(packet[24:40]), packet[6], packet[7], packet[40:end])


def ipv6_address(raw: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6, raw)


def udp(segment: bytes) -> tuple[int, bytes]:
    """Destination port and payload."""
    if len(segment) < 8:
        raise MalformedError("UDP header cut short")
    _, destination, length, _ = struct.unpack_from("!4H", segment)
    if not 8 <= length <= len(segment):
        raise MalformedError("UDP length beyond the packet")
    return destination, segment[8:length]
