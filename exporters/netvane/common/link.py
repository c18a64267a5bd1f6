"""One network interface, asked through a socket: netdevice(7), linux/if.h."""

import fcntl
import socket
import struct

_SIOCGIFFLAGS = 0x8913  # linux/sockios.h
_UP_AND_RUNNING = 0x1 | 0x40


def is_same(interface: str, index: int) -> bool:
    """Whether `interface` still has that index: else it is gone, renamed, or replaced by another of that name."""
    try:
        return socket.if_nametoindex(interface) == index
    except OSError:
        return False


def is_running(channel: socket.socket, interface: str) -> bool:
    """Switched on, with something at the other end of the cable. `channel` is any socket in its network namespace."""
    try:
        answer = fcntl.ioctl(channel, _SIOCGIFFLAGS, struct.pack("16s24x", interface.encode()))
    except OSError:
        return False
    flags: int = struct.unpack_from("@H", answer, 16)[0]
    return flags & _UP_AND_RUNNING == _UP_AND_RUNNING
