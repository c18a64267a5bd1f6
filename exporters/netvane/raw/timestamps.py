"""Stamps of both clocks, and the kernel's receive timestamps (SO_TIMESTAMPNS).

Source: linux/Documentation/networking/timestamping.rst.
"""

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from netvane.common.clock import NANOSECONDS, Clock

# SO_TIMESTAMPNS_OLD of asm-generic/socket.h; its stamp is a timespec of two C longs.
_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")

ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)

_MAX_CLOCK_DISAGREEMENT = NANOSECONDS // 20

Ancillary: TypeAlias = Iterable[tuple[int, int, bytes]]


def enable_timestamps(channel: socket.socket) -> None:
    channel.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)


def kernel_timestamp(ancillary: Ancillary) -> int | None:
    """When the kernel received what `recvmsg` gave, in nanoseconds since the epoch; None where it does not say."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * NANOSECONDS + int(nanoseconds)
    return None


@dataclass(frozen=True, slots=True)
class Stamp:
    """One moment on both clocks."""

    wall_ns: int
    monotonic_ns: int

    @classmethod
    def now(cls, clock: Clock) -> "Stamp":
        return cls(clock.wall_ns(), clock.monotonic_ns())


def round_trip_ns(sent: Stamp, read: Stamp, kernel_ns: int | None) -> int:
    """Up to the kernel's receive stamp, which no busy process delays; it is of the wall clock.

    Where somebody set that clock meanwhile, up to when the answer was read.
    """
    elapsed = read.monotonic_ns - sent.monotonic_ns
    disagreement = abs(read.wall_ns - sent.wall_ns - elapsed)
    if kernel_ns is None or disagreement > _MAX_CLOCK_DISAGREEMENT:
        return elapsed
    return min(elapsed, max(0, kernel_ns - sent.wall_ns))
