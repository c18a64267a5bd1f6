import asyncio
from pathlib import Path

import pytest

from netvane.common import rawclient
from netvane.common.clock import NANOSECONDS
from netvane.common.raw_messages import ArpAnswer, ArpSweep
from netvane.hosts.evidence import Evidence
from netvane.hosts.subnets import Attached
from netvane.hosts.sweeps import Sweeps
from tests.clock import FakeClock

SECONDS = 10.0


@pytest.mark.parametrize(
    ("age", "taken_for"),
    [(0.0, 0.0), (1.25, 1.25), (-5.0, 0.0), (1e9, SECONDS)],
    ids=["at the end", "before", "in the future", "before the sweep"],
)
def test_an_answer_counts_from_when_it_came(age: float, taken_for: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake in place of the helper: only that says what no helper may."""

    async def answered(*_: object, **__: object) -> ArpSweep:
        return ArpSweep((ArpAnswer("198.51.100.20", "b8:27:eb:00:00:01", 0.001, age),))

    monkeypatch.setattr(rawclient, "arp_sweep", answered)
    clock = FakeClock()
    found: list[Evidence] = []
    sweeps = Sweeps(Path("raw.sock"), clock, found.append)
    asyncio.run(sweeps.attached([Attached("198.51.100.0/24", "eth0")], SECONDS))
    assert [piece.at for piece in found] == [clock.wall_ns() - round(taken_for * NANOSECONDS)]
