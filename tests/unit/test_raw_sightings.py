"""Frames built by scapy, and frames built by nobody in their right mind, through the parsers of `netvane raw`."""

import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import (
    DUID_EN,
    DUID_LLT,
    VENDOR_CLASS_DATA,
    DHCP6_Advertise,
    DHCP6_InfoRequest,
    DHCP6_RelayForward,
    DHCP6_Solicit,
    DHCP6OptClientFQDN,
    DHCP6OptClientId,
    DHCP6OptClientLinkLayerAddr,
    DHCP6OptDNSServers,
    DHCP6OptIA_NA,
    DHCP6OptIAAddress,
    DHCP6OptOptReq,
    DHCP6OptRelayMsg,
    DHCP6OptServerId,
    DHCP6OptVendorClass,
)
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from netvane.common.raw_messages import DhcpServer, Sighting
from netvane.raw.packet import MalformedError
from netvane.raw.sightings import Capture, decode

PI, PHONE, ROUTER = "b8:27:eb:00:00:01", "02:00:5e:00:00:02", "c0:25:06:00:00:03"
LINK_LOCAL = "fe80::ba27:ebff:fe00:1"
TS = 1_767_225_600_000_000_123


def frame(*layers: Any) -> bytes:
    packet = layers[0]
    for layer in layers[1:]:
        packet /= layer
    return bytes(packet)


def see(*layers: Any) -> Sighting | None:
    return decode(Capture(frame(*layers), TS, "eth0"))


def sighting(mac: str, kind: Any, message: str, **fields: Any) -> Sighting:
    return Sighting(ts=TS, interface="eth0", mac=mac, kind=kind, message=message, **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"op": 1, "psrc": "198.51.100.9", "pdst": "198.51.100.1"},
            sighting(PI, "arp", "request", address="198.51.100.9"),
        ),
        (
            {"op": 2, "psrc": "198.51.100.9", "pdst": "198.51.100.1"},
            sighting(PI, "arp", "reply", address="198.51.100.9"),
        ),
        (
            {"op": 1, "psrc": "0.0.0.0", "pdst": "198.51.100.9"},
            sighting(PI, "arp", "probe", requested="198.51.100.9"),
        ),
        (
            {"op": 1, "psrc": "198.51.100.9", "pdst": "198.51.100.9"},
            sighting(PI, "arp", "announcement", address="198.51.100.9"),
        ),
        ({"op": 3, "psrc": "198.51.100.9", "pdst": "198.51.100.1"}, None),
    ],
)
def test_arp(fields: dict[str, Any], expected: Sighting | None) -> None:
    assert see(Ether(src=PI, dst=ROUTER), ARP(hwsrc=PI, **fields), Raw(b"\0" * 18)) == expected


def test_arp_that_another_machine_sends() -> None:
    seen = see(Ether(src=PHONE, dst=ROUTER), ARP(op=2, hwsrc=ROUTER, psrc="198.51.100.1", pdst="198.51.100.9"))
    assert seen == sighting(ROUTER, "arp", "reply", address="198.51.100.1", sender=PHONE)


