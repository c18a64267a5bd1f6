"""Asking which DHCP servers there are: one DHCPDISCOVER (RFC 2131) by broadcast, and what is offered for it.

A server that is not answered keeps no lease for what it offered. The frames are made here and not by scapy: they are
three headers, and scapy takes 40 MB of memory.
"""

import asyncio
import secrets
import socket
import struct

from netvane.common import link
from netvane.common.clock import Clock
from netvane.common.raw_messages import DhcpOffer, DiscoverRequest, Discovery
from netvane.raw import dhcp4
from netvane.raw.packet import UDP, MalformedError, ethernet, ipv4, udp
from netvane.raw.sightings import Capture
from netvane.raw.tap import Tap

MAX_OFFERS = 32
REPEAT_SECONDS = 2.0  # a question may get lost; servers answer the same one again with the same offer

_BROADCAST = b"\xff" * 6
_IPV4 = 0x0800
_SERVER_PORT, _CLIENT_PORT = 67, 68


class Discoverer:
    """Asks on an interface; `sent` and `offers` only grow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sent = 0
        self.offers = 0

    async def discover(self, request: DiscoverRequest) -> Discovery:
        """Ask, ask once more, and listen until `request.seconds` are over."""
        transaction = secrets.randbits(32)
        offers: dict[tuple[str, str], DhcpOffer] = {}

        def take(capture: Capture) -> None:
            offer = parse_offer(capture.frame, transaction)
            if offer is not None and len(offers) < MAX_OFFERS:
                offers[offer.server, offer.mac] = offer

        try:
            frame = discover_frame(link.mac(request.interface), transaction)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
                sender.bind((request.interface, 0))
                tap = Tap(request.interface, self._clock)
                loop = asyncio.get_running_loop()
                loop.add_reader(tap, tap.read, take)
                try:
                    first = min(REPEAT_SECONDS, request.seconds / 2)
                    for seconds in (first, request.seconds - first):
                        sender.send(frame)
                        self.sent += 1
                        await asyncio.sleep(seconds)
                finally:
                    loop.remove_reader(tap)
                    tap.close()
        except OSError as error:
            return Discovery(request.interface, error=error.strerror or str(error))
        self.offers += len(offers)
        return Discovery(request.interface, tuple(offers.values()))


def discover_frame(mac: bytes, transaction: int) -> bytes:
    """An Ethernet frame with a DHCPDISCOVER from a client that has no address yet and wants answers by broadcast."""
    payload = dhcp4.discover(mac, transaction)
    datagram = struct.pack("!HHHH", _CLIENT_PORT, _SERVER_PORT, 8 + len(payload), 0) + payload  # no checksum: RFC 768
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0x10, 20 + len(datagram), 0, 0, 64, UDP, 0, b"\0" * 4, b"\xff" * 4)
    checksum = ~_ones_sum(header) & 0xFFFF
    header = header[:10] + checksum.to_bytes(2, "big") + header[12:]
    return _BROADCAST + mac + _IPV4.to_bytes(2, "big") + header + datagram


def parse_offer(frame: bytes, transaction: int) -> DhcpOffer | None:
    """The offer in `frame` for that transaction; None for everything else."""
    try:
        outer = ethernet(frame)
        packet = ipv4(outer.payload) if outer.ethertype == _IPV4 else None
        if packet is None or packet.protocol != UDP:
            return None
        port, payload = udp(packet.payload)
        if port != _CLIENT_PORT or payload[4:8] != transaction.to_bytes(4, "big"):
            return None
        told = dhcp4.parse(payload)
    except MalformedError:
        return None
    if not told.from_server or told.message != "offer":
        return None
    return DhcpOffer(
        server=told.server_id or packet.source,
        mac=outer.source,
        offered=told.offered,
        routers=told.routers,
        dns=told.dns,
        lease_seconds=told.lease_seconds,
    )


def _ones_sum(header: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
