"""What is made of results and of the kernel's tables on the way to the verdict."""

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvane.common.clock import NANOSECONDS
from netvane.common.network import NetworkView
from netvane.common.raw_messages import Hop, Trace
from netvane.latency import http, surroundings
from netvane.latency.evidence import CAPTIVE_SECONDS, SITES_SECONDS, Observations, Surroundings
from netvane.latency.path import PathWatch
from netvane.latency.prober import Target
from netvane.latency.rounds import questions
from netvane.latency.series import Series
from netvane.latency.settings import AnchorSettings, LatencySettings, SiteSettings, WebSettings
from netvane.latency.targets import Targets
from netvane.latency.verdict import Evidence, Verdict
from netvane.latency.watch import age, are_names_known, good_for, is_suspicious, only_router_answers

AROUND = Surroundings(link_up=True, router_in_neighbour_table=True, ipv6_configured=True)

ARP = """\
IP address       HW type     Flags       HW address            Mask     Device
198.51.100.1     0x1         0x2         b8:27:eb:00:00:01     *        eth0
198.51.100.9     0x1         0x0         00:00:00:00:00:00     *        eth0
short
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000ba27ebfffe000001 02 40 20 80     eth0
fd0000510100000000000000000000aa 03 40 00 80     wlan0
"""
RESOLV_CONF = """\
# a comment
search lan
nameserver 198.51.100.1
nameserver fd00::1
nameserver not-an-address
nameserver 198.51.100.1
nameserver 203.0.113.1
nameserver 203.0.113.2
"""


def seconds(number: float) -> int:
    return round(number * NANOSECONDS)


# The kernel's tables


def test_neighbours() -> None:
    assert surroundings.is_known(ARP, "198.51.100.1")
    assert not surroundings.is_known(ARP, "198.51.100.9")
    assert surroundings.is_known(ARP, "198.51.100.77")  # never asked for: nothing is known against it


def test_addresses_good_beyond_the_link() -> None:
    assert surroundings.has_global6(IF_INET6, "wlan0")
    assert not surroundings.has_global6(IF_INET6, "eth0")
    assert not surroundings.has_global6("", None)


def test_resolvers() -> None:
    assert surroundings.resolvers_of(RESOLV_CONF) == ("198.51.100.1", "fd00::1", "203.0.113.1")
    assert surroundings.resolvers_of("") == ()


def test_the_loopback_is_up_and_an_absent_interface_is_not() -> None:
    assert not surroundings.link_is_up("absent0")
    view = NetworkView(interface="absent0", router=None)
    assert surroundings.look(view) == Surroundings(link_up=False, router_in_neighbour_table=True, ipv6_configured=False)


# Observations


def lay_out(observations: Observations, now: float) -> Evidence:
    return observations.lay_out([], AROUND, seconds(now))


def test_a_resolver_fails_in_a_row_and_works_again() -> None:
    observations = Observations(0)
    observations.dns("r", seconds(1), 0.02, worked=True)
    for at in (6, 11, 16):
        observations.dns("r", seconds(at), None, worked=False)
    (resolver,) = lay_out(observations, 20).resolvers
    assert (resolver.failed, resolver.failing_seconds, resolver.ever_worked) == (3, 14.0, True)
    assert resolver.broken
    assert observations.suspicious(seconds(20))
    assert not observations.suspicious(seconds(60))  # known by now
    observations.dns("r", seconds(21), 0.02, worked=True)
    (resolver,) = lay_out(observations, 22).resolvers
    assert (resolver.broken, resolver.working_seconds) == (False, 0.98)
    observations.asked_are(["other"], sites=False)
    evidence = lay_out(observations, 22)
    assert [resolver.name for resolver in evidence.resolvers] == ["other"]
    assert evidence.sites is None