@pytest.mark.parametrize(
    "fields",
    [
        {"hwsrc": "ff:ff:ff:ff:ff:ff"},
        {"hwsrc": "00:00:00:00:00:00"},
        {"hwsrc": "01:00:5e:00:00:01"},
        {"hwsrc": PI, "psrc": "255.255.255.255"},
        {"hwsrc": PI, "psrc": "224.0.0.1"},
        {"hwsrc": PI, "hwlen": 8},
        {"hwsrc": PI, "ptype": 0x86DD},
    ],
)
def test_impossible_arp(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        see(Ether(src=PI, dst=ROUTER), ARP(op=1, **fields))


def nd(message: Any, *options: Any, src: str = LINK_LOCAL, hlim: int = 255) -> Sighting | None:
    return see(Ether(src=PI, dst=ROUTER), IPv6(src=src, dst="ff02::1", hlim=hlim), message, *options)


def test_neighbour_discovery() -> None:
    mine, theirs = ICMPv6NDOptSrcLLAddr(lladdr=PI), ICMPv6NDOptDstLLAddr(lladdr=ROUTER)
    assert nd(ICMPv6ND_NS(tgt="fd00::1"), mine) == sighting(PI, "nd", "solicitation", address=LINK_LOCAL)
    assert nd(ICMPv6ND_NS(tgt="fd00::9"), src="::") == sighting(PI, "nd", "probe", requested="fd00::9")
    assert nd(ICMPv6ND_NA(tgt="fd00::1", R=1), theirs) == sighting(
        ROUTER, "nd", "advertisement", address="fd00::1", router=True, sender=PI
    )
    assert nd(ICMPv6ND_NA(tgt="fd00::9", R=0)) == sighting(PI, "nd", "advertisement", address="fd00::9")
    assert nd(ICMPv6ND_RS(), src="::") == sighting(PI, "nd", "router-solicitation")
    assert nd(ICMPv6ND_RA(routerlifetime=1800), mine) == sighting(
        PI, "nd", "router-advertisement", address=LINK_LOCAL, router=True
    )
    assert nd(ICMPv6ND_RA(routerlifetime=0)) == sighting(PI, "nd", "router-advertisement", address=LINK_LOCAL)
    redirect = nd(ICMPv6ND_Redirect(tgt="fe80::7", dst="fd00::5"), theirs)
    assert redirect == sighting(PI, "nd", "redirect", address=LINK_LOCAL, router=True)


def test_neighbour_discovery_that_must_be_ignored() -> None:
    for message, options, fields in (
        (ICMPv6ND_NS(tgt="fd00::1"), (), {"hlim": 64}),
        (ICMPv6ND_NS(tgt="fd00::1", code=1), (), {}),
        (ICMPv6ND_NS(tgt="ff02::1"), (), {"src": "::"}),
        (ICMPv6ND_NA(tgt="::"), (), {}),
        (ICMPv6ND_NA(tgt="fd00::1"), (Raw(b"\x02\x00" + bytes(6)),), {}),
        (ICMPv6ND_NA(tgt="fd00::1"), (Raw(b"\x02\x02" + bytes(6)),), {}),
        (ICMPv6ND_NA(tgt="fd00::1"), (Raw(b"\x02\x01" + b"\xff" * 6),), {}),
    ):
        with pytest.raises(MalformedError):
            nd(message, *options, **fields)


def dhcp4(options: list[Any], *, op: int = 1, bootp: dict[str, Any] | None = None, src: str = PI) -> Sighting | None:
    ports = (68, 67) if op == 1 else (67, 68)
    return see(
        Ether(src=src, dst="ff:ff:ff:ff:ff:ff"),
        IP(src="0.0.0.0" if op == 1 else "198.51.100.1", dst="255.255.255.255"),
        UDP(sport=ports[0], dport=ports[1]),
        BOOTP(op=op, chaddr=bytes.fromhex(PI.replace(":", "")) + bytes(10), **(bootp or {})),
        DHCP(options=options),
    )


def test_dhcp4_from_a_client() -> None:
    seen = dhcp4(
        [
            ("message-type", "request"),
            ("client_id", b"\x01" + bytes.fromhex(PI.replace(":", ""))),
            ("requested_addr", "198.51.100.7"),
            ("hostname", b'kitchen\x00-"pi"\x1b'),
            ("vendor_class_id", b"android-dhcp-14"),
            ("param_req_list", [1, 3, 6, 15, 26, 28, 51, 58, 59, 43]),
            "end",
        ]
    )
    assert seen == sighting(
        PI,
        "dhcp4",
        "request",
        requested="198.51.100.7",
        host_name="kitchen-pi",
        vendor_class="android-dhcp-14",
        fingerprint=(1, 3, 6, 15, 26, 28, 51, 58, 59, 43),
        client_id="01b827eb000001",
    )


def test_dhcp4_from_a_server() -> None:
    seen = dhcp4(
        [
            ("message-type", "offer"),
            ("server_id", "198.51.100.1"),
            ("lease_time", 3600),
            ("router", "198.51.100.1"),
            ("name_server", "198.51.100.1", "198.51.100.2"),
            "end",
        ],
        op=2,
        bootp={"yiaddr": "198.51.100.7"},
        src=ROUTER,
    )
    assert seen == sighting(
        ROUTER,
        "dhcp4",
        "offer",
        address="198.51.100.1",
        server=DhcpServer(
            server_id="198.51.100.1",
            client_mac=PI,
            offered="198.51.100.7",
            routers=("198.51.100.1",),
            dns=("198.51.100.1", "198.51.100.2"),
            lease_seconds=3600,
        ),
    )


def test_dhcp4_through_a_relay_and_from_another_kind_of_network() -> None:
    relayed = dhcp4([("message-type", "discover"), "end"], bootp={"giaddr": "198.51.100.1"}, src=ROUTER)
    assert relayed == sighting(PI, "dhcp4", "discover", sender=ROUTER)
    assert dhcp4([("message-type", "discover"), "end"], bootp={"htype": 32, "hlen": 0}) is None


def test_dhcp4_renewal_release_and_what_has_no_name() -> None:
    bootp = {"ciaddr": "198.51.100.7"}
    assert dhcp4([("message-type", "release")], bootp=bootp) == sighting(PI, "dhcp4", "release", address="198.51.100.7")
    assert dhcp4([("message-type", 18)]) == sighting(PI, "dhcp4", "type-18")
    assert dhcp4([("hostname", "old")]) == sighting(PI, "dhcp4", "bootp", host_name="old")


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (b"\x00\x00\x00kitchen.home.arpa.", "kitchen.home.arpa"),
        (b"\x04\x00\x00\x07kitchen\x04home\x04arpa\x00", "kitchen.home.arpa"),
        (b"\x04\x00\x00\x07kitchen", "kitchen"),
        (b"\x04\x00\x00\x00", None),
        (b"\x00\x00\x00", None),
    ],
)
def test_dhcp4_fqdn(option: bytes, name: str | None) -> None:
    seen = dhcp4([("message-type", "discover"), (81, option), "end"])
    assert seen is not None
    assert seen.host_name == name


