"""Echo messages: what is built, what is taken for an answer, and that nothing else is."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.latency import icmp

COOKIE = b"netvane!"


def reply_to(request: bytes, family: int) -> bytes:
    return bytes([{4: 0, 6: 129}[family]]) + request[1:]


@pytest.mark.parametrize("family", [4, 6])
@given(number=st.integers(0, 2**64 - 1), payload=st.integers(16, 1400))
def test_a_reply_carries_its_probe(family: int, number: int, payload: int) -> None:
    request = icmp.echo_request(family, COOKIE, number, payload)
    assert len(request) == 8 + payload
    assert icmp.echo_reply(family, reply_to(request, family)) == (COOKIE, number, payload)
    assert icmp.sent_number(b"link and IP header" + request, payload) == number


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "short"),
        (bytes(23), "short"),
        (icmp.echo_request(4, COOKIE, 1, 16), "not_a_reply"),
        (b"\0\1" + icmp.echo_request(4, COOKIE, 1, 16)[2:], "not_a_reply"),
        (struct.pack("!BBHHH8sQ", 0, 0, 0, 0, 7, COOKIE, 8), "altered"),
    ],
)
def test_what_is_no_answer(message: bytes, reason: str) -> None:
    with pytest.raises(icmp.Malformed) as caught:
        icmp.echo_reply(4, message)
    assert caught.value.reason == reason


@given(st.sampled_from([4, 6]), st.binary(max_size=64), st.integers(16, 40))
def test_rubbish_is_malformed_or_somebody_elses(family: int, message: bytes, payload: int) -> None:
    try:
        token = icmp.echo_reply(family, message)
    except icmp.Malformed as malformed:
        assert malformed.reason in {"short", "not_a_reply", "altered"}  # noqa: PT017 - the other way out is fine too
    else:
        assert token.payload_bytes == len(message) - 8
    try:
        assert 0 <= icmp.sent_number(message, payload) < 2**64
    except icmp.Malformed:
        assert len(message) < payload + 8
