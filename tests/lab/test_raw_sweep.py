"""`netvane raw` sweeps and runs nmap: on real packets, with no privilege but its one capability."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from netvane.common import rawclient
from netvane.common.raw_messages import ArpSweep, Nmap, NmapRequest
from netvane.common.rawclient import RawUnavailable
from netvane.raw.sweep import PASS_WAIT_SECONDS
from tests.lab.crowd import crowd, mac_of
from tests.lab.netns import Namespace
from tests.lab.rack import Rack
from tests.lab.raw import RunningRaw, running_raw
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

ADDRESSES = [f"198.51.100.{number}" for number in (20, 21, 22, 254)]
SUBNET = "198.51.100.0/24"


@pytest.fixture
def helper(rack: Rack) -> Iterator[tuple[RunningRaw, Namespace, Namespace]]:
    mon, hosts = crowd(rack, ADDRESSES)
    with running_raw(mon, rack.directory, "--interface=eth0") as raw:
        yield raw, mon, hosts


def sweep(raw: RunningRaw, subnet: str = SUBNET, interface: str = "eth0") -> ArpSweep:
    return asyncio.run(rawclient.arp_sweep(raw.socket, interface, subnet))


def nmap(raw: RunningRaw, request: NmapRequest) -> Nmap:
    return asyncio.run(rawclient.nmap(raw.socket, request))


def test_all_are_found_with_their_round_trip_times(helper: tuple[RunningRaw, Namespace, Namespace]) -> None:
    raw, _, _ = helper
    found = sweep(raw)
    assert found.error is None
    assert {(answer.address, answer.mac) for answer in found.answers} == {
        (address, mac_of(number)) for number, address in enumerate(ADDRESSES)
    }
    assert all(0 <= answer.rtt_seconds < 0.2 for answer in found.answers)
    assert all(sum(PASS_WAIT_SECONDS) < answer.age_seconds for answer in found.answers)  # after all is asked, it waits


def test_two_that_answer_for_one_address_are_both_told(helper: tuple[RunningRaw, Namespace, Namespace]) -> None:
    raw, _, hosts = helper
    hosts.ip(f"addr add {ADDRESSES[0]}/24 dev h1")
    assert {answer.mac for answer in sweep(raw).answers if answer.address == ADDRESSES[0]} == {mac_of(0), mac_of(1)}


def test_what_cannot_be_swept(helper: tuple[RunningRaw, Namespace, Namespace]) -> None:
    raw, mon, _ = helper
    for subnet in ("203.0.113.0/24", "0.0.0.0/0", "x"):
        with pytest.raises(RawUnavailable, match="refused"):
            sweep(raw, subnet)
    assert sweep(raw, interface="none0").error == "No such device"
    mon.ip("link set eth0 down")
    assert "is down" in (sweep(raw).error or "")


def test_never_two_at_once(helper: tuple[RunningRaw, Namespace, Namespace]) -> None:
    raw, _, _ = helper

    async def both() -> list[ArpSweep | BaseException]:
        asked = (rawclient.arp_sweep(raw.socket, "eth0", SUBNET) for _ in range(2))
        return await asyncio.gather(*asked, return_exceptions=True)

    first, second = sorted(asyncio.run(both()), key=lambda outcome: isinstance(outcome, BaseException))
    assert isinstance(first, ArpSweep)
    assert len(first.answers) == len(ADDRESSES)
    assert isinstance(second, RawUnavailable)
    assert "a sweep is running" in str(second)


def test_nmap_finds_them_and_their_services(helper: tuple[RunningRaw, Namespace, Namespace]) -> None:
    raw, _, hosts = helper
    found = nmap(raw, NmapRequest(SUBNET))
    assert found.error is None
    assert {host.address for host in found.hosts} >= set(ADDRESSES)
    with hosts.listen(ADDRESSES[0], 80):
        (host,) = nmap(raw, NmapRequest(ADDRESSES[0], "services", 10)).hosts
    assert [(service.port, service.protocol) for service in host.services] == [(80, "tcp")]


def test_nmap_is_stopped_at_its_limit_and_when_nobody_waits(helper: tuple[RunningRaw, Namespace, Namespace]) -> None:
    raw, mon, _ = helper
    mon.ip("route add 203.0.113.0/24 via 198.51.100.99")  # where nobody is
    assert "not finished within 1 s" in (nmap(raw, NmapRequest("203.0.113.0/24", seconds=1.0)).error or "")

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await rawclient.nmap(raw.socket, NmapRequest("203.0.113.0/24", seconds=60.0))

    asyncio.run(give_up())

    def children() -> str:
        return Path(f"/proc/{raw.process.pid}/task/{raw.process.pid}/children").read_text()

    eventually(lambda: not children(), what="nmap is gone")


def test_without_nmap_it_says_so(rack: Rack) -> None:
    mon, _ = crowd(rack, ADDRESSES)
    with running_raw(mon, rack.directory, "--interface=eth0", programs="/nowhere") as raw:
        assert nmap(raw, NmapRequest(SUBNET)).error == "nmap is not installed"
