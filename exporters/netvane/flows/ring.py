"""A memory-mapped packet ring: packet(7), linux/if_packet.h, Documentation/networking/packet_mmap.rst.

TPACKET_V2, because its slots have a fixed size: the ring is an array. Slots are used one after the other; one belongs
to this program while bit 0 of its status is set. A slot, with PACKET_VNET_HDR and PACKET_RESERVE 6:

    0    struct tpacket2_hdr: status, length, captured length (32 bits each), tp_mac, tp_net (16), seconds, nanoseconds,
         VLAN tag, VLAN protocol (16)
    72   struct virtio_net_hdr: flags, GSO type (8), header length, segment size, … (16), always right before the frame
    82   the frame, at tp_mac; its IP header at 96. Frames sent with a VLAN tag begin four bytes earlier.

Slots are not cleared: what lies behind the captured length is an older frame's.
"""

import bisect
import errno
import mmap
import os
import socket
import struct
from dataclasses import dataclass

import numpy as np

from netvane.common import link
from netvane.common.bpf import Program, attach
from netvane.common.clock import NANOSECONDS
from netvane.flows import keys as k
from netvane.flows.batch import I64, U8, U64, Batch
from netvane.flows.settings import RING_UNIT

SLOT_BYTES = 512
BLOCK_BYTES = RING_UNIT

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _RESERVE, _VNET_HDR = 1, 5, 6, 10, 12, 15
_PROMISCUOUS = 1
_TPACKET_V2 = 1
_RESERVED = 6
_VNET_BYTES = 10
_USER = 1  # TP_STATUS_USER: the slot is ours
_VLAN_VALID = np.uint32(1 << 4)
SPARE_PART = 8
_MAX_FRAME = 1522  # longer ones may be several; Ethernet with a tag

_U = np.uint64


@dataclass(slots=True)
class Counts:
    """Since the start; `received` includes what was dropped."""

    received: int = 0
    dropped: int = 0


