"""The records of a pcap file are found side by side just as they are one by one."""

import struct

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


def mix(order: str, seed: int, largest: int) -> bytes:
    random = np.random.default_rng(seed)
    parts = []
    size = 0
    while size < SIZE:
        parts.append(record(order, random.bytes(int(random.integers(largest))), seconds=NOW + size // 10_000))
        size += len(parts[-1])
    return b"".join(parts)


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
