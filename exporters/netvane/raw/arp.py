"""ARP for IPv4 over Ethernet (RFC 826), with the probe and announcement of RFC 5227."""

import socket
import struct
from typing import Literal, NamedTuple

from netvane.raw.packet import MalformedError, held, mac_address

_ETHERNET_IPV4 = struct.pack("!HHBB", 1, 0x0800, 6, 4)
_OPERATIONS: dict[int, Literal["request", "reply"]] = {1: "request", 2: "reply"}


class Arp(NamedTuple):
    """`address` is what the sender says is its own, `target` what it asks for or speaks to."""

    message: Literal["request", "reply", "probe", "announcement"]
    mac: str
    address: str | None
    target: str


def parse(payload: bytes) -> Arp | None:
    """None for an operation other than request and reply (RARP, InARP …). Raises MalformedError."""
    if len(payload) < 28:
        raise MalformedError("ARP cut short")
    if payload[:6] != _ETHERNET_IPV4:
        raise MalformedError("ARP for something else than IPv4 over Ethernet")
    operation = _OPERATIONS.get(int.from_bytes(payload[6:8], "big"))
    if operation is None:
        return None
    if payload[14] >= 224:
        raise MalformedError("ARP from a group address")
    mac, address, target = mac_address(payload[8:14]), payload[14:18], payload[24:28]
    if operation == "request" and not any(address):
        return Arp("probe", mac, None, socket.inet_ntoa(target))
    message = "announcement" if address == target else operation
    return Arp(message, mac, held(socket.inet_ntoa(address)), socket.inet_ntoa(target))
