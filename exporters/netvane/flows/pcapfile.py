"""Capture files (pcap and pcapng) as batches, megabytes at a time.

Format of pcap: draft-ietf-opsawg-pcap.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from netvane.flows import linktype, pcapng
from netvane.flows.batch import LEAD, TAIL, U8, Batch
from netvane.flows.packetbuffer import CHUNK, MAX_CAPTURED, Buffer, Packets, fields
from netvane.flows.recordchain import RECORD, follow

_PCAP_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_PCAP_HEADER = 24


class CaptureFileError(Exception):
    """No capture file, or one that cannot be read; the text says which."""


class CaptureFile:
    """Read once, from its beginning to its end."""

    def __init__(self, path: Path, chunk: int = CHUNK) -> None:
        """`chunk`: bytes in memory at a time, at least CHUNK. Raises CaptureFileError."""
        try:
            self._file = path.open("rb", buffering=0)
            self._buffer = Buffer(self._file, chunk)
            self._buffer.fill()
        except OSError as error:
            raise CaptureFileError(f"{path}: {error.strerror}") from error
        magic = bytes(self._buffer.bytes[LEAD : LEAD + 4])
        if magic not in _PCAP_MAGIC and magic != pcapng.MAGIC:
            self._file.close()
            raise CaptureFileError(f"{path}: neither pcap nor pcapng")
        self._source = pcapng.packets_of(self._buffer) if magic == pcapng.MAGIC else self._pcap(*_PCAP_MAGIC[magic])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def problem(self) -> str | None:
        """Once all batches were taken: why the file was not read to its end; None where it was."""
        return self._buffer.problem

    def batches(self) -> Iterator[Batch]:
        """A batch is good until the next one is asked for. Raises CaptureFileError where the disk fails."""
        try:
            for packets in self._source:
                if packets.link == linktype.ETHERNET:
                    data = self._buffer.array()
                    yield Batch(data, packets.offsets, packets.captured, packets.wire, packets.ts)
                elif len(packets.offsets):
                    yield _reframed(self._buffer.array(), packets)
        except OSError as error:
            raise CaptureFileError(f"{self._file.name}: {error.strerror}") from error

    def _pcap(self, order: str, nanoseconds: int) -> Iterator[Packets]:
        buffer = self._buffer
        if buffer.end - buffer.start < _PCAP_HEADER:
            buffer.problem = "cut short in the file's header"
            return
        (link,) = struct.unpack_from(order + "I", buffer.bytes, buffer.start + 20)
        link &= 0x03FFFFFF  # above: length of the frame check sequence
        buffer.start += _PCAP_HEADER
        while True:
            records = follow(buffer.array(), buffer.start, buffer.end, order)
            if records.size:
                seconds, fraction, captured, wire = fields(buffer.array(), records, 4, order)
                ts = (seconds * np.uint64(10**9) + fraction * np.uint64(nanoseconds)).astype(np.int64)
                damaged = np.flatnonzero(captured > MAX_CAPTURED)
                count = len(records)
                last = int(records[-1]) + RECORD + int(captured[-1])
                if damaged.size:
                    buffer.problem = f"damaged: a packet of {captured[damaged[0]]} bytes"
                    count = int(damaged[0])
                elif last > buffer.end:  # the rest of the last one is yet to be read
                    count -= 1
                    last = int(records[-1])
                buffer.start = last
                if count:
                    yield Packets(records[:count] + RECORD, captured[:count], wire[:count], ts[:count], link)
            if buffer.problem or not buffer.fill():
                break
        if buffer.end > buffer.start and not buffer.problem:
            buffer.problem = "cut short within a packet"


def _reframed(data: U8, packets: Packets) -> Batch:
    """The same packets as Ethernet frames in a buffer of their own."""
    frames: list[bytes] = []
    wires: list[int] = []
    links: list[int] = []
    for offset, captured, wire in zip(
        packets.offsets.tolist(), packets.captured.tolist(), packets.wire.tolist(), strict=True
    ):
        made = linktype.reframe(packets.link, data[offset : offset + captured].tobytes(), wire)
        frames.append(made.frame)
        wires.append(max(made.wire, len(made.frame)))
        links.append(made.link)
    lengths = np.array([len(frame) for frame in frames], dtype=np.int64)
    buffer = np.frombuffer(bytes(LEAD) + b"".join(frames) + bytes(TAIL), dtype=np.uint8)
    return Batch(
        buffer,
        LEAD + np.cumsum(lengths) - lengths,
        lengths.astype(np.uint64),
        np.array(wires, dtype=np.uint64),
        packets.ts,
        links=np.array(links, dtype=np.uint64),
        counted=packets.wire,
    )
