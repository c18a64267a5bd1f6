"""Capture files of every make: written here by the formats' own descriptions, and by Wireshark's editcap."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from netvane.flows.analyze import analyze
from netvane.flows.packetbuffer import CHUNK
from netvane.flows.pcapfile import CaptureFile, CaptureFileError
from tests import frames

NANOSECONDS, MICROSECONDS = 0xA1B23C4D, 0xA1B2C3D4
TIME = 1_760_000_000_123_456_789
FRAME = frames.ethernet(frames.ipv4(frames.udp(40000, 53, bytes(40)), 17))

editcap = pytest.mark.skipif(shutil.which("editcap") is None, reason="editcap is not installed")


def pcap(order: str, magic: int, link: int, *packets: bytes, wire: int = 0) -> bytes:
    made = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    unit = 1 if magic == NANOSECONDS else 1000
    for packet in packets:
        seconds, rest = divmod(TIME, 10**9)
        made += struct.pack(order + "IIII", seconds, rest // unit, len(packet), wire or len(packet)) + packet
    return made


def read(path: Path) -> tuple[list[tuple[bytes, int, int]], str | None]:
    with CaptureFile(path) as file:
        found = [
            (batch.frame(row), int(batch.wire[row]), int(batch.ts[row]))
            for batch in file.batches()
            for row in range(len(batch))
        ]
        return found, file.problem


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("magic", [NANOSECONDS, MICROSECONDS])
def test_pcap_of_both_byte_orders_and_resolutions(tmp_path: Path, order: str, magic: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(pcap(order, magic, 1, FRAME, FRAME, wire=1500))
    time = TIME if magic == NANOSECONDS else TIME // 1000 * 1000
    assert read(path) == ([(FRAME, 1500, time)] * 2, None)


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def interface(order: str, link: int, *options: tuple[int, bytes]) -> bytes:
    body = struct.pack(order + "HHI", link, 0, 60)
    for code, value in options:
        body += struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)
    return block(order, 1, body)


def enhanced(order: str, number: int, ticks: int, packet: bytes) -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), len(packet))
    return block(order, 6, head + packet)


@pytest.mark.parametrize("order", "<>")
def test_pcapng_with_all_that_it_can_say(tmp_path: Path, order: str) -> None:
    section = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    made = section + interface(order, 1, (9, b"\x09"))
    made += interface(order, 1, (9, b"\x94"), (14, struct.pack(order + "q", 1_760_000_000)))  # 2^-20 s, an offset
    made += interface(order, 101) + block(order, 5, bytes(12)) + enhanced(order, 0, TIME, FRAME)
    made += enhanced(order, 1, 1 << 19, FRAME) + enhanced(order, 2, TIME // 1000, FRAME[14:])
    made += block(order, 2, struct.pack(order + "HHIIII", 0, 0, TIME >> 32, TIME & 0xFFFFFFFF, 50, 60) + FRAME[:50])
    made += block(order, 3, struct.pack(order + "I", 100) + FRAME[:60])
    made += section + interface(order, 1) + enhanced(order, 0, TIME // 1000, FRAME)  # interfaces begin anew
    path = tmp_path / "file"
    path.write_bytes(made)
    coarse = TIME // 1000 * 1000
    assert read(path) == (
        [
            (FRAME, len(FRAME), TIME),
            (FRAME, len(FRAME), 1_760_000_000_500_000_000),
            (bytes(12) + FRAME[12:], len(FRAME), coarse),
            (FRAME[:50], 60, TIME),
            (FRAME[:60], 100, 0),
            (FRAME, len(FRAME), coarse),
        ],
        None,
    )


@pytest.mark.parametrize("order", "<>")
def test_a_large_pcapng_with_odd_blocks_in_its_midst(tmp_path: Path, order: str) -> None:
    def packet(number: int) -> bytes:
        return frames.ethernet(frames.ipv4(frames.udp(1, 2, struct.pack("!I", number) * (1 + number % 300)), 17))

    count = 2 * CHUNK // 650
    made = [block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)), interface(order, 1)]
    for number in range(count):
        if number == count // 3:
            made += [block(order, 5, bytes(12)), interface(order, 1, (9, b"\x09"))]
        late = number > count // 2
        made.append(enhanced(order, int(late), TIME if late else TIME // 1000, packet(number)))
    path = tmp_path / "file"
    path.write_bytes(b"".join(made))
    found, problem = read(path)
    assert problem is None
    assert [frame for frame, _, _ in found] == [packet(number) for number in range(count)]
    assert [ts for _, _, ts in found] == [
        TIME if number > count // 2 else TIME // 1000 * 1000 for number in range(count)
    ]
    path.write_bytes(b"".join(made)[:-5])
    found, problem = read(path)
    assert (len(found), problem) == (count - 1, "cut short within a block")


@pytest.mark.parametrize("cut", [1, 10, 16, 17, 40])
def test_a_file_cut_short_is_read_up_to_the_cut_and_says_so(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(pcap("<", MICROSECONDS, 1, FRAME, FRAME)[:-cut])
    found, problem = read(path)
    assert len(found) == 1
    assert problem == "cut short within a packet"


def test_a_length_that_cannot_be_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pcap("<", MICROSECONDS, 1, FRAME) + struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30) + bytes(100))
    found, problem = read(path)
    assert len(found) == 1
    assert problem == "damaged: a packet of 1073741824 bytes"


def test_a_file_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    large = frames.ethernet(frames.ipv4(frames.udp(1, 2, bytes(1400)), 17))
    count = 2 * CHUNK // len(large) + 7
    path.write_bytes(pcap("<", MICROSECONDS, 1, *[large] * count))
    analysis = analyze(path)
    assert (analysis.frames, analysis.bytes, analysis.malformed) == (count, count * len(large), 0)
    assert analysis.flows == {"udp": 1}


@pytest.mark.parametrize("content", [b"", b"\xd4\xc3", b"GIF89a" + bytes(100)])
def test_what_is_no_capture_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CaptureFileError, match="neither pcap nor pcapng"):
        CaptureFile(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CaptureFileError, match="No such file"):
        CaptureFile(tmp_path / "file")


@editcap
def test_rubbish_after_a_good_start_never_raises(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.pcap", tmp_path / "broken.pcapng"
    whole.write_bytes(pcap("<", MICROSECONDS, 1, *[FRAME] * 50))
    subprocess.run(["editcap", "-F", "pcapng", whole, broken], check=True, capture_output=True)
    good = broken.read_bytes()
    for at in range(28, len(good), 13):
        broken.write_bytes(good[:at] + b"\xff\xfe\xfd" + good[at + 3 :])
        found, _ = read(broken)
        assert len(found) <= 50


SOURCE_SET = b"\x00\x01\x00\x01\x00\x06" + frames.GADGET + b"\0\0"


@pytest.mark.parametrize(
    ("link", "header"),
    [
        (113, b"\0\0" + SOURCE_SET[2:] + b"\x08\x00"),
        (276, b"\x08\x00\0\0\0\0\0\x02\0\x01\0\x06" + frames.GADGET + b"\0\0"),
        # radiotap with flags; a QoS data frame from an access point
        (127, b"\0\0\x09\0\x02\0\0\0\0" + b"\x88\x02\0\0" + frames.ROUTER + bytes(6) + frames.GADGET + bytes(4)
            + b"\xaa\xaa\x03\0\0\0\x08\0"),
        # radiotap with a timestamp, two words of what is present, and a frame check sequence; to an access point
        (127, b"\0\0\x1c\0\x03\0\0\x80\0\0\0\0" + bytes(4) + bytes(8) + b"\x10\0\0\0" + b"\x08\x01\0\0" + bytes(6)
            + frames.GADGET + frames.ROUTER + bytes(2) + b"\xaa\xaa\x03\0\0\0\x08\0"),
    ],
)  # fmt: skip
def test_other_links_bring_their_addresses_and_the_packet(tmp_path: Path, link: int, header: bytes) -> None:
    path = tmp_path / "file"
    packet = header + FRAME[14:] + (b"fcs." if b"\x10\0\0\0" in header else b"")
    path.write_bytes(pcap("<", MICROSECONDS, link, packet))
    analysis = analyze(path)
    assert {name for name, count in analysis.classes.items() if count} == {"udp", "dns"}
    assert analysis.bytes == len(packet)
    assert analysis.devices[frames.GADGET.hex(":")].tx_bytes == len(packet)
    assert analysis.malformed == 0


@pytest.mark.parametrize(
    ("kind", "flags"), [(0x80, 0), (0x48, 0), (0x08, 0x40)], ids=["beacon", "data without data", "encrypted"]
)
def test_wifi_frames_without_a_readable_packet_count_as_other(tmp_path: Path, kind: int, flags: int) -> None:
    path = tmp_path / "file"
    header = bytes([kind, flags, 0, 0]) + frames.ROUTER + frames.GADGET + frames.ROUTER + bytes(2)
    path.write_bytes(pcap("<", MICROSECONDS, 127, b"\0\0\x08\0\0\0\0\0" + header + bytes(40)))
    analysis = analyze(path)
    assert {name for name, count in analysis.classes.items() if count} == {"other"}
    assert (frames.GADGET.hex(":") in analysis.devices) == (kind != 0x80)


def test_a_dns_message_over_tcp_and_the_shape_of_the_answer(tmp_path: Path) -> None:
    question = b"\x03WwW\x07example\0\0\x01\0\x01"
    query = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + question
    answer = struct.pack("!6H", 7, 0x8180, 1, 1, 0, 0) + question + b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + frames.FAR
    up = frames.ethernet(frames.ipv4(frames.tcp(40000, 53, 0x18, struct.pack("!H", len(query)) + query), 6))
    down = frames.ethernet(
        frames.ipv4(frames.udp(53, 40000, answer), 17, frames.FAR, frames.LOCAL), 0x0800, frames.ROUTER, frames.GADGET
    )
    path = tmp_path / "file"
    path.write_bytes(pcap("<", NANOSECONDS, 1, up, down))
    first, second = analyze(path).dns
    mac = frames.GADGET.hex(":")
    assert (first.mac, first.name, first.type, first.rcode, first.answers, first.response) == (
        mac, "www.example", "A", None, (), False
    )  # fmt: skip
    assert (second.mac, second.rcode, second.answers, second.response) == (mac, "NOERROR", ("203.0.113.9",), True)
    assert first.ts == "2025-10-09T08:53:20.123456789Z"