def test_slow_answers_of_the_fastest_resolver_degrade() -> None:
    observations = Observations(0)
    for turn in range(12):
        observations.dns("slow", seconds(5 * turn), 3.0, worked=True)
    assert observations.dns_seconds(seconds(60)) == 3.0
    for turn in range(12):
        observations.dns("quick", seconds(5 * turn), 0.01, worked=True)
    assert observations.dns_seconds(seconds(60)) == 0.01
    assert observations.dns_seconds(seconds(500)) is None


def test_the_newest_results_of_sites_count() -> None:
    observations = Observations(0)
    for number in range(20):
        observations.site(f"s{number}", seconds(number), "worked" if number < 12 else "failed")
    sites = lay_out(observations, 20).sites
    assert sites is not None
    assert (len(sites.worked), min(sites.worked), len(sites.failed)) == (12, 9.0, 8)
    assert sites.mostly_fail  # eight of the newest ten
    assert [sites.any_failed(since) for since in (0.5, 1.5)] == [False, True]
    old = lay_out(observations, 21 + SITES_SECONDS).sites
    assert old is not None
    assert old == ((), (), ())


def test_what_failed_without_a_line_says_nothing_once_it_is_back() -> None:
    observations = Observations(0)
    for at in (1, 6, 11):
        observations.dns("r", seconds(at), None, worked=False)
        observations.site(f"s{at}", seconds(at), "failed")
    before = lay_out(observations, 12)
    assert are_names_known(before)
    assert before.resolvers[0].broken
    observations.line_is_back(seconds(0), seconds(12))
    observations.dns("r", seconds(10), None, worked=False)  # asked while it was away
    observations.site("late", seconds(10), "unresolved")
    after = lay_out(observations, 13)
    assert (after.resolvers[0].failed, after.sites) == (0, ((), (), ()))
    assert not are_names_known(after)
    observations.dns("r", seconds(12), 0.02, worked=True)
    assert are_names_known(lay_out(observations, 13))


def test_an_outage_is_over_since_what_was_broken_works() -> None:
    observations = Observations(0)
    observations.dns("r", seconds(8), None, worked=False)
    observations.dns("r", seconds(9), 1.0, worked=True)
    evidence = lay_out(observations, 12)
    assert good_for(Verdict("dns"), evidence, 0.0) == 2.0
    assert good_for(Verdict("isp"), evidence, 3.0) == 2.0  # names came later than the line
    assert good_for(Verdict("isp"), evidence, 1.0) == 1.0
    assert good_for(Verdict("isp"), lay_out(Observations(0), 12), 1.0) == 1.0
    assert good_for(Verdict("web"), evidence, 0.0) == 0.0


def test_a_captive_portal_is_remembered_for_a_while() -> None:
    observations = Observations(0)
    assert lay_out(observations, 1).captive is None
    observations.captive(seconds(1), found=True)
    observations.captive(seconds(5), found=None)
    assert lay_out(observations, 6).captive is True
    assert lay_out(observations, 2 + CAPTIVE_SECONDS).captive is None


def ping(name: str, role: str, family: int, *, sent: int, answered: int) -> tuple[Target, Series]:
    """A probe a second; the first `answered` of them came back after 20 ms."""
    series = Series((1.0,))
    for number in range(sent):
        series.probe_sent(seconds(number))
        if number < answered:
            series.answered(seconds(number), 0.02, 1)
    return Target(name, role, family, "203.0.113.1", NANOSECONDS), series


def test_targets_become_pings_of_their_segment() -> None:
    snapshot = [
        ping("router", "router", 4, sent=60, answered=60),
        ping("hop2", "isp", 4, sent=60, answered=50),
        ping("a", "anchor", 4, sent=60, answered=60),
        ping("a-v6", "anchor", 6, sent=60, answered=55),
        ping("mine", "target", 4, sent=60, answered=0),
    ]
    observations = Observations(0)
    evidence = observations.lay_out(snapshot, AROUND, seconds(63))
    assert [group[0].name for group in (evidence.routers, evidence.hops, evidence.anchors4, evidence.anchors6)] == [
        "router",
        "hop2",
        "a",
        "a-v6",
    ]
    assert evidence.hops[0].silent
    assert evidence.anchors6[0].silent
    assert is_suspicious(evidence)
    later = observations.lay_out(snapshot, AROUND, seconds(120))
    assert not is_suspicious(later._replace(anchors4=(), routers=()))  # known by now
    assert not only_router_answers(evidence)
    without6 = observations.lay_out(snapshot, AROUND_WITHOUT_IPV6, seconds(63))
    assert without6.anchors6 == ()
    assert not is_suspicious(without6)


