"""Listening to multicast DNS on the LAN, and asking from time to time which services there are."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from netvane.common.log import get_logger
from netvane.hosts import mdns_message
from netvane.hosts.mdns_message import ALL_SERVICES, PORT, Announcement, MalformedError

log = get_logger("hosts.mdns")

_GROUP4, _GROUP6 = "224.0.0.251", "ff02::fb"
_READ_AT_ONCE = 32
# Asked for besides the list of all types: not every device answers that one.
_ASKED = (ALL_SERVICES, "_ipp._tcp.local", "_googlecast._tcp.local", "_hap._tcp.local", "_workstation._tcp.local")


class Mdns:
    """`found(address, announcement)` is called in the loop. `malformed` only grows."""

    def __init__(self, found: Callable[[str, Announcement], None]) -> None:
        self._found = found
        self._sockets: list[tuple[socket.socket, tuple[str, int]]] = []
        self.malformed = 0

    def open(self, interface: str) -> None:
        """Listen on `interface`, instead of where it did before. Raises OSError."""
        self.close()
        index = socket.if_nametoindex(interface)
        loop = asyncio.get_running_loop()
        for channel, group in ((_open4(index), _GROUP4), (_open6(index), _GROUP6)):
            if channel is not None:
                self._sockets.append((channel, (group, PORT)))
                loop.add_reader(channel, self._read, channel)

    def close(self) -> None:
        for channel, _ in self._sockets:
            asyncio.get_running_loop().remove_reader(channel)
            channel.close()
        self._sockets = []

    def ask(self) -> None:
        """One question to everybody."""
        for channel, group in self._sockets:
            with contextlib.suppress(OSError):  # no address yet, no route: the next round asks again
                channel.sendto(mdns_message.query(*_ASKED), group)

    def _read(self, channel: socket.socket) -> None:
        for _ in range(_READ_AT_ONCE):
            try:
                message, sender = channel.recvfrom(9000)  # the longest that RFC 6762 allows
            except OSError:
                return
            try:
                announcement = mdns_message.parse(message)
            except MalformedError as error:
                self.malformed += 1
                log.debug("malformed mDNS message", sender=sender[0], error=error)
                continue
            if announcement is not None:
                self._found(str(sender[0]), announcement)


def _open4(index: int) -> socket.socket | None:
    channel = _bound(socket.AF_INET, "")
    request = struct.pack("@4s4si", socket.inet_aton(_GROUP4), b"\0" * 4, index)  # struct ip_mreqn, ip(7)
    try:
        channel.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    except OSError:
        channel.close()
        raise
    return channel


def _open6(index: int) -> socket.socket | None:
    """None where there is no IPv6."""
    channel = None
    try:
        channel = _bound(socket.AF_INET6, "")
        request = struct.pack("@16si", socket.inet_pton(socket.AF_INET6, _GROUP6), index)  # struct ipv6_mreq, ipv6(7)
        channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    except OSError as error:
        log.debug("no mDNS over IPv6", error=error)
        if channel is not None:
            channel.close()
        return None
    return channel


def _bound(family: socket.AddressFamily, address: str) -> socket.socket:
    """Beside avahi, which has the port too."""
    channel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        channel.bind((address, PORT))
    except OSError:
        channel.close()
        raise
    return channel
