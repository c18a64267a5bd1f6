"""Path traces by `netvane raw` through the simulated home, with whatever can be wrong on the way."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netvane.common import rawclient
from netvane.common.raw_messages import Trace
from netvane.common.rawclient import RawUnavailable
from netvane.raw import icmp
from tests.lab import addresses as at
from tests.lab.home import Home
from tests.lab.raw import RunningRaw, running_raw, unprivileged
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

PATH4 = [at.ROUTER4, at.ISP4, at.UPSTREAM4, at.ANCHORS4[0]]
PATH6 = [at.ROUTER6, at.ISP6, at.UPSTREAM6, at.ANCHORS6[0]]

MUTE = """
table inet mute {
  chain output {
    type filter hook output priority filter;
    icmp type time-exceeded drop
    icmpv6 type time-exceeded drop
  }
}
"""


@pytest.fixture
def raw(home: Home) -> Iterator[RunningRaw]:
    with running_raw(home.mon, home.rack.directory) as raw:
        yield raw


def addresses(trace: Trace) -> list[str | None]:
    assert [hop.ttl for hop in trace.hops] == list(range(1, len(trace.hops) + 1))
    return [hop.address for hop in trace.hops]


def test_every_hop_is_found_with_one_capability(raw: RunningRaw) -> None:
    for path in (PATH4, PATH6):
        trace = raw.trace(path[-1])
        assert addresses(trace) == path
        assert (trace.reached, trace.error) == (True, None)
        assert all(hop.rtt_seconds is not None and hop.unreachable is None for hop in trace.hops)
    text = Path(f"/proc/{raw.process.pid}/status").read_text()
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    assert status["Uid"].split() == [str(unprivileged())] * 4
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Eff", "Prm", "Inh", "Amb", "Bnd")} == {1 << 13}  # CAP_NET_RAW
    assert "scapy" not in Path(f"/proc/{raw.process.pid}/maps").read_text()


def test_round_trip_times_are_the_lines() -> None:
    with Home(gadgets=1, wan_cable=True) as home, running_raw(home.mon, home.rack.directory) as raw:
        home.wan_cable.set(delay=0.020)
        trace = raw.trace(PATH4[-1])
        assert addresses(trace) == PATH4
        times = [hop.rtt_seconds or 0.0 for hop in trace.hops]
        assert all(seconds >= 0.040 for seconds in times[1:])
        assert times[0] < min(times[1:])


def test_mute_hops_are_said_and_do_not_hold_up_the_rest(home: Home, raw: RunningRaw) -> None:
    home.isp.nft(MUTE)
    assert addresses(raw.trace(PATH4[-1])) == [at.ROUTER4, None, at.UPSTREAM4, at.ANCHORS4[0]]
    assert addresses(raw.trace(PATH6[-1])) == [at.ROUTER6, None, at.UPSTREAM6, at.ANCHORS6[0]]


def test_nobody_at_the_destination(raw: RunningRaw) -> None:
    trace = raw.trace("203.0.113.99", deadline=10)
    assert addresses(trace) == PATH4[:3]
    assert (trace.reached, trace.error) == (False, None)


def test_router_that_knows_no_way_on(home: Home, raw: RunningRaw) -> None:
    with home.fault.wan_cut():
        trace = eventually(
            lambda: (trace := raw.trace(PATH4[-1])).hops and trace.hops[0].unreachable and trace, what="unreachable"
        )
        assert isinstance(trace, Trace)
        assert addresses(trace) == [at.ROUTER4]
        assert trace.hops[0].unreachable == "network"
        assert not trace.reached


def test_provider_is_dead(home: Home, raw: RunningRaw) -> None:
    with home.fault.isp_dead():
        trace = raw.trace(PATH4[-1])
        assert (addresses(trace)[:1], trace.reached) == ([at.ROUTER4], False)
        assert at.ISP4 not in addresses(trace)


def test_own_cable_is_out(home: Home, raw: RunningRaw) -> None:
    with home.fault.own_link_down():
        # When address resolution fails, our own kernel says so by ICMP: that is no hop.
        for _ in range(3):
            trace = raw.trace(PATH4[-1], max_ttl=5)
            assert (trace.hops, trace.reached) == ((), False)


def test_no_route(home: Home, raw: RunningRaw) -> None:
    home.mon.run("ip route del default")
    home.mon.run("ip -6 route del default")
    for path in (PATH4, PATH6):
        trace = raw.trace(path[-1])
        assert (trace.hops, trace.reached, trace.error) == ((), False, "Network is unreachable")
    assert raw.trace("fe80::1%absent").error == "no interface with this name"


def test_near_destinations(raw: RunningRaw) -> None:
    for destination, seen in (
        (at.ROUTER4, at.ROUTER4),
        (f"{at.ROUTER_LINK_LOCAL}%eth0", at.ROUTER_LINK_LOCAL),
        (at.MON4, at.MON4),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
    ):
        trace = raw.trace(destination)
        assert (addresses(trace), trace.reached) == ([seen], True)


def test_short_traces(raw: RunningRaw) -> None:
    assert addresses(raw.trace(PATH4[-1], max_ttl=2)) == PATH4[:2]
    assert addresses(raw.trace(PATH4[-1], probes=1)) == PATH4


def test_broadcast_is_refused(raw: RunningRaw) -> None:
    with pytest.raises(RawUnavailable, match="broadcast"):
        raw.trace("198.51.100.255")


def test_what_others_send_is_no_answer(home: Home, raw: RunningRaw) -> None:
    """A gadget claims to be on the way, with ICMP errors malformed or quoting what was never sent."""
    probe = icmp.echo_request4(1, 1, b"forged")
    quote = struct.pack(
        "!BxHHxxBBH4s4s", 0x45, 20 + len(probe), 0, 1, 1, 0, *map(socket.inet_aton, (at.MON4, PATH4[-1]))
    )
    errors = []
    for body in (quote + probe, quote[:12], b"\x4f" + bytes(11)):
        message = struct.pack("!BBHI", 11, 0, 0, 0) + body
        errors.append(message[:2] + icmp.checksum(message).to_bytes(2, "big") + message[4:])
    errors.append(b"\x0b\x00\xba\xad" + bytes(40))

    gadget = home.gadgets[0].ns
    with gadget.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as forger:
        with ThreadPoolExecutor(max_workers=1) as pool, home.mon.start(f"ping -i 0.02 {PATH4[-1]}"):
            tracing = pool.submit(raw.trace, "203.0.113.99")
            while not tracing.done():
                for error in errors:
                    forger.sendto(error, (at.MON4, 0))
                time.sleep(0.002)  # beside them there is room for the true ones
        assert addresses(tracing.result()) == PATH4[:3]
    assert raw.status().malformed_answers > 0


def test_one_trace_too_many_is_refused_and_the_others_go_on(raw: RunningRaw) -> None:
    async def crowd() -> list[Trace | BaseException]:
        traces = (rawclient.trace(raw.socket, "203.0.113.99", deadline=10) for _ in range(6))
        return await asyncio.gather(*traces, return_exceptions=True)

    results = asyncio.run(crowd())
    refused = [result for result in results if isinstance(result, RawUnavailable)]
    assert len(refused) == 2
    assert all("traces at a time" in str(error) for error in refused)
    assert all(addresses(result) == PATH4[:3] for result in results if isinstance(result, Trace))
    assert raw.trace(PATH4[-1]).reached


def test_a_caller_that_leaves_takes_nothing_with_it(raw: RunningRaw) -> None:
    for _ in range(4):
        with contextlib.suppress(RawUnavailable):
            asyncio.run(rawclient.trace(raw.socket, "203.0.113.99", deadline=0.05))
    eventually(lambda: raw.status().connections == 1, what="the traces to end")
    assert raw.trace(PATH4[-1]).reached
