import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvane.common.clock import NANOSECONDS
from netvane.flows import quic
from netvane.flows.quic import MAX_CONNECTIONS, MAX_DATAGRAMS, Initials
from netvane.flows.tls import Hello
from tests import tshark
from tests.quicclient import DCID, STREAM, crypto, initial, keys_of

HELLO = Hello("lamp.example.org")
CLIENT = "198.51.100.7:5000"


def test_keys_are_those_in_the_examples_of_the_rfcs() -> None:
    one = keys_of(1, DCID)  # RFC 9001 appendix A.1
    assert one.key.hex() == "1f369613dd76d5467730efcbe3b1a22d"
    assert one.iv.hex() == "fa044b2f42a3fd3b46fb255c"
    assert one.header.hex() == "9f50449e04a0e810283a1e9933adedd2"
    two = keys_of(0x6B3343CF, DCID)  # RFC 9369 appendix A.1
    assert two.key.hex() == "8b1a0bc121284290a29e0971b5cd045d"
    assert two.iv.hex() == "91f73e2351d8fa91660e909f"
    assert two.header.hex() == "45b95e15235d6f45a6b19cbcb0294ba9"


@pytest.mark.parametrize("version", quic._VERSIONS)
def test_the_server_name_is_found_in_every_version(version: int) -> None:
    assert Initials().feed(CLIENT, initial(crypto(0, STREAM), version=version), 0) == HELLO


def test_a_hello_is_given_once() -> None:
    initials = Initials()
    assert initials.feed(CLIENT, initial(crypto(0, STREAM), token=b"token"), 0) == HELLO
    assert initials.feed(CLIENT, initial(crypto(0, STREAM), number=1), 1) is None


@given(st.permutations(range(6)), st.integers(1, 5))
def test_pieces_in_any_order_over_several_datagrams_are_joined(order: list[int], first: int) -> None:
    size = -(-len(STREAM) // 6)
    # Each piece overlaps the next by a byte.
    frames = [crypto(size * index, STREAM[size * index : size * (index + 1) + 1]) for index in order]
    initials = Initials()
    ack = b"\x02\x00\x00\x00\x00"
    datagrams = [initial(b"\x01" + b"".join(frames[:first])), initial(ack + b"\0".join(frames[first:]), number=1)]
    assert [initials.feed(CLIENT, datagram, now) for now, datagram in enumerate(datagrams)] == [None, HELLO]


def test_initials_that_share_a_datagram_are_read() -> None:
    both = initial(crypto(0, STREAM[:40])) + initial(crypto(40, STREAM[40:]), number=1)
    assert Initials().feed(CLIENT, both, 0) == HELLO


def test_what_is_not_authentic_is_ignored() -> None:
    packet = bytearray(initial(crypto(0, STREAM)))
    packet[-1] ^= 1
    assert Initials().feed(CLIENT, bytes(packet), 0) is None


def test_connections_and_datagrams_are_bounded() -> None:
    initials = Initials()
    for port in range(MAX_CONNECTIONS + 10):
        initials.feed(port, initial(crypto(0, STREAM[:20])), 0)
    assert len(initials._connections) == MAX_CONNECTIONS
    for number in range(MAX_DATAGRAMS):
        assert initials.feed(CLIENT, initial(crypto(0, STREAM[:20]), number=number), 0) is None
    assert initials.feed(CLIENT, initial(crypto(20, STREAM[20:]), number=99), 0) is None
    assert initials.feed(CLIENT, initial(crypto(0, STREAM)), 60 * NANOSECONDS) == HELLO


def test_a_hello_that_is_no_hello_ends_the_connection() -> None:
    initials = Initials()
    assert initials.feed(CLIENT, initial(crypto(0, b"\x02\0\0\x01x")), 0) is None
    assert initials.feed(CLIENT, initial(crypto(0, STREAM), number=1), 0) is None


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_taken(raw: bytes) -> None:
    initials = Initials()
    initials.feed(CLIENT, raw, 0)
    initials.feed(CLIENT, b"\xc0\0\0\0\x01" + raw, 0)
    initials.feed(CLIENT, initial(raw), 0)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_datagrams_are_taken(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(initial(crypto(0, STREAM)))
    for at, value in changes:
        raw[at] = value
    assert Initials().feed(CLIENT, bytes(raw), 0) in {None, HELLO}


def test_without_the_package_nothing_is_found_and_nothing_fails() -> None:
    program = """
import sys
sys.modules["cryptography"] = sys.modules["cryptography.exceptions"] = None
from netvane.flows.quic import AVAILABLE, Initials
assert not AVAILABLE
assert Initials().feed("x", bytes.fromhex(sys.argv[1]), 0) is None
"""
    path = str(Path(quic.__file__).parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{program}"]
    subprocess.run([*command, initial(crypto(0, STREAM)).hex()], check=True, timeout=60)


@tshark.needs_tshark
@pytest.mark.parametrize("capture", tshark.captures(), ids=lambda path: path.name)
def test_server_names_are_those_of_tshark(capture: Path) -> None:
    initials = Initials()
    found, expected, seen = [], [], []
    datagrams = [frame for frame in tshark.frames_with_names(capture) if "quic" in frame["frame.protocols"]]
    for now, frame in enumerate(datagrams):
        stream = frame["udp.stream"]
        hello = initials.feed((stream, frame["udp.srcport"]), bytes.fromhex(frame["udp.payload"]), now)
        # After a Retry a client says hello again, to another connection id; tshark shows the first.
        if hello is not None and (stream, hello) not in seen:
            seen.append((stream, hello))
            found.append(hello.server_name)
        # Google's own versions before the standard have other keys; they have not been spoken since 2021.
        google = frame["quic.version"].startswith(("0x51", "0x54"))
        if "1" in frame["tls.handshake.type"].split(tshark.SEPARATOR) and not google:
            expected.append(frame["tls.handshake.extensions_server_name"] or None)
    assert found == expected
