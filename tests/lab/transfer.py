"""A TCP transfer, with segmentation offload or without, and what the sending kernel says that it sent.

How many segments a stream becomes depends on when its writer is woken, where windows end and which acknowledgements
ride together. So the same transfer is the same on the wire only if it is written in whole segments, each portion when
the one before has been acknowledged, if nothing is sent back but the end, and without probes for a lost tail, which are
retransmissions on a slow machine. TCP_INFO is the measure.
"""

import ctypes
import fcntl
import json
import socket
import struct
import sys
from dataclasses import dataclass
from functools import partial

from tests.lab.netns import Namespace
from tests.lab.processes import PYTHON, PYTHON_ENV
from tests.lab.wait import eventually

SINK, SOURCE, PORT = "198.51.100.1", "198.51.100.2", 9999
PORTION = 32  # segments: less than the first window
# linux/sockios.h and linux/ethtool.h
_SIOCETHTOOL, _SET_TSO, _SET_GSO, _SET_GRO = 0x8946, 0x1F, 0x24, 0x2C
_HEADERS = 14 + 20 + 32  # Ethernet, IPv4, TCP with time stamps
_SYN_OPTIONS = 8  # that other segments do not have


@dataclass(frozen=True, slots=True)
class Sent:
    """What one side sent: segments, of those again, bytes with all headers."""

    segments: int
    retransmitted: int
    wire_bytes: int


def transfer(sender: Namespace, watcher: Namespace, portions: int, *, offload: bool) -> Sent:
    """From `eth0` of the sender to `ap` of the watcher; it has ended when this returns."""
    for namespace, interface, address in ((sender, "eth0", SOURCE), (watcher, "ap", SINK)):
        namespace.ip(f"addr replace {address}/24 dev {interface}")
        namespace.call(partial(_set_offload, interface, on=offload))
    sender.sysctl({"net.ipv4.tcp_early_retrans": 0})  # no tail loss probes
    with watcher.start([sys.executable, "-m", "tests.lab.transfer", "sink"], env=PYTHON_ENV) as sink:
        eventually(lambda: _listens(watcher), what="the sink")
        command = [*PYTHON, "-m", "tests.lab.transfer", "source", str(portions)]
        sent = Sent(**json.loads(sender.run(command, timeout=60).stdout))
        sink.wait(20)
    return sent


def _listens(namespace: Namespace) -> bool:
    """From proc(5): nobody asks by connecting, which would be packets too."""
    lines = namespace.run("cat /proc/net/tcp").stdout.splitlines()[1:]
    sockets = [line.split()[1:4] for line in lines]
    return any(local.endswith(f":{PORT:04X}") and state == "0A" for local, _, state in sockets)


def _set_offload(interface: str, *, on: bool) -> None:
    """SIOCETHTOOL with struct ethtool_value {u32 cmd; u32 data}."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in (_SET_TSO, _SET_GSO, _SET_GRO):
            value = ctypes.create_string_buffer(struct.pack("=II", command, on), 8)
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
            fcntl.ioctl(control, _SIOCETHTOOL, request)


def _sink() -> None:
    with socket.create_server((SINK, PORT)) as server:
        connection, _ = server.accept()
        with connection:
            while connection.recv(1 << 20):
                pass


def _source(portions: int) -> None:
    with socket.create_connection((SINK, PORT)) as connection:
        size = PORTION * connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        for _ in range(portions):
            connection.sendall(bytes(size))
            while _unacknowledged(connection):
                pass
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # the other end
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    # struct tcp_info, linux/tcp.h
    (retransmitted,) = struct.unpack_from("@I", info, 100)
    (segments,) = struct.unpack_from("@I", info, 136)
    (payload,) = struct.unpack_from("@Q", info, 200)
    print(
        json.dumps(
            {
                "segments": segments,
                "retransmitted": retransmitted,
                "wire_bytes": segments * _HEADERS + _SYN_OPTIONS + payload,
            }
        )
    )


def _unacknowledged(connection: socket.socket) -> int:
    count: int = struct.unpack("@i", fcntl.ioctl(connection, 0x5411, bytes(4)))[0]  # SIOCOUTQ, tcp(7)
    return count


if __name__ == "__main__":
    _sink() if sys.argv[1] == "sink" else _source(int(sys.argv[2]))