AROUND_WITHOUT_IPV6 = Surroundings(link_up=True, router_in_neighbour_table=True, ipv6_configured=False)


def test_quality_that_was_forgotten_is_not_believed() -> None:
    observations = Observations(0)
    lossy = [ping("router", "router", 4, sent=60, answered=60)]
    for number in range(0, 60, 5):
        lossy[0][1].window._probes[number] = (seconds(number), None)
    for now in range(60, 66):
        evidence = observations.lay_out(lossy, AROUND_WITHOUT_IPV6, seconds(now))
    assert evidence.degradation is not None
    lossy[0][1].window.forget()
    observations.forget_quality()
    assert observations.lay_out(lossy, AROUND_WITHOUT_IPV6, seconds(66)).degradation is None


def test_only_the_router_answers() -> None:
    snapshot = [
        ping("router", "router", 4, sent=60, answered=60),
        ping("a", "anchor", 4, sent=60, answered=0),
    ]
    assert only_router_answers(Observations(0).lay_out(snapshot, AROUND_WITHOUT_IPV6, seconds(63)))


def silent_anchors(*answered: int) -> Evidence:
    """After 600 probes, a second apart, of which each answered the first so many."""
    snapshot = [ping(str(number), "anchor", 4, sent=600, answered=count) for number, count in enumerate(answered)]
    return Observations(0).lay_out(snapshot, AROUND_WITHOUT_IPV6, seconds(600))


def test_an_outage_began_when_those_fell_silent_that_fell_silent_together() -> None:
    evidence = silent_anchors(1, 590, 592)  # the first is long dead
    assert age(Verdict("isp"), evidence) == 10.0
    assert age(Verdict("ok"), evidence) == 0.0


def test_those_that_are_asked_seldom_fall_silent_one_after_the_other() -> None:
    assert age(Verdict("upstream"), silent_anchors(588, 591, 595)) == 12.0


def test_what_failed_before_the_line_was_away_is_not_forgotten() -> None:
    observations = Observations(0)
    observations.site("before", seconds(1), "failed")
    observations.site("in it", seconds(6), "failed")
    observations.line_is_back(seconds(5), seconds(8))
    observations.site("begun in it", seconds(7), "failed")
    evidence = lay_out(observations, 10)
    assert evidence.sites is not None
    assert evidence.sites.failed == (9.0,)


def test_without_resolvers_names_fail_since_now() -> None:
    assert age(Verdict("dns"), lay_out(Observations(0), 10)) == 0.0


def test_names_fail_since_the_last_resolver_does_that_worked() -> None:
    observations = Observations(0)
    for at in (0, 5, 10, 3000, 3005, 3010):
        observations.dns("dead", seconds(at), None, worked=False)
    for at in (3002, 3007, 3012):
        observations.dns("other", seconds(at), None, worked=False)
    assert age(Verdict("dns"), lay_out(observations, 3020)) == 18.0


def test_where_no_ping_gets_through_an_outage_began_with_the_first_connection_that_failed() -> None:
    observations = Observations(0)
    observations.site("good", seconds(570), "worked")
    for number in range(5):
        observations.site(f"s{number}", seconds(580 + number), "failed")
    evidence = observations.lay_out([ping("a", "anchor", 4, sent=600, answered=0)], AROUND_WITHOUT_IPV6, seconds(600))
    assert age(Verdict("isp"), evidence) == 20.0


# Targets and paths


