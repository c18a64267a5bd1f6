"""Answers to echo requests, built by scapy, and what only looks like one."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP, ICMPerror, IPerror
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)

from netvane.raw import icmp
from netvane.raw.icmp import EchoReply, ErrorReply
from netvane.raw.packet import MalformedError

US, THEM, ROUTER = "198.51.100.10", "203.0.113.9", "198.51.100.1"
US6, THEM6 = "fd00::10", "fd00:113::9"
PAYLOAD = b"tokentok\xfe\xfc"


def ipv4(*layers: Any) -> bytes:
    packet = IP(src=ROUTER, dst=US)
    for layer in layers:
        packet /= layer
    return bytes(packet)


def icmpv6(*layers: Any) -> bytes:
    packet = IPv6(src="fd00::1", dst=US6)
    for layer in layers:
        packet /= layer
    return bytes(packet)[40:]


def test_echo_requests_are_what_scapy_makes_of_them() -> None:
    ours = icmp.echo_request4(0x1234, 0x0102, PAYLOAD)
    assert ours == bytes(ICMP(type=8, id=0x1234, seq=0x0102) / PAYLOAD)
    ours6 = icmp.echo_request6(0x1234, 0x0102, PAYLOAD)
    assert ours6 == bytes(ICMPv6EchoRequest(id=0x1234, seq=0x0102, data=PAYLOAD, cksum=0))


QUOTE = (IP(src=US, dst=THEM, ttl=1), ICMP(type=8, id=7, seq=513), PAYLOAD)


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        (ipv4(ICMP(type=0, id=7, seq=513), PAYLOAD), EchoReply(7, 513, PAYLOAD)),
        (ipv4(ICMP(type=11, code=0), *QUOTE), ErrorReply(US, THEM, 7, 513, None)),
        (ipv4(ICMP(type=3, code=0), *QUOTE), ErrorReply(US, THEM, 7, 513, "network")),
        (ipv4(ICMP(type=3, code=1), *QUOTE), ErrorReply(US, THEM, 7, 513, "host")),
        (ipv4(ICMP(type=3, code=13), *QUOTE), ErrorReply(US, THEM, 7, 513, "prohibited")),
        (ipv4(ICMP(type=3, code=200), *QUOTE), ErrorReply(US, THEM, 7, 513, "code 200")),
        (ipv4(ICMP(type=11, code=1), *QUOTE), None),  # a fragment that never became whole
        (ipv4(ICMP(type=8, id=7, seq=513), PAYLOAD), None),
        (ipv4(ICMP(type=11), IPerror(src=US, dst=THEM), UDP(dport=33434)), None),
        (ipv4(ICMP(type=11), IPerror(src=US, dst=THEM), ICMPerror(type=13, ts_ori=0, ts_rx=0, ts_tx=0)), None),
    ],
)
def test_answers_over_ipv4(packet: bytes, answer: icmp.Reply | None) -> None:
    assert icmp.parse4(packet) == answer


def test_ipv4_options_in_both_headers() -> None:
    option = b"\x94\x04\x00\x00"  # router alert
    quote = bytes(IP(src=US, dst=THEM, options=[option]) / ICMP(type=8, id=7, seq=513))
    packet = bytes(IP(src=ROUTER, dst=US, options=[option]) / ICMP(type=11) / quote)
    assert icmp.parse4(packet) == ErrorReply(US, THEM, 7, 513, None)


QUOTE6 = (IPv6(src=US6, dst=THEM6, hlim=1), ICMPv6EchoRequest(id=7, seq=513, data=PAYLOAD))


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (icmpv6(ICMPv6EchoReply(id=7, seq=513, data=PAYLOAD)), EchoReply(7, 513, PAYLOAD)),
        (icmpv6(ICMPv6TimeExceeded(code=0), *QUOTE6), ErrorReply(US6, THEM6, 7, 513, None)),
        (icmpv6(ICMPv6TimeExceeded(code=1), *QUOTE6), None),
        (icmpv6(ICMPv6DestUnreach(code=0), *QUOTE6), ErrorReply(US6, THEM6, 7, 513, "network")),
        (icmpv6(ICMPv6DestUnreach(code=3), *QUOTE6), ErrorReply(US6, THEM6, 7, 513, "host")),
        (icmpv6(ICMPv6DestUnreach(code=77), *QUOTE6), ErrorReply(US6, THEM6, 7, 513, "code 77")),
        (icmpv6(ICMPv6PacketTooBig(), *QUOTE6), None),
        (icmpv6(ICMPv6TimeExceeded(), IPv6(src=US6, dst=THEM6), UDP(dport=33434)), None),
    ],
)
def test_answers_over_ipv6(message: bytes, answer: icmp.Reply | None) -> None:
    assert icmp.parse6(message) == answer


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45" + bytes(18),
        b"\x4f" + bytes(40),
        b"\x41" + bytes(40),
        ipv4(ICMP(type=0, id=7, seq=513))[:-1],
        ipv4(ICMP(type=0, id=7, seq=513, chksum=1), PAYLOAD),
        ipv4(ICMP(type=11)),
        ipv4(ICMP(type=11), bytes(QUOTE[0] / QUOTE[1])[:27]),
        ipv4(ICMP(type=11), b"\x60" + bytes(27)),
        ipv4(ICMP(type=11), b"\x4f" + bytes(27)),
    ],
)
def test_malformed_over_ipv4(packet: bytes) -> None:
    with pytest.raises(MalformedError):
        icmp.parse4(packet)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes(7),
        icmpv6(ICMPv6TimeExceeded()),
        icmpv6(ICMPv6TimeExceeded(), *QUOTE6)[:55],
        icmpv6(ICMPv6TimeExceeded(), b"\x45" + bytes(47)),
    ],
)
def test_malformed_over_ipv6(message: bytes) -> None:
    with pytest.raises(MalformedError):
        icmp.parse6(message)


def with_checksum(body: bytes) -> bytes:
    """An IPv4 packet around any ICMP body, its checksum made right, so that fuzzing gets past it."""
    message = body[:2] + b"\0\0" + body[4:]
    message = message[:2] + icmp.checksum(message).to_bytes(2, "big") + message[4:]
    return b"\x45" + bytes(19) + message


@given(st.binary(max_size=100), st.sampled_from([0, 3, 11, None]))
@example(b"\x0b\x00\x00\x00\x00\x00\x00\x00" + b"\x45" + bytes(27), None)
def test_any_bytes_are_an_answer_or_nothing_or_malformed(body: bytes, kind: int | None) -> None:
    if kind is not None:
        body = bytes([kind, 0]) + body
    for parse, message in (
        (icmp.parse4, with_checksum(body)),
        (icmp.parse4, body),
        (icmp.parse6, body),
        (icmp.parse6, body.replace(b"\x0b", b"\x03", 1)),
    ):
        try:
            answer = parse(message)
        except MalformedError:
            continue
        assert answer is None or 0 <= answer.sequence <= 0xFFFF


@given(st.binary(max_size=99))
def test_checksum_verifies_itself(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    assert icmp.checksum(padded + icmp.checksum(padded).to_bytes(2, "big")) == 0
