"""Unprivileged ping sockets with the kernel's send and receive timestamps.

icmplib measures with this process's wall clock: a clock step or a busy machine ends up in its round-trip times. Here
the kernel stamps each packet as it leaves and as it comes in (Documentation/networking/timestamping.rst).

A sent packet's stamp comes back on the error queue together with the frame that was sent; the probe's number is read
from that frame. (Counting sent packets with SOF_TIMESTAMPING_OPT_ID loses its place when a send fails half-way.)
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from netvane.latency import icmp

_SO_TIMESTAMPING = 37  # asm-generic/socket.h
# linux/net_tstamp.h
_TX_SOFTWARE, _RX_SOFTWARE, _SOFTWARE = 1 << 1, 1 << 3, 1 << 4
_TIMESPEC = struct.Struct("=qq")  # the first of the three in struct scm_timestamping is the software stamp
_MAX_MESSAGE = 2048
_ANCILLARY = socket.CMSG_SPACE(3 * _TIMESPEC.size) + socket.CMSG_SPACE(256)
_BATCH = 64  # packets read before the loop gets its turn again
_FAMILIES = {4: (socket.AF_INET, socket.IPPROTO_ICMP), 6: (socket.AF_INET6, socket.IPPROTO_ICMPV6)}


class Received(NamedTuple):
    """One packet: its bytes, where it came from (with the zone of a link-local address) and the kernel's stamp."""

    message: bytes
    address: str
    kernel_ns: int | None


class PingSocket:
    """One socket for all targets of a family (4 or 6). Raises OSError: not permitted, no such family."""

    def __init__(self, family: int) -> None:
        kind, protocol = _FAMILIES[family]
        self.family = family
        self._socket = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol)
        try:
            # Room for some seconds of replies and looped-back frames while the loop is busy elsewhere.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            with contextlib.suppress(OSError):  # without stamps this process's own clock readings serve
                flags = _TX_SOFTWARE | _RX_SOFTWARE | _SOFTWARE
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, flags)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: bytes, address: str) -> None:
        """Send to `address`. Raises OSError; the reason has a name in `errno.errorcode`."""
        host, _, zone = address.partition("%")
        scope = socket.if_nametoindex(zone) if zone else 0
        self._socket.sendto(message, (host, 0) if self.family == 4 else (host, 0, 0, scope))

    def sent_stamps(self, payload_bytes: int) -> Iterator[tuple[int, int]]:
        """Number and kernel stamp (ns) of the probes that have left since last asked."""
        for received in self._read(socket.MSG_ERRQUEUE):
            if received.kernel_ns is not None:
                with contextlib.suppress(icmp.Malformed):
                    yield icmp.sent_number(received.message, payload_bytes), received.kernel_ns

    def replies(self) -> Iterator[Received]:
        """Packets that have come since last asked, at most a batch."""
        return self._read(0)

    def _read(self, flags: int) -> Iterator[Received]:
        for _ in range(_BATCH):
            try:
                message, ancillary, _, address = self._socket.recvmsg(_MAX_MESSAGE, _ANCILLARY, flags)
            except BlockingIOError:
                return
            except OSError as error:
                # An ICMP error or a link that went away is reported once, by whichever call comes next.
                if error.errno == errno.EBADF:
                    raise
                continue
            yield Received(message, _text(address), _stamp(ancillary))


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPING) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds) or None
    return None


def _text(address: tuple[str, ...] | tuple[str, int, int, int] | None) -> str:
    if not address:
        return ""
    host = str(address[0])
    if len(address) == 4 and address[3] and "%" not in host:
        return f"{host}%{socket.if_indextoname(int(address[3]))}"
    return host
