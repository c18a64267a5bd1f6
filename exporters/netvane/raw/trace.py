"""Tracing a path with raw ICMP sockets: raw(7), icmp(7), ipv6(7)."""

import asyncio
import errno
import ipaddress
import secrets
import socket
import struct
from contextlib import suppress
from typing import TypeAlias

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.raw_messages import Trace, TraceRequest
from netvane.raw import icmp
from netvane.raw.packet import MalformedError
from netvane.raw.path import Path, Probe
from netvane.raw.timestamps import ANCILLARY_BYTES, Stamp, enable_timestamps, kernel_timestamp, round_trip_ns

PACE_SECONDS = 0.01  # between two probes: no router is flooded, and the end is found before much is sent past it
WAIT_SECONDS = 1.0  # for answers after the last probe

_SOL_RAW = 255
_ICMP_FILTER = 1  # linux/icmp.h: an option of SOL_RAW, one bit per type, set for those to drop
_ICMP6_FILTER = 1  # linux/icmpv6.h: an option of IPPROTO_ICMPV6, likewise
_READ_AT_ONCE = 64

# Errors that say this probe did not fit into a queue, not that there is no way.
_TRANSIENT = frozenset({errno.ENOBUFS, errno.EAGAIN})

_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_RESERVED = ipaddress.IPv4Network("240.0.0.0/4")  # the limited broadcast address included

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class DestinationError(ValueError):
    """No path leads to this destination."""


def parse_destination(text: str) -> Address:
    """A unicast address; an IPv6 link-local one needs its zone. Raises DestinationError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise DestinationError(f"{text!r} is not an IP address") from None
    if isinstance(address, ipaddress.IPv4Address):
        unicast = not (address.is_multicast or address in _THIS_NETWORK or address in _RESERVED)
    else:
        unicast = not (address.is_multicast or address.is_unspecified or address.ipv4_mapped)
        if address.is_link_local and not address.scope_id:
            raise DestinationError(f"{text} needs a zone, as in {text}%eth0")
    if not unicast:
        raise DestinationError(f"{text} is not a unicast address")
    return address


class Tracer:
    """Takes path traces. Its counters are of all of them and only grow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.probes_sent = 0
        self.answers = 0
        self.malformed = 0

    async def trace(self, request: TraceRequest) -> Trace:
        """At most `request.seconds` long. Raises DestinationError."""
        destination = parse_destination(request.destination)
        version = destination.version
        name = socket.inet_ntop(socket.AF_INET if version == 4 else socket.AF_INET6, destination.packed)
        path = Path(name, secrets.randbits(16), secrets.token_bytes(8), max_ttl=request.max_ttl, probes=request.probes)
        error = None
        try:
            with _open(version) as channel:
                await self._run(channel, path, _socket_address(destination), request.seconds)
        except OSError as failure:
            if failure.errno == errno.EACCES:
                raise DestinationError(f"{name} is a broadcast address, or a route prohibits it") from failure
            error = failure.strerror or str(failure)
        return Trace(request.destination, path.reached, path.hops(), error)

    async def _run(self, channel: socket.socket, path: Path, address: tuple[str | int, ...], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        sent: dict[Probe, Stamp] = {}
        complete = asyncio.Event()

        def read() -> None:
            self._read(channel, path, sent)
            if path.complete:
                complete.set()

        loop.add_reader(channel, read)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    for probe in path.probes():
                        sent[probe] = Stamp.now(self._clock)
                        self._send(channel, path, probe, address)
                        await asyncio.sleep(PACE_SECONDS)
                    if not path.complete:
                        await asyncio.wait_for(complete.wait(), WAIT_SECONDS)
        finally:
            loop.remove_reader(channel)

    def _send(self, channel: socket.socket, path: Path, probe: Probe, address: tuple[str | int, ...]) -> None:
        """Raises OSError where there is no way at all."""
        if channel.family == socket.AF_INET:
            message = icmp.echo_request4(path.identifier, probe.sequence, path.payload(probe))
            ttl = (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("@i", probe.ttl))
        else:
            message = icmp.echo_request6(path.identifier, probe.sequence, path.payload(probe))
            ttl = (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("@i", probe.ttl))
        try:
            channel.sendmsg([message], [ttl], 0, address)
        except OSError as error:
            if error.errno not in _TRANSIENT:
                raise
        else:
            self.probes_sent += 1

    def _read(self, channel: socket.socket, path: Path, sent: dict[Probe, Stamp]) -> None:
        parse = icmp.parse4 if channel.family == socket.AF_INET else icmp.parse6
        for _ in range(_READ_AT_ONCE):
            try:
                message, ancillary, _, (address, *_) = channel.recvmsg(2048, ANCILLARY_BYTES)
            except OSError:  # nothing more to read, or an error that the next probe to be sent will meet too
                return
            received = Stamp.now(self._clock)
            try:
                reply = parse(message)
            except MalformedError:
                self.malformed += 1
                continue
            probe = path.probe_of(reply, address) if reply is not None else None
            if reply is not None and probe is not None:
                self.answers += 1
                rtt = round_trip_ns(sent[probe], received, kernel_timestamp(ancillary))
                path.answer(probe, reply, address, rtt / NANOSECONDS)


def _open(version: int) -> socket.socket:
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    channel = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    try:
        if version == 4:
            wanted = sum(1 << kind for kind in icmp.ANSWERS4)
            channel.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~wanted & 0xFFFFFFFF))
        else:
            words = [0xFFFFFFFF] * 8
            for kind in icmp.ANSWERS6:
                words[kind // 32] &= ~(1 << kind % 32)
            channel.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))
        enable_timestamps(channel)
    except BaseException:
        channel.close()
        raise
    return channel


def _socket_address(destination: Address) -> tuple[str | int, ...]:
    """Raises OSError where its zone is no interface."""
    if isinstance(destination, ipaddress.IPv4Address):
        return (str(destination), 0)
    zone = destination.scope_id
    return (str(destination).partition("%")[0], 0, 0, socket.if_nametoindex(zone) if zone else 0)
