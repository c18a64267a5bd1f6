"""One interface's packet socket, behind the kernel filter: packet(7), linux/if_packet.h."""

import errno
import socket
import struct
from collections.abc import Callable

from netvane.common import link
from netvane.common.bpf import attach
from netvane.common.clock import Clock
from netvane.raw import bpf
from netvane.raw.sightings import Capture
from netvane.raw.timestamps import ANCILLARY_BYTES, enable_timestamps, kernel_timestamp

ETHERNET = 1  # ARPHRD_ETHER, linux/if_arp.h

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _STATISTICS, _AUXDATA, _IGNORE_OUTGOING = 1, 6, 8, 23
_MEMBERSHIP_ALLMULTI = 2
_VLAN_VALID = 1 << 4  # TP_STATUS_VLAN_VALID
_TPACKET_AUXDATA = struct.Struct("=IIIHHHH")  # status, length, snaplen, mac, net, vlan_tci, vlan_tpid

_READ_AT_ONCE = 64


class Tap:
    """Receives what the filter lets through of an interface's incoming frames.

    What this machine sends itself is left out: it is no news, and a sweep would drown everything else.
    """

    def __init__(self, interface: str, clock: Clock) -> None:
        """Raises OSError: no such interface, or no right to listen."""
        self.interface = interface
        self._clock = clock
        self._dropped = 0
        # Protocol 0: nothing arrives before bind, by when the filter is in place.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            attach(self._socket, bpf.PROGRAM)
            enable_timestamps(self._socket)
            self._socket.setsockopt(_SOL_PACKET, _AUXDATA, 1)
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            self._socket.bind((interface, _ETH_P_ALL))
            self._index = socket.if_nametoindex(interface)
            # A network card drops groups that nobody on the machine has joined, as those of DHCPv6 servers
            # and of neighbours being looked for: struct packet_mreq {int; unsigned short; unsigned short; u8[8]}.
            allmulti = struct.pack("@iHH8s", self._index, _MEMBERSHIP_ALLMULTI, 0, b"")
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, allmulti)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    def hardware(self) -> int:
        """The ARPHRD_* number of its kind of link."""
        return int(self._socket.getsockname()[3])

    @property
    def stale(self) -> bool:
        """The interface is gone, perhaps replaced by another of the same name: this socket stays silent for ever."""
        return not link.is_same(self.interface, self._index)

    @property
    def up(self) -> bool:
        """Switched on, with something at the other end of the cable."""
        return link.is_running(self._socket, self.interface)

    def dropped(self) -> int:
        """Frames that the kernel had no room for, of this socket's whole life; its own counter resets when read."""
        _, drops = struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        self._dropped += drops
        return self._dropped

    def read(self, take: Callable[[Capture], None]) -> None:
        """Hand over what is waiting, at most 64 frames, so that others get their turn."""
        for _ in range(_READ_AT_ONCE):
            try:
                frame, ancillary, _, _ = self._socket.recvmsg(
                    bpf.SNAPLEN, ANCILLARY_BYTES + socket.CMSG_SPACE(_TPACKET_AUXDATA.size)
                )
            except BlockingIOError:
                return
            except OSError as error:
                # Said once when the interface goes down; reading it takes it away, or poll would never rest again.
                if error.errno == errno.ENETDOWN:
                    return
                raise
            ts = kernel_timestamp(ancillary) or self._clock.wall_ns()
            take(Capture(frame, ts, self.interface, _vlan(ancillary)))


def _vlan(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if level == _SOL_PACKET and kind == _AUXDATA and len(data) >= _TPACKET_AUXDATA.size:
            status, _, _, _, _, tci, _ = _TPACKET_AUXDATA.unpack_from(data)
            return tci & 0x0FFF if status & _VLAN_VALID else None
    return None
