"""TCP connect probes: from the SYN to the first answer.

How long that took is asked of the kernel (tcp(7), TCP_INFO: the smoothed round-trip time after one sample is that of
the SYN), so that this process waiting for its turn does not count.
"""

import asyncio
import errno
import socket
import struct
import time
from typing import NamedTuple

IPV4_HEADER, IPV6_HEADER, TCP_HEADER, TCP_OPTIONS = 20, 40, 20, 12

# struct tcp_info, linux/tcp.h: eight bytes, then 32-bit fields, then 64-bit ones.
_INFO_BYTES = 160
_RETRANSMITS = 100  # tcpi_total_retrans
_RTT = 68  # tcpi_rtt, microseconds
_BYTES_ACKED, _BYTES_RECEIVED = 120, 128
_SEGS_OUT, _SEGS_IN = 136, 140


class Connection(NamedTuple):
    """`outcome` is ok, refused, timeout, unreachable or error; `seconds` is None where nothing answered.

    A refusal is an answer: it has a time, but it is not ok.
    """

    outcome: str
    seconds: float | None
    wan_bytes: int


class Traffic(NamedTuple):
    """What a connection has cost so far at IP level, and its handshake's round-trip time (None: SYN sent again)."""

    wan_bytes: int
    handshake_seconds: float | None


def traffic(connected: socket.socket) -> Traffic:
    """Ask the kernel. Raises OSError."""
    info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES).ljust(_INFO_BYTES, b"\0")
    (rtt,) = struct.unpack_from("=I", info, _RTT)
    (again,) = struct.unpack_from("=I", info, _RETRANSMITS)
    acked, received = struct.unpack_from("=QQ", info, _BYTES_ACKED)
    segments = sum(struct.unpack_from("=II", info, _SEGS_OUT))
    header = (IPV4_HEADER if connected.family == socket.AF_INET else IPV6_HEADER) + TCP_HEADER + TCP_OPTIONS
    return Traffic(segments * header + acked + received, rtt / 1e6 if rtt and not again else None)


def open_socket(address: str) -> socket.socket:
    """A non-blocking TCP socket of the address's family."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connecting = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # Close with a reset: one packet instead of a farewell of three, and no connection left waiting here.
    connecting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return connecting


async def connect(address: str, port: int, deadline_seconds: float) -> Connection:
    """Connect and hang up; never longer than the deadline, never raises for what the network does."""
    header = (IPV6_HEADER if ":" in address else IPV4_HEADER) + TCP_HEADER + TCP_OPTIONS
    with open_socket(address) as connecting:
        start = time.monotonic()
        try:
            async with asyncio.timeout(deadline_seconds):
                await asyncio.get_running_loop().sock_connect(connecting, (address, port))
            seconds = time.monotonic() - start
            cost = traffic(connecting)
        except TimeoutError:
            return Connection("timeout", None, header * (1 + int(deadline_seconds)))
        except OSError as error:
            answered = error.errno == errno.ECONNREFUSED
            return Connection(outcome_of(error), time.monotonic() - start if answered else None, 2 * header)
        return Connection("ok", cost.handshake_seconds or seconds, cost.wan_bytes + header)


def outcome_of(error: OSError) -> str:
    """A short word for a label."""
    match error.errno:
        case errno.ECONNREFUSED | errno.ECONNRESET:
            return "refused"
        case errno.ETIMEDOUT:
            return "timeout"
        case errno.ENETUNREACH | errno.EHOSTUNREACH | errno.ENETDOWN:
            return "unreachable"
        case _:
            return "error"