def test_dhcp4_long_and_overloaded_options() -> None:
    """RFC 3396: pieces of an option are joined, over options, file and sname in this order."""
    seen = dhcp4(
        [("message-type", "discover"), ("dhcp-option-overload", 3), (60, b"a" * 3), (60, b"b" * 3), "end"],
        bootp={"file": b"\x3c\x02cc\x0c\x03one\xff".ljust(128, b"\0"), "sname": b"\x0c\x03two\xff".ljust(64, b"\0")},
    )
    assert seen is not None
    assert (seen.vendor_class, seen.host_name) == ("aaabbbcc", "onetwo")
    plain = dhcp4([("message-type", "discover"), "end"], bootp={"file": b"\x0c\x03one\xff".ljust(128, b"\0")})
    assert plain is not None
    assert plain.host_name is None


@pytest.mark.parametrize(
    "tail",
    [
        b"\x35",  # no length
        b"\x0c\xffabc",  # longer than what there is
        b"\x35\x00\xff",  # a message type of no bytes
        b"\x32\x03abc\xff",  # three quarters of an address
        b"\x51\x08\x04\x00\x00\x3fabcd\xff",  # a label longer than its name
        b"\x51\x08\x04\x00\x00\xc0\x00bcd\xff",  # a compression pointer
    ],
)
def test_damaged_dhcp4(tail: bytes) -> None:
    header = b"\x01\x01\x06\x00" + bytes(24) + bytes.fromhex(PI.replace(":", "")) + bytes(202) + b"\x63\x82\x53\x63"
    with pytest.raises(MalformedError):
        see(Ether(src=PI, dst=ROUTER), IP(), UDP(sport=68, dport=67), Raw(header + tail))


DUID = DUID_LLT(lladdr=PHONE, timeval=1)


def dhcp6(message: Any, *options: Any, src: str = PI, dport: int = 547) -> Sighting | None:
    return see(Ether(src=src, dst=ROUTER), IPv6(src=LINK_LOCAL, dst="ff02::1:2"), UDP(dport=dport), message, *options)


def test_dhcp6_from_a_client() -> None:
    seen = dhcp6(
        DHCP6_Solicit(),
        DHCP6OptClientId(duid=DUID),
        DHCP6OptIA_NA(iaid=7, ianaopts=[DHCP6OptIAAddress(addr="fd00::7")]),
        DHCP6OptOptReq(reqopts=[23, 24, 82]),
        DHCP6OptVendorClass(enterprisenum=311, vcdata=VENDOR_CLASS_DATA(data=b"MSFT 5.0")),
        DHCP6OptClientFQDN(fqdn="Annas-iPhone"),
    )
    assert seen == sighting(
        PI,
        "dhcp6",
        "solicit",
        address=LINK_LOCAL,
        requested="fd00::7",
        host_name="Annas-iPhone",
        vendor_class="MSFT 5.0",
        fingerprint=(23, 24, 82),
        client_id=bytes(DUID).hex(),
    )


def test_dhcp6_from_a_server() -> None:
    server = DUID_EN(enterprisenum=9, id=b"xyz")
    seen = dhcp6(
        DHCP6_Advertise(),
        DHCP6OptClientId(duid=DUID),
        DHCP6OptServerId(duid=server),
        DHCP6OptIA_NA(ianaopts=[DHCP6OptIAAddress(addr="fd00::7")]),
        DHCP6OptDNSServers(dnsservers=["fd00::53"]),
        src=ROUTER,
        dport=546,
    )
    assert seen == sighting(
        ROUTER,
        "dhcp6",
        "advertise",
        address=LINK_LOCAL,
        server=DhcpServer(
            server_id=bytes(server).hex(),
            client_mac=PHONE,
            client_id=bytes(DUID).hex(),
            offered="fd00::7",
            dns=("fd00::53",),
        ),
    )


