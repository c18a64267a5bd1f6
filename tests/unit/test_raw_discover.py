"""Asking for DHCP servers: what is sent, which answers count, and what the helper refuses."""

import asyncio
import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from netvane.common import rawclient
from netvane.common.clock import SystemClock
from netvane.common.raw_messages import DhcpOffer, DiscoverRequest
from netvane.common.rawclient import RawUnavailable
from netvane.raw import dhcp4, unixsocket
from netvane.raw.discover import Discoverer, discover_frame, parse_offer
from netvane.raw.feed import Feed
from netvane.raw.listener import Listener
from netvane.raw.packet import ethernet, ipv4, udp
from netvane.raw.server import Server
from netvane.raw.sweep import Sweeper
from netvane.raw.trace import Tracer

MAC = bytes.fromhex("b827eb000001")
SERVER_MAC = bytes.fromhex("c025061a2b01")
TRANSACTION = 0x12345678


def offer(*, transaction: int = TRANSACTION, kind: int = 2, server_id: bytes = b"\x36\x04\xc6\x33\x64\x01") -> bytes:
    """An Ethernet frame from 198.51.100.1 with an offer of 198.51.100.50."""
    fixed = struct.pack("!BBBBIHH4x4s8x6s10x192x", 2, 1, 6, 0, transaction, 0, 0x8000, b"\xc6\x33\x64\x32", MAC)
    options = bytes([53, 1, kind]) + server_id + b"\x33\x04\x00\x00\x0e\x10\x03\x04\xc6\x33\x64\x01\xff"
    payload = fixed + b"\x63\x82\x53\x63" + options
    datagram = struct.pack("!HHHH", 67, 68, 8 + len(payload), 0) + payload
    addresses = b"\xc6\x33\x64\x01" + b"\xff" * 4
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0) + addresses
    return b"\xff" * 6 + SERVER_MAC + b"\x08\x00" + header + datagram


def test_the_question_is_a_discover_by_broadcast() -> None:
    outer = ethernet(discover_frame(MAC, TRANSACTION))
    packet = ipv4(outer.payload)
    port, payload = udp(packet.payload)
    told = dhcp4.parse(payload)
    assert (outer.source, packet.source, packet.destination, port) == (
        "b8:27:eb:00:00:01",
        "0.0.0.0",
        "255.255.255.255",
        67,
    )
    assert (told.message, told.client_mac, told.from_server) == ("discover", "b8:27:eb:00:00:01", False)
    assert payload[10] & 0x80
    words = struct.unpack("!10H", outer.payload[:20])
    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF, "the header's checksum"


def test_an_offer_names_its_server() -> None:
    wanted = DhcpOffer(
        "198.51.100.1", "c0:25:06:1a:2b:01", "198.51.100.50", routers=("198.51.100.1",), lease_seconds=3600
    )
    assert parse_offer(offer(), TRANSACTION) == wanted
    assert parse_offer(offer(server_id=b""), TRANSACTION) == wanted, "the sender's address where it gives none"


def test_other_answers_do_not_count() -> None:
    assert parse_offer(offer(transaction=1), TRANSACTION) is None
    assert parse_offer(offer(kind=5), TRANSACTION) is None
    assert parse_offer(discover_frame(MAC, TRANSACTION), TRANSACTION) is None
    assert all(parse_offer(offer()[:length], TRANSACTION) is None for length in range(len(offer()) - 20))


@given(st.binary(max_size=400), st.integers(0, 399))
def test_rubbish_is_no_offer(rubbish: bytes, at: int) -> None:
    parse_offer(rubbish, TRANSACTION)
    frame = offer()
    parse_offer(frame[:at] + rubbish + frame[at + len(rubbish) :], TRANSACTION)


def test_an_interface_that_is_not_there_is_said() -> None:
    found = asyncio.run(Discoverer(SystemClock()).discover(DiscoverRequest("nosuch0", seconds=1)))
    assert (found.offers, found.error) == ((), "No such device")


def test_an_interface_that_is_not_listened_on_is_refused(tmp_path: Path) -> None:
    async def ask() -> str:
        clock, feed = SystemClock(), Feed()
        server = Server(Tracer(clock), Discoverer(clock), Sweeper(clock), feed, Listener(tuple, feed, clock), clock)
        with unixsocket.listening(tmp_path / "raw.sock") as listening:
            running = asyncio.create_task(server.run(listening))
            try:
                await rawclient.discover(tmp_path / "raw.sock", "eth0")
            except RawUnavailable as error:
                return str(error)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return "answered"

    assert asyncio.run(ask()) == "netvane raw refused: 'eth0' is not listened on"
