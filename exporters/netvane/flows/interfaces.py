"""Which interface to listen on: an access point's, else a bridge.

Asked over netlink, because inside a network namespace /sys may show another one's interfaces. Sources: netlink(7),
rtnetlink(7), linux/if_link.h; linux/genetlink.h, linux/nl80211.h.
"""

import re
import socket
import struct
from collections.abc import Iterator

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_ROUTE, _GENERIC = 0, 16
_GETLINK, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 18, 3, 18, 1
_GENL_CTRL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2
_GET_INTERFACE, _WIFI_IFNAME, _WIFI_IFTYPE, _IFTYPE_AP = 5, 4, 5, 3
_IFINFO_BYTES, _GENL_BYTES = 16, 4
_NESTED_BITS = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

# Bridges that programs make for containers and virtual machines of this machine: docker0 and br-<id> (Docker), virbr0
# (libvirt), lxcbr0, lxdbr0, incusbr0, podman0, cni-podman0. No gadget is behind them.
_OF_THIS_MACHINE = re.compile(r"docker\d+|br-[0-9a-f]{12}|(virbr|lxcbr|lxdbr|incusbr|podman|cni-podman)\d+")

ONLY_OWN_TRAFFIC = (
    "this machine sees only its own traffic; make it the access point of the gadgets, plug it into a mirror port of "
    "the switch, or make it their gateway, and name the interface under flows.interfaces"
)


def find() -> str | None:
    """The interface to listen on by default; None: this machine sees only its own traffic."""
    to_gadgets = [name for name in bridges() if not _OF_THIS_MACHINE.fullmatch(name)]
    return next(iter([*access_points(), *to_gadgets]), None)


def off(configured: tuple[str, ...]) -> str | None:
    """Why there is nothing to listen on; None where there is."""
    return None if configured or find() is not None else ONLY_OWN_TRAFFIC


def access_points() -> list[str]:
    """Wi-Fi interfaces in access-point mode, as nl80211 lists them."""
    for message in _dump(_GENERIC, _GENL_CTRL, _genl(_GET_FAMILY) + _attribute(_FAMILY_NAME, b"nl80211\0"), dump=False):
        family = dict(attributes(message[_GENL_BYTES:])).get(_FAMILY_ID)
        if family is not None and len(family) == 2:
            (number,) = struct.unpack("=H", family)
            interfaces = [
                dict(attributes(found[_GENL_BYTES:])) for found in _dump(_GENERIC, number, _genl(_GET_INTERFACE))
            ]
            return sorted(
                _text(interface[_WIFI_IFNAME])
                for interface in interfaces
                if _WIFI_IFNAME in interface and interface.get(_WIFI_IFTYPE) == struct.pack("=I", _IFTYPE_AP)
            )
    return []


def bridges() -> list[str]:
    names = []
    for message in _dump(_ROUTE, _GETLINK, bytes(_IFINFO_BYTES)):
        link = dict(attributes(message[_IFINFO_BYTES:]))
        kind = dict(attributes(link.get(_IFLA_LINKINFO, b""))).get(_IFLA_INFO_KIND, b"")
        if _text(kind) == "bridge" and _IFLA_IFNAME in link:
            names.append(_text(link[_IFLA_IFNAME]))
    return sorted(names)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of the attributes in a netlink message; what does not fit ends it."""
    offset = 0
    while offset + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, offset)
        if size < 4 or offset + size > len(data):
            return
        yield kind & _NESTED_BITS, data[offset + 4 : offset + size]
        offset += (size + 3) // 4 * 4


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, what follows the header) of the messages in one datagram."""
    offset = 0
    while offset + 16 <= len(data):
        size, kind = struct.unpack_from("=IH", data, offset)
        if size < 16 or offset + size > len(data):
            return
        yield kind, data[offset + 16 : offset + size]
        offset += (size + 3) // 4 * 4


def _dump(protocol: int, kind: int, body: bytes, *, dump: bool = True) -> list[bytes]:
    """The answers to one request; none where the kernel refuses it, as for a protocol that it does not know."""
    found: list[bytes] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as channel:
            channel.settimeout(1.0)
            flags = _REQUEST | (_DUMP if dump else 0)
            channel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
            while True:
                for answer, data in messages(channel.recv(1 << 16)):
                    if answer in {_NLMSG_ERROR, _NLMSG_DONE}:
                        return found
                    found.append(data)
                if not dump:
                    return found
    except OSError:  # a kernel without it, or one that does not answer
        return []


def _genl(command: int) -> bytes:
    return struct.pack("=BBH", command, 1, 0)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", errors="replace")
