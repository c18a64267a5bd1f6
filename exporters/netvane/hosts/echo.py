"""Echo requests over unprivileged ping sockets: to single devices, and to all IPv6 nodes of a link.

Sources: RFC 792, RFC 4443 section 4; ping sockets, icmp(7). The payload is a cookie of this process and the number of
the request (8 bytes each).
"""

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.log import get_logger

log = get_logger("hosts.echo")

ALL_NODES = "ff02::1"
WAIT_SECONDS = 5.0  # a later answer is a lost one
_HEADER = struct.Struct("!BBHHH8sQ")  # type, code, checksum, identifier, sequence, cookie, number
_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
_TIMESTAMPNS = 35  # SO_TIMESTAMPNS_OLD, asm-generic/socket.h; its stamp is a timespec of two C longs
_TIMESPEC = struct.Struct("@ll")
_READ_AT_ONCE = 64


class Echo:
    """`answered(address, interface, rtt_seconds)` is called in the loop.

    A node's address has no zone; `interface` is that of a link-local one, else None.
    """

    def __init__(self, clock: Clock, answered: Callable[[str, str | None, float], None]) -> None:
        self._clock = clock
        self._answered = answered
        self._cookie = secrets.token_bytes(8)
        self._number = 0
        self._sent: dict[int, int] = {}  # number -> wall ns
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}

    def open(self) -> None:
        """Raises OSError: this user may not open ping sockets (net.ipv4.ping_group_range)."""
        for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6)):
            try:
                channel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol)
            except OSError:
                if family == socket.AF_INET6 and socket.AF_INET in self._sockets:  # a kernel without IPv6
                    return
                raise
            channel.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
            asyncio.get_running_loop().add_reader(channel, self._read, channel)
            self._sockets[family] = channel

    @property
    def is_open(self) -> bool:
        return bool(self._sockets)

    def close(self) -> None:
        for channel in self._sockets.values():
            asyncio.get_running_loop().remove_reader(channel)
            channel.close()
        self._sockets.clear()

    def send(self, address: str, interface: str | None = None) -> bool:
        """Whether a request left. A link-local address needs its interface."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        channel = self._sockets.get(family)
        if channel is None:
            return False
        now = self._clock.wall_ns()
        self._number += 1
        for number in [number for number, at in self._sent.items() if abs(now - at) > WAIT_SECONDS * NANOSECONDS]:
            del self._sent[number]
        message = _HEADER.pack(_REQUEST[family], 0, 0, 0, self._number & 0xFFFF, self._cookie, self._number)
        try:
            scope = socket.if_nametoindex(interface) if interface is not None and family == socket.AF_INET6 else 0
            target = (address, 0) if family == socket.AF_INET else (address, 0, 0, scope)
            self._sent[self._number] = now
            channel.sendto(message, target)
        except OSError as error:
            self._sent.pop(self._number, None)
            log.debug("echo request not sent", address=address, error=error)
            return False
        return True

    def _read(self, channel: socket.socket) -> None:
        for _ in range(_READ_AT_ONCE):
            try:
                message, ancillary, _, sender = channel.recvmsg(256, socket.CMSG_SPACE(_TIMESPEC.size))
            except OSError:
                return
            if len(message) < _HEADER.size:
                continue
            kind, _, _, _, _, cookie, number = _HEADER.unpack_from(message)
            sent = self._sent.get(number)
            if kind != _REPLY[channel.family] or cookie != self._cookie or sent is None:
                continue
            received = _stamp(ancillary) or self._clock.wall_ns()
            address, _, zone = str(sender[0]).partition("%")
            self._answered(address, zone or None, max(0, received - sent) / NANOSECONDS)


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * NANOSECONDS + int(nanoseconds)
    return None
