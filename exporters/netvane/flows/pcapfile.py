"""Capture files (pcap and pcapng) as batches, megabytes at a time.

Format of pcap: draft-ietf-opsawg-pcap. Only the chain of record lengths is followed in Python;
all else is read as columns.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np

from netvane.flows import linktype, pcapng
from netvane.flows.batch import I64, LEAD, TAIL, U8, Batch
from netvane.flows.packetbuffer import CHUNK, MAX_CAPTURED, Buffer, Packets, fields

_PCAP_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_PCAP_HEADER, _RECORD = 24, 16
_LENGTH = 8  # where a record's header has the captured length


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
        header = struct.Struct(order + "I")
        while True:
            offsets = self._records(header)
            if offsets.size:
                columns = fields(buffer.array(), offsets - _RECORD, 4, order)
                damaged = np.flatnonzero(columns[2] > MAX_CAPTURED)
                if damaged.size:
                    buffer.problem = f"damaged: a packet of {columns[2][damaged[0]]} bytes"
                    offsets = offsets[: damaged[0]]
                    columns = [column[: damaged[0]] for column in columns]
                ts = (columns[0] * np.uint64(10**9) + columns[1] * np.uint64(nanoseconds)).astype(np.int64)
                yield Packets(offsets, columns[2], columns[3], ts, link)
            if buffer.problem or not buffer.fill():
                break
        if buffer.end > buffer.start and not buffer.problem:
            buffer.problem = "cut short within a packet"

    def _records(self, length: struct.Struct) -> I64:
        """Where the packets of the records begin that are whole in the buffer, which is moved on behind them."""
        buffer = self._buffer
        unpack = length.unpack_from
        found: list[int] = []
        append = found.append
        at = buffer.start + _LENGTH
        captured = 0
        # The one loop over all packets: it ends where the header is not whole.
        with memoryview(buffer.bytes)[: max(buffer.end - _RECORD + _LENGTH + 4, 0)] as lengths, suppress(struct.error):
            while True:
                (captured,) = unpack(lengths, at)
                append(at)
                at += captured + _RECORD
        # The last one found may go on behind the end, and a wrong length leads behind it anyway.
        if found and at - _LENGTH > buffer.end:
            at = found.pop()
            if captured > MAX_CAPTURED:
                buffer.problem = f"damaged: a packet of {captured} bytes"
        buffer.start = at - _LENGTH
        return np.array(found, dtype=np.int64) + (_RECORD - _LENGTH)


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
