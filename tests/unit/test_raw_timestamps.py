import socket
import time

import pytest

from netvane.raw.timestamps import ANCILLARY_BYTES, Stamp, enable_timestamps, kernel_timestamp, round_trip_ns
from tests.clock import FakeClock

MS = 1_000_000


def stamps(elapsed_ms: int, stepped_seconds: float = 0) -> tuple[Stamp, Stamp]:
    clock = FakeClock()
    sent = Stamp.now(clock)
    clock.advance(elapsed_ms / 1000)
    clock.step(stepped_seconds)
    return sent, Stamp.now(clock)


@pytest.mark.parametrize(
    ("elapsed_ms", "stepped_seconds", "kernel_ms", "rtt_ms"),
    [
        (30, 0, 20, 20),  # this process was busy for 10 ms
        (900, 0, 20, 20),  # for almost a second
        (30, 0, None, 30),
        (30, 0.02, 20, 20),  # NTP at work
        (30, 3600, 3_600_020, 30),  # somebody set the clock
        (30, -3600, 20, 30),
        (30, 0, -5, 0),  # a stamp from before, by less than the two clocks may differ
        (30, 0, 31, 30),
    ],
)
def test_round_trip(elapsed_ms: int, stepped_seconds: float, kernel_ms: int | None, rtt_ms: int) -> None:
    sent, read = stamps(elapsed_ms, stepped_seconds)
    kernel = None if kernel_ms is None else sent.wall_ns + kernel_ms * MS
    assert round_trip_ns(sent, read, kernel) == rtt_ms * MS


def test_kernel_timestamp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.bind(("127.0.0.1", 0))
        channel.settimeout(5)
        enable_timestamps(channel)
        before = time.time_ns()
        channel.sendto(b"x", channel.getsockname())
        _, ancillary, _, _ = channel.recvmsg(10, ANCILLARY_BYTES)
        stamp = kernel_timestamp(ancillary)
        # The kernel's own clock reading is rounded down by at most a tick.
        assert stamp is not None
        assert before - 10 * MS <= stamp <= time.time_ns()
    assert kernel_timestamp([]) is None
    assert kernel_timestamp([(socket.SOL_SOCKET, 35, b"short")]) is None
