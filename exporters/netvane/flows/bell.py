"""A bell that rings once in some thousand packets, for whoever sleeps while a ring fills.

poll(2) on a ring wakes for every packet, and a look on a timer that is short enough for a flood costs 0.1 ms of CPU,
ten times a second, all night. So one packet in many goes to a socket of its own: at random, as a classic filter has no
memory to count in. The kernel's part is 0.1 to 0.2 microseconds a packet: a home has a thousand packets a second.
"""

import select
import socket
from collections.abc import Iterable

from netvane.common.bpf import JGE, LD_RANDOM, RANDOM, RET, Program, Step, attach

_ETH_P_ALL = 0x0003
_FEW = 8  # more than the smallest buffer holds


class Bell:
    """Of one interface. Once that is gone, it rings no more."""

    def __init__(self, interface: str, packets: int) -> None:
        """It rings about once in so many packets. Raises OSError: no such interface, no right."""
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            attach(self._socket, _one_in(packets))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # one is enough
            self._socket.bind((interface, _ETH_P_ALL))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def hush(self) -> None:
        """Take what made it ring: packets, or the news that its interface went down."""
        for _ in range(_FEW):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return
            except OSError:  # said once
                continue

    def close(self) -> None:
        self._socket.close()


def wait(bells: Iterable[Bell], seconds: float) -> None:
    """Sleep until one of them rings, and no longer than `seconds`."""
    poll = select.poll()
    by_number = {bell.fileno(): bell for bell in bells}
    for number in by_number:
        poll.register(number, select.POLLIN)
    for number, _ in poll.poll(seconds * 1000):
        by_number[number].hush()


def _one_in(packets: int) -> Program:
    return (
        ("", Step(LD_RANDOM, RANDOM)),
        ("", Step(JGE, 2**32 // packets, "quiet")),
        ("", Step(RET, 1)),
        ("quiet", Step(RET, 0)),
    )