def test_targets_nearest_first_and_no_ipv6_where_there_is_none() -> None:
    changes: list[int] = []
    targets = Targets(lambda: changes.append(1))
    anchor = AnchorSettings(name="a", ipv4="203.0.113.1", ipv6="fd00::1")
    targets.configure(LatencySettings(anchors=(anchor,)), ())
    assert [target.name for target in targets.current()] == ["a"]
    assert targets.destination() is None
    targets.network_is(NetworkView("eth0", None, "198.51.100.1", "fe80::1%eth0"), has_ipv6=True)
    targets.hops_are({"hop2": "198.18.1.1"})
    assert [(target.name, target.role) for target in targets.current()] == [
        ("router", "router"),
        ("router6", "router"),
        ("hop2", "isp"),
        ("a", "anchor"),
        ("a-v6", "anchor"),
    ]
    assert targets.destination() == "203.0.113.1"
    count = len(changes)
    targets.network_is(NetworkView(), has_ipv6=True)  # the link went, and the routes with it
    assert "router" in [target.name for target in targets.current()]
    assert len(changes) == count


def trace(*addresses: str | None, reached: bool = True) -> Trace:
    hops = tuple(
        Hop(ttl=ttl, address=address, rtt_seconds=None, unreachable=None) for ttl, address in enumerate(addresses, 1)
    )
    return Trace(destination="203.0.113.1", reached=reached, hops=hops, error=None)


def test_paths(tmp_path: Path) -> None:
    found: list[dict[str, str]] = []

    async def check() -> None:
        watch = PathWatch(tmp_path, found.append, lambda _reason: None)
        watch._take(trace("198.51.100.1", "198.18.1.1", "198.18.2.1", "203.0.113.1"), "203.0.113.1")
        assert (watch.hops, watch.changes) == (4, 0)
        watch._take(trace("198.51.100.1", None, "198.18.2.1", "203.0.113.1"), "203.0.113.1")
        assert watch.changes == 0  # one that kept silent this time is no other path
        watch._take(trace("198.51.100.1", "198.18.9.9", "203.0.113.1"), "203.0.113.1")
        assert (watch.hops, watch.changes) == (3, 1)

    asyncio.run(check())
    assert found == [
        {"hop2": "198.18.1.1", "hop3": "198.18.2.1"},
        {"hop3": "198.18.2.1"},
        {"hop2": "198.18.9.9"},
    ]


def test_questions_have_known_answers() -> None:
    (question,) = questions(
        LatencySettings(
            anchors=(
                AnchorSettings(name="a", ipv4="203.0.113.1", hostname="a.example"),
                AnchorSettings(name="b", ipv4="203.0.113.2"),
            )
        )
    )
    assert question == ("a.example", 4, frozenset({"203.0.113.1"}))
    (fallback,) = questions(LatencySettings(anchors=()))
    assert fallback.expected == frozenset()


def test_the_pool_has_about_a_hundred_sites() -> None:
    names = LatencySettings().site_names
    assert len(set(names)) == len(names) == 100
    assert LatencySettings(sites=SiteSettings(names=("one.example",))).site_names == ("one.example",)


# Fuzz: the HTTP reader


class _Nowhere(asyncio.Transport):
    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        pass


@settings(max_examples=200)
@given(st.binary(max_size=400), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"]))
def test_any_answer_is_read_or_refused(rubbish: bytes, start: bytes) -> None:
    async def check() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(start + rubbish)
        reader.feed_eof()
        loop = asyncio.get_running_loop()
        writer = asyncio.StreamWriter(_Nowhere(), asyncio.StreamReaderProtocol(reader), reader, loop)
        fetch = http._Fetch()
        with contextlib.suppress(*http.MALFORMED):
            await fetch._exchange(urlsplit("http://check.example/"), reader, writer)
        assert len(fetch.body) <= http.MAX_BODY

    asyncio.run(check())


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://a b/", "http://x:99999/", "https://x/", "http://ü/"])
def test_urls_that_are_none(url: str) -> None:
    assert WebSettings(captive_url=url).problem() is not None
