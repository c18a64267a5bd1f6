"""The kernel filter of the passive listener, beside the one that libpcap makes of the same wish."""

import contextlib
import ctypes
import select
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.dhcp6 import DHCP6_Solicit
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from netvane.common.clock import SystemClock
from netvane.raw.sightings import Capture
from netvane.raw.tap import ETHERNET, Tap
from tests.lab.netns import Namespace
from tests.lab.rack import Rack

pytestmark = pytest.mark.lab

# `ip[6:2] & 0x3fff = 0`: no fragment, not even a first one; the IPv6 half as if there were no extension headers.
WISH = (
    "arp"
    " or (ip proto 17 and ip[6:2] & 0x3fff = 0 and (udp dst port 67 or udp dst port 68))"
    " or (ip6[6] = 17 and (ip6[42:2] = 546 or ip6[42:2] = 547))"
    " or (ip6[6] = 58 and ip6[40] >= 133 and ip6[40] <= 137)"
)

ETH_P_ALL = 3
OPTION = b"\x94\x04\x00\x00"  # router alert
LAST = bytes(Ether(src="02:00:00:00:00:ff", dst="ff:ff:ff:ff:ff:ff") / ARP(op=2))


def frame(number: int, *layers: Any) -> bytes:
    """Each with a source address of its own, by which it is found again."""
    packet = Ether(src=f"02:00:00:00:00:{number:02x}", dst="ff:ff:ff:ff:ff:ff")
    for layer in layers:
        packet /= layer
    return bytes(packet)


WANTED: list[tuple[Any, ...]] = [
    (ARP(op=1),),
    (ARP(op=2),),
    (IP(), UDP(sport=68, dport=67), BOOTP()),
    (IP(), UDP(sport=67, dport=68), BOOTP()),
    (IP(), UDP(sport=67, dport=67), BOOTP()),
    (IP(options=[OPTION]), UDP(sport=68, dport=67), BOOTP()),
    (IP(options=[OPTION] * 10), UDP(sport=68, dport=67), BOOTP()),
    (IP(flags="DF"), UDP(sport=68, dport=67), BOOTP()),
    (IPv6(), UDP(sport=546, dport=547), DHCP6_Solicit()),
    (IPv6(), UDP(sport=547, dport=546), DHCP6_Solicit()),
    (IPv6(), ICMPv6ND_RS()),
    (IPv6(), ICMPv6ND_RA()),
    (IPv6(), ICMPv6ND_NS()),
    (IPv6(), ICMPv6ND_NA()),
    (IPv6(), ICMPv6ND_Redirect()),
    (Dot1Q(vlan=42), ARP(op=1)),
    (Dot1Q(vlan=42), IP(), UDP(sport=68, dport=67), BOOTP()),
    (Dot1Q(vlan=42), IPv6(), ICMPv6ND_NS()),
    (Dot1Q(vlan=0, prio=5), ARP(op=1)),  # a priority without a VLAN
]
UNWANTED: list[tuple[Any, ...]] = [
    (IP(), UDP(sport=67, dport=53), Raw(b"x" * 300)),
    (IP(), UDP(sport=1024, dport=69), Raw(b"x")),
    (IP(), TCP(sport=68, dport=67)),
    (IP(), ICMP(type=8)),
    (IP(proto=17, flags="MF"), UDP(sport=68, dport=67), BOOTP()),
    (IP(proto=17, frag=8), UDP(sport=68, dport=67), BOOTP()),
    (IP(proto=17, options=[OPTION]), Raw(b"\x00\x43\x00\x35" * 8)),  # port 67 only where no options are thought of
    (IPv6(), UDP(sport=547, dport=5353), Raw(b"x")),
    (IPv6(), TCP(sport=546, dport=547)),
    (IPv6(), ICMPv6EchoRequest()),
    (IPv6(nh=58), Raw(bytes([132, 0, 0, 0]))),
    (IPv6(nh=58), Raw(bytes([138, 0, 0, 0]))),
    (IPv6(), IPv6ExtHdrHopByHop(), ICMPv6ND_NS()),
    (IPv6(), IPv6ExtHdrFragment(), UDP(dport=547), DHCP6_Solicit()),
    (Dot1Q(vlan=1), Dot1Q(vlan=42), ARP(op=1)),
    (Dot1Q(vlan=42), IP(), TCP(dport=67)),
    (Raw(b""),),
    (Raw(b"x"),),
]
RAW: list[bytes] = [
    b"\x08\x00" + b"\x45" + bytes(8) + b"\x11",  # IPv4 and UDP, and nothing more
    b"\x08\x00" + b"\x4f" + bytes(8) + b"\x11" + bytes(10),  # options beyond the frame
    b"\x86\xdd" + b"\x60" + bytes(5) + b"\x3a",
    b"\x86\xdd" + b"\x60" + bytes(5) + b"\x11" + bytes(33),
    b"\x88\xcc" + b"lldp",
    b"\x00\x26" + b"\x42\x42\x03" + bytes(35),  # IEEE 802.3 with a length: spanning tree
]
FRAMES = [frame(number, *layers) for number, layers in enumerate(WANTED + UNWANTED)]
FRAMES += [bytes.fromhex(f"ffffffffffff0200000000{len(FRAMES) + number:02x}") + end for number, end in enumerate(RAW)]