class Ring:
    """The frames of one interface, coming and going.

    `ready` and `take` are for one thread; a batch is good until `release`.
    """

    def __init__(
        self,
        interface: str,
        size: int,
        *,
        slot_bytes: int = SLOT_BYTES,
        program: Program | None = None,
        promiscuous: bool = False,
        counts: Counts | None = None,
    ) -> None:
        """`size`: bytes, a multiple of 1 MiB; `counts` go on from an earlier ring's.

        Raises OSError: no such interface, no right, no memory.
        """
        self.interface = interface
        self.counts = counts or Counts()
        self._slot_words = slot_bytes // 4
        self._slot_bytes = slot_bytes
        self.slots = size // slot_bytes
        self._head = 0
        # Protocol 0: nothing arrives before bind. The version before the ring, or it is refused.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            self._set(_VERSION, _TPACKET_V2)
            self._set(_VNET_HDR, 1)
            self._set(_RESERVE, _RESERVED)
            if program is not None:
                attach(self._socket, program)
            # struct tpacket_req: block size (a multiple of any page size), blocks, slot size, slots
            request = struct.pack("@IIII", BLOCK_BYTES, size // BLOCK_BYTES, slot_bytes, self.slots)
            self._socket.setsockopt(_SOL_PACKET, _RX_RING, request)
            self._memory = mmap.mmap(self._socket.fileno(), size)
            self._socket.bind((interface, _ETH_P_ALL))
            self._index = socket.if_nametoindex(interface)
            if promiscuous:
                membership = struct.pack("@iHH8s", self._index, _PROMISCUOUS, 0, b"")
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
        except BaseException:
            self._socket.close()
            raise
        self._bytes: U8 = np.frombuffer(self._memory, dtype=np.uint8)
        self._words = self._bytes.view(np.uint32).reshape(self.slots, self._slot_words)
        self._status = memoryview(self._memory).cast("I")

    def _set(self, option: int, value: int) -> None:
        self._socket.setsockopt(_SOL_PACKET, option, value)

    def close(self) -> None:
        """The memory goes when the last batch does."""
        self._status.release()
        del self._bytes, self._words
        self._socket.close()
        try:
            self._memory.close()
        except BufferError:  # a batch of it is still held
            del self._memory

    @property
    def stale(self) -> bool:
        """The interface is gone, renamed, or replaced by another one: nothing will come any more."""
        return not link.is_same(self.interface, self._index)

    @property
    def up(self) -> bool:
        """Switched on, with something at the other end of the cable."""
        return link.is_running(self._socket, self.interface)

    def is_used(self, ahead: int) -> bool:
        """Whether at least `ahead` + 1 slots wait. One look at one slot."""
        return bool(self._status[(self._head + ahead) % self.slots * self._slot_words] & _USER)

    def ready(self) -> int:
        """How many slots wait. Looks at a few of them only: all from the first on are used, up to the last one."""
        self._read_statistics()
        if not self.is_used(0):
            return 0
        known, step = 0, 1  # slot `known` is used
        while known + step < self.slots and self.is_used(known + step):
            known += step
            step *= 2
        while step > 1:
            step //= 2
            if known + step < self.slots and self.is_used(known + step):
                known += step
        return known + 1

    def take(self, count: int) -> Batch:
        """The first `count` slots that wait, fewer where the ring's end comes before; `release` them afterwards."""
        count = min(count, self.slots - self._head)
        # On ARM the frame might otherwise be read before the status that vouches for it: a system call is a barrier.
        os.getppid()
        slots = np.arange(self._head, self._head + count, dtype=np.int64)
        header = self._words[self._head : self._head + count]
        status, length, captured = header[:, 0], header[:, 1].astype(np.uint64), header[:, 2].astype(np.uint64)
        offsets = slots * self._slot_bytes + (header[:, 3] & np.uint32(0xFFFF))
        ts = header[:, 4].astype(np.int64) * NANOSECONDS + header[:, 5]
        tagged = status & _VLAN_VALID != 0
        if not tagged.any() and int(length.max()) <= _MAX_FRAME:
            return Batch(self._bytes, offsets, captured, length, ts)
        # The kernel took the four bytes of the tag out of the length too.
        links = np.where(tagged, header[:, 6] & _U(0x0FFF) | _U(k.TAGGED), _U(0))
        frames = np.ones(count, dtype=np.uint64)
        counted = length + tagged * _U(4)
        self._count_segments(offsets, captured, length, frames, counted)
        return Batch(self._bytes, offsets, captured, length, ts, links, frames, counted)

    def release(self, batch: Batch) -> None:
        """Give the slots of the batch that was taken last back to the kernel."""
        os.getppid()  # the barrier again: all was read before the kernel may write
        self._words[self._head : self._head + len(batch), 0] = 0
        self._head = (self._head + len(batch)) % self.slots

    def recent(self, since: int) -> Batch:
        """Frames that came since then (Unix ns) and were released: they stay in their slots until the ring comes round.

        The oldest eighth is left out, so that the kernel does not get there meanwhile. A tag that it took out of a
        frame is not put back. While the clock is being set, some may be missing.
        """
        oldest = bisect.bisect_left(range(self.slots), since, self.slots // SPARE_PART, key=self._came)
        slots = (self._head + np.arange(oldest, self.slots)) % self.slots
        header = self._words[:, :6][slots]
        ts = header[:, 4].astype(np.int64) * NANOSECONDS + header[:, 5]
        rows = np.flatnonzero((ts >= since) & (header[:, 0] == 0))
        header = header[rows]
        offsets = slots[rows] * self._slot_bytes + (header[:, 3] & np.uint32(0xFFFF))
        return Batch(self._bytes, offsets, header[:, 2].astype(np.uint64), header[:, 1].astype(np.uint64), ts[rows])

    def _came(self, ahead: int) -> int:
        """When the frame came that is in the slot `ahead` of the next one: Unix ns, 0 where there never was one."""
        at = (self._head + ahead) % self.slots * self._slot_words
        return self._status[at + 4] * NANOSECONDS + self._status[at + 5]

    def fault(self) -> str | None:
        """What the kernel says of the interface, once: it went down. Taken away by being read."""
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return None if number == 0 else errno.errorcode.get(number, str(number))

    def _read_statistics(self) -> None:
        # Reset by being read; the count of packets includes drops.
        received, dropped = struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        self.counts.received += received
        self.counts.dropped += dropped

    def _count_segments(self, offsets: I64, captured: U64, length: U64, frames: U64, counted: U64) -> None:
        """Super-frames become the segments that were, or would be, on the wire, each with its own headers."""
        rows = np.flatnonzero(length > _MAX_FRAME)
        if not rows.size:
            return
        at = offsets[rows]
        data = self._bytes
        kind = data[at - _VNET_BYTES + 1]
        size = data[at - _VNET_BYTES + 4].astype(np.uint64) | data[at - _VNET_BYTES + 5].astype(np.uint64) << _U(8)
        network = at + 14
        network = np.where((data[at + 12] == 0x81) & (data[at + 13] == 0), network + 4, network)
        is4 = data[network] >> 4 == 4
        transport = network + np.where(is4, (data[network] & 15).astype(np.int64) * 4, 40)
        protocol = np.where(is4, data[network + 9], data[network + 6])
        last = at + captured[rows].astype(np.int64)  # a header that was not captured says nothing
        tcp = (protocol == 6) & (transport + 13 <= last)
        header = np.where(tcp, (data[np.minimum(transport + 12, len(data) - 1)] >> 4).astype(np.int64) * 4, 8)
        headers = (transport - at + header).astype(np.uint64)
        split = (kind != 0) & (size > 0) & (tcp | (protocol == 17)) & (headers < length[rows])
        rows, size, headers = rows[split], size[split], headers[split]
        segments = (length[rows] - headers + size - _U(1)) // size
        frames[rows] = segments
        counted[rows] += (segments - _U(1)) * (headers + counted[rows] - length[rows])
