"""Probes and their answers: once each, however late, and right whatever the wall clock does."""

import pytest

from netvane.common.clock import NANOSECONDS
from netvane.latency.ledger import KEEP_SECONDS, Answer, Ledger, Probe, Stamp, round_trip

MS = 1_000_000
HOUR = 3600 * NANOSECONDS


def stamp(ms: float, *, step_ns: int = 0, kernel_ms: float | None = None) -> Stamp:
    """`ms` after an arbitrary start; the wall clock has been stepped by `step_ns`."""
    nanoseconds = round(ms * MS)
    kernel = None if kernel_ms is None else 10 * HOUR + step_ns + round(kernel_ms * MS)
    return Stamp(kernel, 10 * HOUR + step_ns + nanoseconds, HOUR + nanoseconds)


def ledger_with(count: int, *, every_ms: float = 1000) -> Ledger:
    ledger = Ledger()
    for number in range(count):
        ledger.sent(Probe("far", "203.0.113.9", 16, stamp(number * every_ms)))
    return ledger


def test_an_answer_counts_once() -> None:
    ledger = ledger_with(2)
    assert ledger.answered(0, "203.0.113.9", 16, stamp(20)) == Answer("far", HOUR, 0.02, stepped=False)
    assert ledger.answered(0, "203.0.113.9", 16, stamp(21)) == "duplicate"
    assert ledger.answered(1, "203.0.113.9", 16, stamp(1030)) == Answer("far", HOUR + 1000 * MS, 0.03, stepped=False)
    assert len(ledger) == 0


def test_a_late_answer_counts_with_its_rtt() -> None:
    ledger = ledger_with(40)
    answer = ledger.answered(3, "203.0.113.9", 16, stamp(39_500))
    assert answer == Answer("far", HOUR + 3000 * MS, 36.5, stepped=False)


def test_what_nobody_will_answer_is_forgotten() -> None:
    ledger = ledger_with(KEEP_SECONDS * 3)
    assert len(ledger) == KEEP_SECONDS + 1
    assert ledger.answered(0, "203.0.113.9", 16, stamp(180_000)) == "duplicate"


@pytest.mark.parametrize(
    ("number", "address", "size", "reason"),
    [(5, "203.0.113.9", 16, "unknown"), (0, "203.0.113.10", 16, "wrong_source"), (0, "203.0.113.9", 17, "altered")],
)
def test_what_is_no_answer(number: int, address: str, size: int, reason: str) -> None:
    ledger = ledger_with(1)
    assert ledger.answered(number, address, size, stamp(20)) == reason
    assert ledger.answered(0, "203.0.113.9", 16, stamp(20)) == Answer("far", HOUR, 0.02, stepped=False)


def test_the_kernels_stamps_leave_out_the_wait_for_this_process() -> None:
    ledger = ledger_with(1)
    ledger.left(0, stamp(0, kernel_ms=0.1).kernel_ns or 0)
    ledger.left(7, 1)  # of a probe that is not there: no matter
    answer = ledger.answered(0, "203.0.113.9", 16, stamp(300, kernel_ms=10.1))
    assert answer == Answer("far", HOUR, 0.01, stepped=False)


@pytest.mark.parametrize("step", [HOUR, -HOUR, 51 * MS, -51 * MS])
def test_a_step_of_the_wall_clock_is_seen_and_harmless(step: int) -> None:
    sent = stamp(0, kernel_ms=0.1)
    assert round_trip(sent, stamp(20, step_ns=step, kernel_ms=20)) == (0.02, True)


def test_slewing_is_not_a_step() -> None:
    rtt, stepped = round_trip(stamp(0, kernel_ms=0), stamp(20, step_ns=2 * MS, kernel_ms=20))
    assert not stepped
    assert rtt == pytest.approx(0.022)


def test_no_time_runs_backwards() -> None:
    assert round_trip(stamp(0, kernel_ms=5), stamp(6, kernel_ms=4)) == (0.0, False)
