"""Sends a capture's frames over and over, as fast as asked for: ``python -m tests.bench.flood IFACE FILE PPS SECONDS``.

tcpreplay has a system call for each packet. Here frames lie in a ring that the kernel sends from: packet(7),
PACKET_TX_RING, Documentation/networking/packet_mmap.rst. Says how many were sent.
"""

import mmap
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np

from netvane.flows.pcapfile import CaptureFile

SLOT = 2048
SLOTS = 4096
_BLOCK = 1 << 20
_SOL_PACKET, _VERSION, _TX_RING, _QDISC_BYPASS = 263, 10, 13, 20
_TPACKET_V2 = 1
_HEADER = 32  # struct tpacket2_hdr, aligned: where the frame begins
_SEND_REQUEST = 1
_PORTION = 256  # frames that are handed over at a time
_LATE_SECONDS = 0.005  # what was missed for longer is not made up for: that would be a burst


def main(interface: str, path: Path, rate: float, seconds: float) -> int:
    """Returns how many frames were sent."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
        out.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V2)
        out.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        out.setsockopt(_SOL_PACKET, _TX_RING, struct.pack("@IIII", _BLOCK, SLOTS * SLOT // _BLOCK, SLOT, SLOTS))
        with mmap.mmap(out.fileno(), SLOTS * SLOT) as ring:
            out.bind((interface, 0))
            _fill(ring, path)
            return _send(out, ring, rate, seconds)


def _fill(ring: mmap.mmap, path: Path) -> None:
    """The first frames of the file, one in each slot: they are sent again and again."""
    slot = 0
    with CaptureFile(path) as file:
        for batch in file.batches():
            for whole in batch.frames_at(np.arange(min(len(batch), SLOTS - slot))):
                frame = whole[: SLOT - _HEADER]
                at = slot * SLOT
                ring[at + 4 : at + 8] = struct.pack("@I", len(frame))
                ring[at + _HEADER : at + _HEADER + len(frame)] = frame
                slot += 1
            if slot == SLOTS:
                return
    raise ValueError(f"{path} has fewer than {SLOTS} packets")


def _send(out: socket.socket, ring: mmap.mmap, rate: float, seconds: float) -> int:
    status = np.frombuffer(ring, dtype=np.uint32).reshape(SLOTS, SLOT // 4)[:, 0]
    start = due = time.monotonic()
    sent = 0
    while (now := time.monotonic()) - start < seconds:
        if now < due:
            time.sleep(0.0005)
            continue
        due = max(due, now - _LATE_SECONDS) + _PORTION / rate
        first = sent % SLOTS
        status[first : first + _PORTION] = _SEND_REQUEST
        out.send(b"")  # waits until all of them are sent
        sent += _PORTION
    del status
    return sent


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
