"""One network interface, asked through a socket: netdevice(7), linux/if.h."""

import fcntl
import ipaddress
import socket
import struct

# linux/sockios.h
_SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFNETMASK, _SIOCGIFHWADDR = 0x8913, 0x8915, 0x891B, 0x8927
_UP_AND_RUNNING = 0x1 | 0x40
_ETHERNET = 1  # linux/if_arp.h


def is_same(interface: str, index: int) -> bool:
    """Whether `interface` still has that index: else it is gone, renamed, or replaced by another of that name."""
    try:
        return socket.if_nametoindex(interface) == index
    except OSError:
        return False


def is_running(channel: socket.socket, interface: str) -> bool:
    """Switched on, with something at the other end of the cable. `channel` is any socket in its network namespace."""
    try:
        answer = _ask(channel, interface, _SIOCGIFFLAGS)
    except OSError:
        return False
    flags: int = struct.unpack_from("@H", answer)[0]
    return flags & _UP_AND_RUNNING == _UP_AND_RUNNING


def mac(interface: str) -> bytes:
    """Six octets. Raises OSError: no such interface, or not an Ethernet one."""
    with _control() as control:
        kind, octets = struct.unpack_from("@H6s", _ask(control, interface, _SIOCGIFHWADDR))
    if kind != _ETHERNET:
        raise OSError(f"{interface} is not an Ethernet interface")
    return bytes(octets)


def address(interface: str) -> ipaddress.IPv4Interface:
    """Its first IPv4 address, with the prefix. Raises OSError: no such interface, or no address on it."""
    with _control() as control:
        own, mask = (_ask(control, interface, request)[4:8] for request in (_SIOCGIFADDR, _SIOCGIFNETMASK))
    return ipaddress.IPv4Interface(f"{ipaddress.IPv4Address(own)}/{ipaddress.IPv4Address(mask)}")


def _control() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _ask(channel: socket.socket, interface: str, request: int) -> bytes:
    """The 24 octets behind the name in struct ifreq: flags, or a struct sockaddr."""
    return fcntl.ioctl(channel, request, struct.pack("16s24x", interface.encode()))[16:]
