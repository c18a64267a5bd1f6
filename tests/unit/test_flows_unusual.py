"""What was learned and told is kept: when it is written, and that a crash does not tell it again."""

import asyncio
from pathlib import Path

import pytest

from netvane.common.event_schema import Event
from netvane.flows.anomalies.limits import Limits
from netvane.flows.anomalies.records import DeviceTick, Tick
from netvane.flows.unusual import SAVE_SECONDS, SAVE_TOLD_SECONDS, Unusual
from tests.clock import FakeClock
from tests.simulated_traffic import ADDRESSES, HOME, LAMP

TICK_SECONDS = 10.0
QUIET = (DeviceTick(mac=LAMP, tx={"tcp": 50}, addresses=(ADDRESSES[LAMP],)),)
FLOOD = (DeviceTick(mac=LAMP, tx={"tcp": 50_000, "tcp_syn": 50_000}, addresses=(ADDRESSES[LAMP],)),)


class House:
    """A detector at work, and what it told."""

    def __init__(self, directory: Path, clock: FakeClock) -> None:
        self.told: list[Event] = []
        self.file = directory / "learned.json"
        self._clock = clock
        self._unusual = Unusual(directory, lambda event, *_: self.told.append(event), clock, Limits())

    def live(self, seconds: float, devices: tuple[DeviceTick, ...] = QUIET) -> None:
        for _ in range(round(seconds / TICK_SECONDS)):
            self._clock.advance(TICK_SECONDS)
            tick = Tick(now=self._clock.wall_ns(), seconds=TICK_SECONDS, devices=devices)
            self._unusual.feed(tick, HOME, lambda macs, _: {mac: [] for mac in macs})
            asyncio.run(self._unusual.tend())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_is_merely_learned_is_written_now_and_then(tmp_path: Path, clock: FakeClock) -> None:
    house = House(tmp_path, clock)
    house.live(SAVE_SECONDS - TICK_SECONDS)
    assert not house.file.exists()
    house.live(TICK_SECONDS)
    first = house.file.read_bytes()
    house.live(SAVE_SECONDS - TICK_SECONDS)
    assert house.file.read_bytes() == first
    house.live(TICK_SECONDS)
    assert house.file.read_bytes() != first


def test_what_was_told_is_written_soon_and_not_told_again_after_a_crash(tmp_path: Path, clock: FakeClock) -> None:
    house = House(tmp_path, clock)
    house.live(SAVE_TOLD_SECONDS, FLOOD)
    assert len(house.told) == 1
    assert house.file.exists()
    after_the_crash = House(tmp_path, clock)
    after_the_crash.live(SAVE_TOLD_SECONDS, FLOOD)
    assert after_the_crash.told == []
