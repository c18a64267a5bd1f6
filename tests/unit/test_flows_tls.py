import ssl
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.common.clock import NANOSECONDS
from netvane.flows.dnsnames import name_of
from netvane.flows.tls import MAX_HELLO_BYTES, MAX_SEGMENTS, MAX_WAITING, Hello, Hellos, TlsError
from netvane.flows.tls import hello_in_handshake as in_handshake
from netvane.flows.tls import hello_in_records as in_records
from tests import tshark

A, B = "connection a", "connection b"


def client_hello(name: str | None = "Printer.Example.org") -> bytes:
    """The first flight of this machine's own TLS library."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


FLIGHT = client_hello()
HELLO = Hello("printer.example.org")


def handshake(*extensions: tuple[int, bytes]) -> bytes:
    block = b"".join(struct.pack("!HH", kind, len(data)) + data for kind, data in extensions)
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + struct.pack("!H", len(block)) + block
    return b"\x01" + len(body).to_bytes(3) + body


def server_name(name: bytes) -> tuple[int, bytes]:
    return 0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name


def test_a_hello_says_which_server_is_asked_for() -> None:
    assert in_records(FLIGHT) == HELLO
    assert in_records(client_hello(None)) == Hello(None)


def test_a_hello_may_be_spread_over_records_and_followed_by_early_data() -> None:
    body = FLIGHT[5:]
    records = b"".join(b"\x16\x03\x01" + struct.pack("!H", 1) + body[at : at + 1] for at in range(len(body)))
    assert in_records(records) == HELLO
    assert in_records(FLIGHT + b"\x14\x03\x03\0\x01\x01\x17\x03\x03\0\x02xx") == HELLO
    with pytest.raises(TlsError):
        in_records(records[:60] + b"\x17\x03\x03\0\x02xx")


def test_the_name_in_front_of_an_encrypted_hello_is_seen() -> None:
    assert in_handshake(handshake(server_name(b"front.example"), (0xFE0D, b"\0"))) == Hello("front.example")


def test_a_hello_without_extensions_is_a_hello() -> None:
    body = b"\x03\x01" + bytes(32) + b"\0" + b"\0\x02\0\x2f" + b"\x01\0"
    assert in_handshake(b"\x01" + len(body).to_bytes(3) + body) == Hello(None)


def test_names_come_in_printable() -> None:
    assert in_handshake(handshake(server_name(b"x\0<b>\xff.Example."))) == Hello("x\\000\\060b\\062\\255.example")


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x02" + bytes(80),  # a ServerHello
        b"\x01\0\0\x05" + bytes(5),
        b"\x01" + (MAX_HELLO_BYTES + 1).to_bytes(3),
        handshake((0, b"\0\x07\0\0")),
        handshake(server_name(b"x"))[:-10] + b"\x00\xff" + bytes(8),
        handshake((0xFFFF, b""))[:-1] + b"\x09",
    ],
)
def test_what_is_no_client_hello_is_an_error(rubbish: bytes) -> None:
    with pytest.raises(TlsError):
        in_handshake(rubbish)


@given(st.integers(1, len(FLIGHT) - 1), st.integers(0, 2**32 - 1))
def test_a_hello_over_two_segments_is_joined_wherever_it_is_cut(cut: int, sequence: int) -> None:
    hellos = Hellos()
    assert hellos.feed(A, sequence, FLIGHT[: max(cut, 2)], 0) is None or cut == len(FLIGHT)
    assert hellos.feed(B, sequence, b"\x17\x03\x03\0\x05hello", 0) is None
    # Sent again from the beginning of the first segment: what is known already is not taken twice.
    assert hellos.feed(A, sequence, FLIGHT[: max(cut, 2)], 1) is None
    assert hellos.feed(A, (sequence + cut) % 2**32, FLIGHT[cut:], 1) == HELLO
    assert hellos._waiting == {}


def test_a_late_segment_or_one_after_a_gap_joins_nothing() -> None:
    hellos = Hellos()
    hellos.feed(A, 1000, FLIGHT[:100], 0)
    assert hellos.feed(A, 1110, FLIGHT[110:], 1) is None
    assert hellos.feed(A, 1100, FLIGHT[100:], 1) == HELLO
    hellos.feed(A, 1000, FLIGHT[:100], 0)
    assert hellos.feed(A, 1100, FLIGHT[100:], 60 * NANOSECONDS) is None


def test_a_new_connection_from_the_same_port_begins_anew() -> None:
    hellos = Hellos()
    hellos.feed(A, 1000, FLIGHT[:100], 0)
    hellos.feed(A, 9_000_000, FLIGHT[:200], 1)
    assert hellos.feed(A, 9_000_200, FLIGHT[200:], 2) == HELLO


def test_hellos_that_never_end_are_bounded() -> None:
    hellos = Hellos()
    for port in range(10 * MAX_WAITING):
        hellos.feed(port, 0, FLIGHT[:50], port)
    assert len(hellos._waiting) == MAX_WAITING
    hellos.feed(A, 0, b"\x16\x03\x01\x40\x00\x01\0\x3f\xf0", 0)
    for segment in range(1, MAX_SEGMENTS):
        assert A in hellos._waiting
        hellos.feed(A, 8 + segment, b"x", 0)
    assert A not in hellos._waiting


@given(st.binary(max_size=300))
def test_any_bytes_are_a_hello_or_an_error(raw: bytes) -> None:
    for prefix in (b"", b"\x16\x03\x01\x01\0", b"\x16\x03\x01\x01\0\x01\0\0\xf0"):
        try:
            in_records(prefix + raw)
        except TlsError:
            continue


@given(st.lists(st.tuples(st.integers(0, len(FLIGHT) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_hellos_are_a_hello_or_an_error(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(FLIGHT)
    for at, value in changes:
        raw[at] = value
    try:
        hello = in_records(bytes(raw))
    except TlsError:
        return
    if hello is not None and hello.server_name is not None:
        assert hello.server_name.isprintable()


EXPLAINED = {
    "heuristic_tcp_ack_payload.pcap": "tshark takes hellos that follow a gap for no TLS: Netvane finds six more",
    "tls_invalid_reads.pcap": "lengths in the two hellos are wrong: Netvane refuses them",
}


@tshark.needs_tshark
@pytest.mark.parametrize("capture", tshark.captures(), ids=lambda path: path.name)
def test_server_names_are_those_of_tshark(capture: Path) -> None:
    hellos = Hellos()
    found, expected = [], []
    segments = [frame for frame in tshark.frames_with_names(capture) if frame["tcp.payload"]]
    for now, frame in enumerate(segments):
        payload, sequence = bytes.fromhex(frame["tcp.payload"]), int(frame["tcp.seq_raw"])
        try:
            hello = hellos.feed(frame["tcp.stream"], sequence, payload, now)
        except TlsError:
            hello = None
        if hello is not None:
            found.append(hello.server_name)
        name = frame["tls.handshake.extensions_server_name"]
        if "1" in frame["tls.handshake.type"].split(tshark.SEPARATOR):
            expected.append(name_of(name.encode().split(b".")) if name else None)
    assert (found == expected) == (capture.name not in EXPLAINED)
