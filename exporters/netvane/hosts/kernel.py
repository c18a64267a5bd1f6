"""What the kernel knows: interfaces, their addresses, and the neighbours that it has just spoken to."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import NamedTuple

from netvane.common.clock import Clock
from netvane.common.log import get_logger
from netvane.hosts import netlink
from netvane.hosts.evidence import Evidence, is_device_mac, usable_address
from netvane.hosts.netlink import Address, Link, Message, Neighbour

log = get_logger("hosts.kernel")

_NETLINK_ROUTE = 0  # linux/netlink.h
_GROUP_NEIGHBOURS = 4  # RTMGRP_NEIGH, linux/rtnetlink.h
_BUFFER = 2**16
DUMP_SECONDS = 2.0


class Interface(NamedTuple):
    """`addresses` with prefix lengths; `is_up` with something at the other end of the cable."""

    name: str
    mac: str | None
    hardware: int
    is_up: bool
    addresses: tuple[str, ...]


def interfaces() -> list[Interface]:
    """Raises OSError."""
    links = [message for message in _dump(netlink.GET_LINK) if isinstance(message, Link)]
    addresses = [message for message in _dump(netlink.GET_ADDRESS) if isinstance(message, Address)]
    return [
        Interface(
            link.name,
            link.mac,
            link.hardware,
            bool(link.flags & netlink.UP and link.flags & netlink.LOWER_UP),
            tuple(address.address for address in addresses if address.interface == link.interface),
        )
        for link in links
    ]


def _dump(kind: int) -> list[Message]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as channel:
        channel.settimeout(DUMP_SECONDS)
        channel.send(netlink.dump_request(kind))
        messages: list[Message] = []
        while True:
            for message in netlink.parse(channel.recv(_BUFFER)):
                if message is None:
                    return messages
                messages.append(message)


class NeighbourWatch:
    """The neighbour tables (ARP's and IPv6's) and their changes, as evidence; `found` is called in the loop."""

    def __init__(self, clock: Clock, found: Callable[[Evidence], None]) -> None:
        self._clock = clock
        self._found = found
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Raises OSError."""
        channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_ROUTE)
        try:
            channel.bind((0, _GROUP_NEIGHBOURS))
            channel.send(netlink.dump_request(netlink.GET_NEIGHBOUR))
        except OSError:
            channel.close()
            raise
        self._socket = channel
        asyncio.get_running_loop().add_reader(channel, self._read, channel)

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _read(self, channel: socket.socket) -> None:
        try:
            for message in netlink.parse(channel.recv(_BUFFER)):
                if isinstance(message, Neighbour):
                    self._take(message)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                log.warning("neighbour table not read", error=error)
                return
            # Changes were lost: the table itself has what they led to.
            with contextlib.suppress(OSError):
                channel.send(netlink.dump_request(netlink.GET_NEIGHBOUR))
        except netlink.MalformedError as error:
            log.warning("neighbour table not understood", error=error)

    def _take(self, neighbour: Neighbour) -> None:
        if neighbour.state & netlink.REACHABLE and is_device_mac(neighbour.mac):
            address = usable_address(neighbour.address)
            self._found(Evidence(neighbour.mac, self._clock.wall_ns(), "neighbour", address=address))