@pytest.fixture
def pair(rack: Rack) -> Iterator[tuple[Namespace, socket.socket]]:
    """A watcher with eth0, and the other end of its wire."""
    watcher, neighbour = rack.namespaces("watcher", "neighbour")
    for namespace in (watcher, neighbour):
        namespace.sysctl({"net.ipv6.conf.default.disable_ipv6": 1})  # or the kernels talk, too
    watcher.ip(f"link add eth0 type veth peer name eth0 netns {neighbour.name}", "link set eth0 up")
    neighbour.ip("link set eth0 up")
    with packet_socket(neighbour, 0) as channel:
        yield watcher, channel


def packet_socket(
    namespace: Namespace, protocol: int, prepare: Callable[[socket.socket], None] | None = None
) -> socket.socket:
    def opened() -> socket.socket:
        channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        if prepare:
            prepare(channel)
        channel.bind(("eth0", protocol))
        channel.settimeout(10)
        return channel

    return namespace.call(opened)


@contextlib.contextmanager
def tapped(watcher: Namespace) -> Iterator[Tap]:
    with contextlib.closing(watcher.call(lambda: Tap("eth0", SystemClock()))) as tap:
        yield tap


def captured(tap: Tap) -> list[Capture]:
    """Everything up to the LAST frame."""
    captures: list[Capture] = []
    while not captures or captures[-1].frame != LAST:
        assert select.select([tap], [], [], 10)[0], "the last frame did not arrive"
        tap.read(captures.append)
    return captures[:-1]


def numbers(frames: list[bytes]) -> list[int]:
    return [one[11] for one in frames]


def test_what_is_wanted_arrives_and_nothing_else(pair: tuple[Namespace, socket.socket]) -> None:
    watcher, wire = pair
    with tapped(watcher) as tap:
        for one in (*FRAMES, LAST):
            wire.send(one)
        captures = captured(tap)
        assert numbers([capture.frame for capture in captures]) == list(range(len(WANTED)))
        assert [capture.vlan for capture in captures] == [None] * 15 + [42, 42, 42, 0]
        assert all(capture.frame == one for capture, one in zip(captures[:15], FRAMES, strict=False))
        assert all(capture.interface == "eth0" for capture in captures)
        stamps = [capture.ts for capture in captures]
        assert stamps == sorted(stamps)
        assert tap.dropped() == 0
        assert (tap.hardware, watcher.call(lambda: (tap.up, tap.stale))) == (ETHERNET, (True, False))


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_libpcap_makes_the_same_choice(pair: tuple[Namespace, socket.socket]) -> None:
    watcher, wire = pair
    listing = watcher.run(["tcpdump", "-i", "eth0", "-ddd", "-s", "2048", WISH]).stdout.split()
    steps = [tuple(map(int, listing[at : at + 4])) for at in range(1, len(listing), 4)]
    assert len(steps) == int(listing[0])
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))

    def attach(channel: socket.socket) -> None:
        filter_ = struct.pack("@HP", len(steps), ctypes.addressof(program))
        channel.setsockopt(socket.SOL_SOCKET, 26, filter_)  # SO_ATTACH_FILTER

    with tapped(watcher) as tap, packet_socket(watcher, ETH_P_ALL, attach) as theirs:
        for one in (*FRAMES, LAST):
            wire.send(one)
        frames = []
        while (one := theirs.recv(4096)) != LAST:
            frames.append(one)
        assert [capture.frame for capture in captured(tap)] == frames


def test_nothing_leaks_in_before_the_filter_is_in_place(pair: tuple[Namespace, socket.socket]) -> None:
    """Taps opened under a stream of unwanted frames."""
    watcher, wire = pair
    stop = threading.Event()

    def stream() -> None:
        while not stop.is_set():
            wire.send(FRAMES[len(WANTED)])

    with ThreadPoolExecutor(max_workers=1) as pool:
        streaming = pool.submit(stream)
        try:
            for _ in range(100):
                with tapped(watcher) as tap:
                    wire.send(LAST)
                    assert captured(tap) == []
        finally:
            stop.set()
        streaming.result()


def test_own_frames_are_left_out(pair: tuple[Namespace, socket.socket]) -> None:
    watcher, wire = pair
    with tapped(watcher) as tap, packet_socket(watcher, 0) as own:
        own.send(FRAMES[0])
        wire.send(FRAMES[1])
        wire.send(LAST)
        assert numbers([capture.frame for capture in captured(tap)]) == [1]


def test_groups_that_nobody_joined_are_heard(pair: tuple[Namespace, socket.socket]) -> None:
    """The interface is told to pass every multicast frame up: IFF_ALLMULTI."""
    watcher, _ = pair
    with tapped(watcher):
        assert "allmulti 1" in watcher.run("ip -d link show eth0").stdout
    assert "allmulti 0" in watcher.run("ip -d link show eth0").stdout


def test_drops_are_counted_once(pair: tuple[Namespace, socket.socket]) -> None:
    watcher, wire = pair
    with tapped(watcher) as tap:
        for _ in range(2000):
            wire.send(FRAMES[0])
        dropped = tap.dropped()
        assert dropped > 0
        assert tap.dropped() == dropped
