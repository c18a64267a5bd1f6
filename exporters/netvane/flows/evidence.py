"""One device's packets, cut out of batches or of a recording, and written as a pcap."""

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from netvane.common.clock import NANOSECONDS
from netvane.flows.batch import Batch
from netvane.flows.pcapfile import CaptureFile, CaptureFileError

SNAPLEN = 512
MAX_PACKETS = 500
SECONDS = 10  # before a finding
_MAGIC_NANOSECONDS = 0xA1B23C4D
_ETHERNET = 1

Packet = tuple[int, int, bytes]  # Unix ns, bytes on the wire, what was captured


def packets_of(files: list[Path], mac: str, since: int) -> Iterator[Packet]:
    """The packets from and to `mac` since then; a file that is gone or empty is passed over. Raises OSError."""
    for batch in _batches(files):
        yield from of_device(batch, mac, since)


def of_device(batch: Batch, mac: str, since: int) -> Iterator[Packet]:
    """The packets from and to `mac` since then."""
    yield from of_devices(batch, [mac], since, len(batch))[mac]


def of_devices(batch: Batch, macs: Iterable[str], since: int, limit: int) -> dict[str, list[Packet]]:
    """The packets from and to each of `macs` since then; the latest `limit` of each."""
    destination, source = batch.addresses()
    destination >>= np.uint64(16)
    source &= np.uint64(0xFFFFFFFFFFFF)
    recent = (batch.ts >= since) & (batch.captured >= 12)
    found: dict[str, list[Packet]] = {}
    for mac in macs:
        wanted = int.from_bytes(bytes.fromhex(mac.replace(":", "")), "little")
        rows = np.flatnonzero(((destination == wanted) | (source == wanted)) & recent)[-limit:]
        found[mac] = list(zip(batch.ts[rows].tolist(), batch.wire[rows].tolist(), batch.frames_at(rows), strict=True))
    return found


def write(path: Path, packets: Iterable[Packet], *, snaplen: int) -> int:
    """Write a pcap for its owner only, each packet with its true length; returns how many. Raises OSError."""
    count = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        os.fchmod(descriptor, 0o600)
        out.write(struct.pack("=IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, snaplen, _ETHERNET))
        for ts, wire, frame in packets:
            kept = frame[:snaplen]
            out.write(struct.pack("=IIII", ts // NANOSECONDS, ts % NANOSECONDS, len(kept), wire) + kept)
            count += 1
    return count


def _batches(files: list[Path]) -> Iterator[Batch]:
    for path in files:
        try:
            with CaptureFile(path) as file:
                yield from file.batches()
        except CaptureFileError:  # the oldest, gone meanwhile; or one that was just begun, and empty
            continue