def relay(inner: Any, *options: Any, peer: str = "fe80::99") -> Any:
    packet = DHCP6_RelayForward(linkaddr="fd00::1", peeraddr=peer)
    for option in options:
        packet /= option
    return packet / DHCP6OptRelayMsg(message=inner)


def test_dhcp6_through_relays() -> None:
    request = DHCP6_InfoRequest() / DHCP6OptClientId(duid=DUID)
    inner = relay(request, DHCP6OptClientLinkLayerAddr(clladdr="24:0a:c4:00:00:09"))
    seen = dhcp6(relay(inner, peer="fe80::88"), src=ROUTER)
    assert seen == sighting(
        "24:0a:c4:00:00:09",
        "dhcp6",
        "information-request",
        address="fe80::99",
        sender=ROUTER,
        client_id=bytes(DUID).hex(),
    )
    by_duid = dhcp6(relay(request), src=ROUTER)
    assert by_duid is not None
    assert by_duid.mac == PHONE
    assert dhcp6(relay(DHCP6_InfoRequest()), src=ROUTER) is None


@pytest.mark.parametrize(
    "message",
    [
        b"\x01\x00\x00",
        b"\x01\x00\x00\x00\x00\x01\x00",
        b"\x01\x00\x00\x00\x00\x01\x00\xff\x00",
        b"\x0c\x00" + bytes(31),
        b"\x0c\x00" + bytes(32),
        b"\x01\x00\x00\x00\x00\x17\x00\x03abc",
        b"\x01\x00\x00\x00\x00\x03\x00\x10" + bytes(12) + b"\x00\x05\x00\x18",
    ],
)
def test_damaged_dhcp6(message: bytes) -> None:
    with pytest.raises(MalformedError):
        dhcp6(Raw(message))


def test_endless_relays() -> None:
    message = b"\x0b\x00\x00\x01"
    for depth in range(20):
        message = b"\x0c\x00" + bytes(32) + b"\x00\x09" + struct.pack("!H", len(message)) + message
        if depth < 8:
            assert dhcp6(Raw(message)) is None  # nothing in it says who the client is
            continue
        with pytest.raises(MalformedError, match="relays"):
            dhcp6(Raw(message))


def test_what_tells_of_nobody() -> None:
    ether = Ether(src=PI, dst=ROUTER)
    assert see(ether, IP(), UDP(sport=67, dport=53)) is None
    assert see(ether, IP(), ICMP()) is None
    assert see(ether, IPv6(), UDP(dport=67)) is None
    assert see(ether, IP(), UDP(dport=547)) is None
    assert see(Ether(src=PI, dst=ROUTER, type=0x88CC), Raw(b"lldp")) is None


SEEDS = [
    frame(Ether(src=PI, dst=ROUTER), ARP(op=1, hwsrc=PI, psrc="198.51.100.9", pdst="198.51.100.1")),
    frame(Ether(src=PI, dst=ROUTER), IPv6(src=LINK_LOCAL), ICMPv6ND_NA(tgt="fd00::1"), ICMPv6NDOptDstLLAddr(lladdr=PI)),
    frame(
        Ether(src=PI, dst=ROUTER),
        IP(),
        UDP(sport=68, dport=67),
        BOOTP(chaddr=bytes.fromhex(PI.replace(":", "")), file=b"\x0c\x03one\xff".ljust(128, b"\0")),
        DHCP(
            options=[("message-type", "request"), (52, b"\x01"), ("hostname", "pi"), (81, b"\x04\0\0\x02pi\0"), "end"]
        ),
    ),
    frame(
        Ether(src=PI, dst=ROUTER),
        IPv6(),
        UDP(dport=547),
        relay(DHCP6_Solicit() / DHCP6OptClientId(duid=DUID) / DHCP6OptClientFQDN(fqdn="pi")),
    ),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good frame with some of its bytes changed, and some of its end missing."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 8))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@given(st.binary(max_size=600) | damaged())
@example(b"")
@example(bytes(13))
def test_any_bytes_give_a_clean_sighting_or_are_malformed(data: bytes) -> None:
    try:
        seen = decode(Capture(data, TS, "eth0"))
    except MalformedError:
        return
    if seen is None:
        return
    assert int(seen.mac[:2], 16) % 2 == 0
    for text in (seen.host_name, seen.vendor_class):
        assert text is None or (text.isprintable() and len(text.encode()) <= 255 and not set(text) & set("\"'<>\\"))
