"""ARP sweep of a directly attached subnet: one request to each address (RFC 826), again to those that kept silent.

The frames are made and read here: scapy's `srp` found the same hosts in the same time, but a helper that has imported
scapy holds 34 MB more for good, half of what the hosts exporter and the helper may take together.
"""

import asyncio
import ipaddress
import socket
import struct
from typing import NamedTuple

from netvane.common import link
from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.raw_messages import ArpAnswer, ArpSweep, ArpSweepRequest
from netvane.raw import arp
from netvane.raw.packet import MalformedError, ethernet
from netvane.raw.sightings import Capture
from netvane.raw.tap import ETHERNET, Tap
from netvane.raw.timestamps import Stamp

MAX_ADDRESSES = 4_096
MAX_ANSWERS = 1_100  # what fits into a message
PACE_SECONDS = 0.001  # between two requests: 480 kbit/s, no burden for a Wi-Fi
BATCH = 4  # requests at a time, since sleeping for a millisecond costs more than sending
# A Wi-Fi device that saves power hears broadcasts at beacons only, up to 0.3 s apart.
PASS_WAIT_SECONDS = (0.35, 0.45)

_ARP = 0x0806
_REQUEST = struct.pack("!HHBBH", ETHERNET, 0x0800, 6, 4, 1)


class SubnetError(ValueError):
    """Not a subnet that may be swept on that interface."""


class Place(NamedTuple):
    """From where a sweep asks."""

    mac: bytes
    address: ipaddress.IPv4Address


def request_frame(place: Place, target: int) -> bytes:
    """A broadcast frame that asks for the address `target`."""
    asked = target.to_bytes(4, "big")
    header = b"\xff" * 6 + place.mac + _ARP.to_bytes(2, "big")
    return header + _REQUEST + place.mac + place.address.packed + b"\0" * 6 + asked


def parse_subnet(text: str, own: ipaddress.IPv4Address) -> ipaddress.IPv4Network:
    """Raises SubnetError."""
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise SubnetError(f"{text!r} is not an IPv4 network: {error}") from None
    if subnet.num_addresses > MAX_ADDRESSES:
        raise SubnetError(f"{text} has more than {MAX_ADDRESSES} addresses")
    if own not in subnet:
        raise SubnetError(f"{text} is not attached: the interface has {own}")
    return subnet


class Answers:
    """What comes back during a sweep: pure, fed with frames."""

    def __init__(self, subnet: ipaddress.IPv4Network, place: Place) -> None:
        self._first, self._last = int(subnet[0]), int(subnet[-1])
        self._own = str(place.address)
        self._own_mac = place.mac.hex(":")
        self._sent: dict[int, Stamp] = {}
        self._answers: dict[tuple[int, str], tuple[float, int]] = {}  # how long it took, and when it came (Unix ns)
        self.answered: set[int] = set()
        self.truncated = False

    def sent(self, target: int, stamp: Stamp) -> None:
        self._sent[target] = stamp

    def take(self, capture: Capture) -> None:
        """A frame: counted where it is a reply to this machine from an address that was asked for."""
        try:
            frame = ethernet(capture.frame)
            told = arp.parse(frame.payload) if frame.ethertype == _ARP else None
        except MalformedError:
            return
        if told is None or told.address is None or told.message != "reply" or told.target != self._own:
            return
        address = int(ipaddress.IPv4Address(told.address))
        stamp = self._sent.get(address)
        if stamp is None or told.mac == self._own_mac:
            return
        key = (address, told.mac)
        if key in self._answers:
            return
        if len(self._answers) >= MAX_ANSWERS:
            self.truncated = True
            return
        self.answered.add(address)
        # Within milliseconds: a clock that is set meanwhile costs one figure, cut off at nothing.
        rtt = max(0.0, round((capture.ts - stamp.wall_ns) / NANOSECONDS, 6))
        self._answers[key] = rtt, capture.ts

    def result(self, now_ns: int) -> ArpSweep:
        """`now_ns`: Unix time at the end of the sweep."""
        answers = (
            ArpAnswer(str(ipaddress.IPv4Address(address)), mac, rtt, max(0.0, round((now_ns - ts) / NANOSECONDS, 3)))
            for (address, mac), (rtt, ts) in sorted(self._answers.items())
        )
        return ArpSweep(tuple(answers), self.truncated)


class Sweeper:
    """Sweeps; `requests_sent` only grows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.requests_sent = 0

    async def sweep(self, request: ArpSweepRequest) -> ArpSweep:
        """At most `request.seconds` long. Raises SubnetError."""
        try:
            place = _place(request.interface)
            subnet = parse_subnet(request.subnet, place.address)
            with (
                socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0) as sender,
            ):
                sender.bind((request.interface, 0))
                tap = Tap(request.interface, self._clock)
                loop = asyncio.get_running_loop()
                answers = Answers(subnet, place)
                loop.add_reader(tap, tap.read, answers.take)
                try:
                    if not tap.up:
                        return ArpSweep(error=f"{request.interface} is down, or its cable is out")
                    async with asyncio.timeout(request.seconds):
                        await self._ask(sender, subnet, place, answers)
                except TimeoutError:
                    found = answers.result(self._clock.wall_ns())
                    return ArpSweep(found.answers, error=f"not finished within {request.seconds:g} s")
                finally:
                    loop.remove_reader(tap)
                    tap.close()
        except OSError as error:
            return ArpSweep(error=error.strerror or str(error))
        return answers.result(self._clock.wall_ns())

    async def _ask(self, sender: socket.socket, subnet: ipaddress.IPv4Network, place: Place, answers: Answers) -> None:
        own = int(place.address)
        # Neither the network's own address nor its broadcast address is anybody's; a /31 has only hosts (RFC 3021).
        edge = 1 if subnet.prefixlen < 31 else 0
        targets = [target for target in range(int(subnet[0]) + edge, int(subnet[-1]) + 1 - edge) if target != own]
        loop = asyncio.get_running_loop()
        for wait in PASS_WAIT_SECONDS:
            due = loop.time()
            for number, target in enumerate(targets):
                if number % BATCH == 0:
                    await asyncio.sleep(due - loop.time())
                    due += BATCH * PACE_SECONDS
                answers.sent(target, Stamp.now(self._clock))
                try:
                    sender.send(request_frame(place, target))
                except BlockingIOError:  # the queue is full; it is asked again in the next pass
                    continue
                self.requests_sent += 1
            await asyncio.sleep(wait)
            targets = [target for target in targets if target not in answers.answered]


def _place(interface: str) -> Place:
    """Raises OSError: no such interface, no Ethernet, no IPv4 address."""
    return Place(link.mac(interface), link.address(interface).ip)
