"""The records of a pcap file are found side by side just as they are one by one."""

import struct
from collections.abc import Iterator

import numpy as np
import pytest

from netvane.flows import recordchain
from netvane.flows.batch import LEAD, TAIL, U8
from netvane.flows.packetbuffer import MAX_CAPTURED

NOW = 1_790_000_000
SIZE = 4 << 20  # enough for hundreds of strips


def record(order: str, packet: bytes, *, seconds: int = NOW) -> bytes:
    return struct.pack(order + "4I", seconds, 5, len(packet), len(packet)) + packet


def buffer(stream: bytes) -> U8:
    return np.frombuffer(bytearray(bytes(LEAD) + stream + bytes(TAIL)), dtype=np.uint8)


def expected(stream: bytes, order: str) -> list[int]:
    found, at = [], 0
    while at + recordchain.RECORD <= len(stream):
        found.append(LEAD + at)
        at += recordchain.RECORD + struct.unpack_from(order + "I", stream, at + 8)[0]
    return found


def packets(seed: int, largest: int) -> Iterator[bytes]:
    """As many as fill SIZE with their records."""
    random = np.random.default_rng(seed)
    size = 0
    while size < SIZE:
        packet = random.bytes(int(random.integers(largest)))
        size += recordchain.RECORD + len(packet)
        yield packet


def mix(order: str, seed: int, largest: int) -> bytes:
    stream = bytearray()
    for packet in packets(seed, largest):
        stream += record(order, packet, seconds=NOW + len(stream) // 10_000)
    return bytes(stream)


def follow(stream: bytes, order: str) -> list[int]:
    found: list[int] = recordchain.follow(buffer(stream), LEAD, LEAD + len(stream), order).tolist()
    return found


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("largest", [60, 1514, 65_535])
def test_every_record_is_found(order: str, largest: int) -> None:
    stream = mix(order, largest, largest)
    assert follow(stream, order) == expected(stream, order)


def test_a_capture_within_a_capture_is_not_taken_for_it() -> None:
    inner = record("<", bytes(100)) * 12  # a full frame of records, as of a capture that is being copied
    stream = record("<", inner) * (SIZE // len(inner))
    assert follow(stream, "<") == expected(stream, "<")


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 17, 700])
def test_a_cut_end_leaves_the_records_whose_header_is_whole(cut: int) -> None:
    stream = mix("<", 1, 1514)
    stream = stream[: len(stream) - cut]
    assert follow(stream, "<") == expected(stream, "<")


def test_behind_a_damaged_length_nothing_is_found() -> None:
    good = record("<", bytes(700)) * 3000
    stream = good + struct.pack("<4I", NOW, 5, 0xFFFFFFFF, 0xFFFFFFFF) + record("<", bytes(700)) * 3000
    found = follow(stream, "<")
    assert len(found) == 3001
    assert int(buffer(stream)[found[-1] + 8 : found[-1] + 12].view(np.uint32)[0]) > MAX_CAPTURED


def test_nothing_is_found_in_less_than_a_header() -> None:
    assert follow(bytes(15), "<") == []


def block(order: str, content: bytes, kind: int = 6) -> bytes:
    content += bytes(-len(content) % 4)
    size = struct.pack(order + "I", len(content) + recordchain.BLOCK)
    return struct.pack(order + "I", kind) + size + content + size


def blocks(order: str, seed: int, largest: int) -> list[bytes]:
    return [block(order, packet) for packet in packets(seed, largest)]


def edges(parts: list[bytes]) -> list[int]:
    return [LEAD, *(LEAD + np.cumsum([len(part) for part in parts])).tolist()]


def follow_blocks(stream: bytes, order: str = "<") -> list[int]:
    found: list[int] = recordchain.follow_blocks(buffer(stream), LEAD, LEAD + len(stream), order).tolist()
    return found


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("largest", [60, 1514, 65_535])
def test_every_block_is_found(order: str, largest: int) -> None:
    parts = blocks(order, largest, largest)
    assert follow_blocks(b"".join(parts), order) == edges(parts)


@pytest.mark.parametrize("cut", [1, 11, 12, 700])
def test_a_cut_block_is_left_for_later(cut: int) -> None:
    parts = blocks("<", 2, 1514)
    stream = b"".join(parts)[:-cut]
    assert follow_blocks(stream) == [edge for edge in edges(parts) if edge <= LEAD + len(stream)]


@pytest.mark.parametrize("odd", [block("<", bytes(40), 5), struct.pack("<III", 6, 13, 0), block("<", bytes(5 << 20))])
def test_blocks_end_before_one_that_is_odd(odd: bytes) -> None:
    parts = blocks("<", 3, 1514)
    half = len(parts) // 2
    assert follow_blocks(b"".join([*parts[:half], odd, *parts[half:]])) in ([], edges(parts[:half]))


def test_a_block_without_a_length_is_no_endless_chain() -> None:
    parts = blocks("<", 4, 1514)
    half = len(parts) // 2
    stream = b"".join([*parts[:half], struct.pack("<III", 6, 0, 0), *parts[half:]])
    assert follow_blocks(stream) in ([], edges(parts[:half]))


def test_blocks_within_blocks_are_not_taken_for_them() -> None:
    inner = block("<", bytes(100)) * 12  # a full frame of blocks, as of a capture that is being copied
    parts = [block("<", inner)] * (SIZE // len(inner))
    assert follow_blocks(b"".join(parts)) in ([], edges(parts))
