"""rtnetlink messages about links, addresses and neighbours: bytes in, frozen records out.

Formats: linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h, linux/neighbour.h; rtnetlink(7). Read here and not by
pyroute2, which takes 24 MB of memory for these three messages.
"""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

NEW_LINK, GET_LINK, NEW_ADDRESS, GET_ADDRESS, NEW_NEIGHBOUR, GET_NEIGHBOUR = 16, 18, 20, 22, 28, 30
_ERROR, _DONE = 2, 3
_REQUEST_AND_DUMP = 0x301  # NLM_F_REQUEST, NLM_F_DUMP

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_LINK = struct.Struct("=BxHiII")  # family, ARPHRD_* type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type

_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR = 1, 2

REACHABLE = 0x02  # confirmed within the last half minute or so; all other states are memory or hope
UP, LOWER_UP = 0x1, 0x10000  # IFF_UP; IFF_LOWER_UP: has a carrier


class Link(NamedTuple):
    """An interface by its index; `hardware` is its ARPHRD_* number."""

    interface: int
    name: str
    mac: str | None
    hardware: int
    flags: int


class Address(NamedTuple):
    """`address` with its prefix length, as ``198.51.100.10/24``."""

    interface: int
    address: str


class Neighbour(NamedTuple):
    interface: int
    address: str
    mac: str
    state: int


Message: TypeAlias = Link | Address | Neighbour


class MalformedError(ValueError):
    """Not a sequence of netlink messages."""


def dump_request(kind: int) -> bytes:
    """Ask for all there are of GET_LINK, GET_ADDRESS or GET_NEIGHBOUR."""
    body = bytes(16)
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_AND_DUMP, 1, 0) + body


def parse(buffer: bytes) -> Iterator[Message | None]:
    """The messages that are understood; None where a dump ends. Raises MalformedError, and OSError that the kernel
    reports.
    """
    at = 0
    while at < len(buffer):
        if at + _HEADER.size > len(buffer):
            raise MalformedError("header cut short")
        length, kind, _, _, _ = _HEADER.unpack_from(buffer, at)
        if not _HEADER.size <= length <= len(buffer) - at:
            raise MalformedError("length beyond the buffer")
        body = buffer[at + _HEADER.size : at + length]
        at += (length + 3) & ~3
        if kind == _DONE:
            yield None
        elif kind == _ERROR and len(body) >= 4:
            number = -int.from_bytes(body[:4], "little" if struct.pack("=H", 1)[0] else "big", signed=True)
            if number:
                raise OSError(number, "netlink refused")
        elif (message := _message(kind, body)) is not None:
            yield message


def _message(kind: int, body: bytes) -> Message | None:
    if kind == NEW_LINK and len(body) >= _LINK.size:
        _, hardware, index, flags, _ = _LINK.unpack_from(body)
        found = _attributes(body[_LINK.size :])
        name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        mac = found.get(_IFLA_ADDRESS, b"")
        return Link(index, name, mac.hex(":") if len(mac) == 6 else None, hardware, flags)
    if kind == NEW_ADDRESS and len(body) >= _ADDRESS.size:
        family, prefix, _, _, index = _ADDRESS.unpack_from(body)
        found = _attributes(body[_ADDRESS.size :])
        # IFA_LOCAL is the interface's own; IFA_ADDRESS that of the other end where there is one.
        address = _address(family, found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b""))
        return Address(index, f"{address}/{prefix}") if address is not None else None
    if kind == NEW_NEIGHBOUR and len(body) >= _NEIGHBOUR.size:
        family, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
        found = _attributes(body[_NEIGHBOUR.size :])
        address, mac = _address(family, found.get(_NDA_DST, b"")), found.get(_NDA_LLADDR, b"")
        return Neighbour(index, address, mac.hex(":"), state) if address is not None and len(mac) == 6 else None
    return None


def _attributes(field: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(field):
        length, kind = _ATTRIBUTE.unpack_from(field, at)
        if not _ATTRIBUTE.size <= length <= len(field) - at:
            raise MalformedError("attribute beyond its message")
        found[kind] = field[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _address(family: int, raw: bytes) -> str | None:
    sizes = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
    return socket.inet_ntop(family, raw) if sizes.get(family) == len(raw) else None
