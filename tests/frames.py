"""Frames made for tests, and a plain decoder of them that shares nothing with the engine."""

import random
import struct
from collections.abc import Iterator

GADGET, ROUTER = bytes.fromhex("240ac4000001"), bytes.fromhex("b827eb000001")
BROADCAST = b"\xff" * 6
LOCAL, FAR = bytes([198, 51, 100, 20]), bytes([203, 0, 113, 9])
LOCAL6, FAR6 = bytes.fromhex("fd005100000000000000000000000020"), bytes.fromhex("20010db8000000000000000000000009")

TCP_PORTS = {53: "dns", 80: "http", 8080: "http", 443: "tls"}
UDP_PORTS = {53: "dns", 5353: "mdns", 67: "dhcp", 68: "dhcp", 546: "dhcp", 547: "dhcp", 123: "ntp", 1900: "ssdp"}
UDP_PORTS[443] = "quic"


def ethernet(
    payload: bytes, kind: int = 0x0800, source: bytes = GADGET, destination: bytes = ROUTER, vlans: tuple[int, ...] = ()
) -> bytes:
    tags = b"".join(struct.pack("!HH", 0x8100, vlan) for vlan in vlans)
    return destination + source + tags + struct.pack("!H", kind) + payload


def ipv4(
    payload: bytes,
    protocol: int,
    source: bytes = LOCAL,
    destination: bytes = FAR,
    *,
    options: bytes = b"",
    fragment: int = 0,
) -> bytes:
    size = 20 + len(options)
    first = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, size + len(payload), 1, fragment, 64, protocol, 0)
    return first + source + destination + options + payload


def ipv6(payload: bytes, protocol: int, source: bytes = LOCAL6, destination: bytes = FAR6) -> bytes:
    return struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64) + source + destination + payload


def tcp(source: int, destination: int, flags: int = 0x10, payload: bytes = b"") -> bytes:
    return struct.pack("!HHIIBBHHH", source, destination, 1, 1, 0x50, flags, 501, 0, 0) + payload


def udp(source: int, destination: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def samples() -> list[bytes]:
    """One of everything that the engine tells apart."""
    made = [ethernet(ipv4(tcp(40000, port, flags), 6)) for port in (443, 80, 53, 9999) for flags in (0x02, 0x12, 0x18)]
    made += [ethernet(ipv4(udp(port, 40000, bytes(30)), 17), vlans=(7,)) for port in UDP_PORTS]
    made += [ethernet(ipv6(udp(40000, port, bytes(30)), 17), 0x86DD) for port in UDP_PORTS]
    made += [ethernet(ipv6(tcp(40000, 443, 0x02), 6), 0x86DD), ethernet(ipv6(b"\x80" + bytes(15), 58), 0x86DD)]
    made += [ethernet(ipv4(b"\x08" + bytes(15), 1)), ethernet(ipv4(bytes(8), 2, options=b"\x94\x04\0\0"))]
    made += [
        ethernet(bytes(28), 0x0806, destination=BROADCAST),
        ethernet(bytes(46), 38, destination=b"\x01" + bytes(5)),
    ]
    made += [ethernet(ipv4(udp(1, 2, bytes(64)), 17, fragment=part)) for part in (0x2000, 0x2008, 0x0010)]
    made += [ethernet(ipv6(bytes([6, 0, 1, 4, 0, 0, 0, 0]) + tcp(1, 443), 0), 0x86DD)]
    made += [
        ethernet(ipv6(bytes([17, 0, 0, offset, 0, 0, 0, 1]) + udp(1, 53, bytes(20)), 44), 0x86DD) for offset in (1, 9)
    ]
    made += [ethernet(ipv4(tcp(1, 2), 6), vlans=(7, 8)), ethernet(bytes(20), 0x888E)]
    return made


def mutated(seed: int, count: int) -> Iterator[tuple[bytes, int]]:
    """(captured bytes, bytes on the wire): samples with bytes changed, cut short, or padded."""
    choice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    originals = samples()
    for _ in range(count):
        frame = bytearray(choice.choice(originals))
        for _ in range(choice.choice((0, 1, 1, 2, 8))):
            frame[choice.randrange(12, len(frame))] = choice.choice((0, 1, 6, 17, 0x45, 0xFF, choice.randrange(256)))
        if choice.random() < 0.3:
            frame = frame[: choice.randrange(len(frame) + 1)]
        wire = len(frame) + (choice.randrange(1500) if choice.random() < 0.3 else 0)
        yield bytes(frame), wire


def classes(frame: bytes, wire: int) -> set[str]:
    """The classes of a frame: written for reading, not for speed."""
    found = set()
    if len(frame) >= 12 and frame[0] & 1:
        found.add("broadcast" if frame[:6] == BROADCAST else "multicast")
    if len(frame) < 14:
        return found | {"other"}
    kind, rest = int.from_bytes(frame[12:14]), frame[14:]
    while kind in {0x8100, 0x88A8, 0x9100} and len(rest) >= 4:
        kind, rest = int.from_bytes(rest[2:4]), rest[4:]
    if kind < 0x600 and rest[:6] == b"\xaa\xaa\x03\0\0\0" and len(rest) >= 8:
        kind, rest = int.from_bytes(rest[6:8]), rest[8:]
    room = wire - (len(frame) - len(rest))
    if kind == 0x0806:
        return found | {"arp"}
    upper = _upper4(rest, room) if kind == 0x0800 else _upper6(rest, room) if kind == 0x86DD else None
    if upper is None:
        return found | {"other"}
    protocol, header, first = upper
    name = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6"}.get(protocol, "other")
    found.add(name)
    if first and name in {"tcp", "udp"} and len(header) >= 4:
        by_port = TCP_PORTS if name == "tcp" else UDP_PORTS
        found |= {by_port[port] for port in struct.unpack("!HH", header[:4]) if port in by_port}
    if first and name == "tcp" and len(header) >= 14 and header[13] & 0x12 == 2:
        found.add("tcp_syn")
    return found


def _upper4(packet: bytes, room: int) -> tuple[int, bytes, bool] | None:
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[0] & 15 < 5:
        return None
    size, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4]) or room
    if total < size or room < size:
        return None
    return packet[9], packet[size : min(total, room)], int.from_bytes(packet[6:8]) & 0x1FFF == 0


def _upper6(packet: bytes, room: int) -> tuple[int, bytes, bool] | None:
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return None
    length = int.from_bytes(packet[4:6])
    end = min(40 + length, room) if length else room
    kind, rest = packet[6], packet[40:end]
    for _ in range(32):
        if kind not in {0, 43, 44, 51, 60, 135, 139, 140}:
            break
        size = 8 if kind == 44 or len(rest) < 2 else (rest[1] + 2) * 4 if kind == 51 else (rest[1] + 1) * 8
        if len(rest) < size:
            return None
        later = kind == 44 and int.from_bytes(rest[2:4]) >= 8
        kind, rest = rest[0], rest[size:]
        if later:
            return kind, rest, False
    return kind, rest, True
