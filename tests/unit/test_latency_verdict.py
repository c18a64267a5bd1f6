"""The verdict, its degradations and outages: every row of the fault matrix as evidence."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.common.clock import NANOSECONDS
from netvane.latency import outages, quality
from netvane.latency.outages import CLOSE_SECONDS, Outage, State
from netvane.latency.quality import Degradation, SegmentFigures, Settling, Window
from netvane.latency.verdict import NAMES, Evidence, Ping, Resolver, Sites, Verdict, judge

ALIVE = Ping("alive", 0, None, 0.5)
DEAD = Ping("dead", 5, 5.0, 6.0)
MUTE = Ping("mute", 500, 500.0, None)
BACK = Ping("back", 0, None, 0.5, 1.0)
GONE = Ping("gone", 9, 9.0, 10.0)
LATE = Ping("late", 2, 1.5, 2.5)
WAVERS = Ping("wavers", 2, 2.5, 3.5)
GOOD_DNS = Resolver("good", 0, None, ever_worked=True)
BAD_DNS = Resolver("bad", 4, 20.0, ever_worked=True)
GOOD_SITES = Sites((1.0,) * 10, (), ())
CROSSING_SITES = Sites((4.0,), (), ())
DEAD_SITES = Sites((8.0,) * 9, (4.0, 3.0, 2.0), ())
UNRESOLVED_SITES = Sites((8.0,), (), (4.0,) * 9)
REFUSED_SITES = Sites((8.0,) * 3, (7.0,) * 7, ())

FINE = Evidence(
    running_seconds=600,
    ever_reached=True,
    link_up=True,
    router_in_neighbour_table=True,
    routers=(ALIVE, ALIVE),
    hops=(ALIVE, ALIVE),
    anchors4=(ALIVE, ALIVE, ALIVE),
    anchors6=(ALIVE, ALIVE, ALIVE),
    resolvers=(GOOD_DNS,),
    sites=GOOD_SITES,
    page_seconds=None,
    captive=False,
    ipv6_configured=True,
    degradation=None,
)
FAR_DEAD: dict[str, Any] = {
    "anchors4": (DEAD, DEAD, DEAD),
    "anchors6": (DEAD, DEAD, DEAD),
    "sites": DEAD_SITES,
    "resolvers": (BAD_DNS,),
    "captive": None,
}
CUT_SITES = Sites((20.0,), (9.0, 8.0, 7.0, 6.0, 5.0), ())
LONG_DEAD: dict[str, Any] = {"anchors4": (Ping("dead", 99, 99.0, 100.0),) * 3, "anchors6": (), "ipv6_configured": False}
NOTHING: dict[str, Any] = {"anchors4": (), "anchors6": (), "ipv6_configured": False, "sites": None}
NO_PINGS: dict[str, Any] = {"anchors4": (MUTE,) * 3, "anchors6": (), "ipv6_configured": False}
DEGRADED = Degradation("isp", "loss", 0.05, None, None)


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (FINE, "ok"),
        (FINE._replace(**FAR_DEAD, routers=(DEAD, DEAD), hops=(DEAD,), link_up=False), "link"),
        (FINE._replace(**FAR_DEAD, routers=(DEAD, DEAD), hops=(DEAD,)), "router"),
        (FINE._replace(**FAR_DEAD, hops=(DEAD,)), "isp"),
        (FINE._replace(**FAR_DEAD, hops=(DEAD, DEAD)), "isp"),
        (FINE._replace(**FAR_DEAD, hops=()), "isp"),
        (FINE._replace(**FAR_DEAD, hops=(MUTE,)), "isp"),
        (FINE._replace(**FAR_DEAD, hops=(ALIVE, DEAD)), "upstream"),
        (FINE._replace(**FAR_DEAD, routers=(MUTE,), hops=(DEAD,)), "isp"),
        (FINE._replace(**FAR_DEAD, routers=(MUTE,), hops=(DEAD,), router_in_neighbour_table=False), "router"),
        (FINE._replace(resolvers=(BAD_DNS,)), "dns"),
        (FINE._replace(resolvers=(BAD_DNS, GOOD_DNS)), "ok"),
        (FINE._replace(sites=REFUSED_SITES), "web"),
        (FINE._replace(sites=Sites((30.0,) * 3, (5.0,), ())), "ok"),
        (FINE._replace(sites=UNRESOLVED_SITES), "ok"),
        (FINE._replace(**{**FAR_DEAD, "sites": UNRESOLVED_SITES}), "upstream"),
        (FINE._replace(captive=True), "captive_portal"),
        (FINE._replace(**{**FAR_DEAD, "captive": True}), "captive_portal"),
        (FINE._replace(anchors6=(DEAD, DEAD, DEAD)), "ipv6"),
        (FINE._replace(anchors6=(MUTE, MUTE, MUTE)), "ipv6"),
        (FINE._replace(anchors6=(DEAD, DEAD), anchors4=(BACK,)), "ok"),
        (FINE._replace(anchors6=(), ipv6_configured=False), "ok"),
        (FINE._replace(degradation=DEGRADED), "degraded"),
        (FINE._replace(routers=(MUTE, MUTE)), "ok"),
        (FINE._replace(routers=(DEAD, DEAD)), "ok"),
        (FINE._replace(hops=(MUTE,)), "ok"),
        (FINE._replace(anchors4=(ALIVE, DEAD, ALIVE)), "ok"),
        (FINE._replace(anchors4=(DEAD, DEAD, DEAD), anchors6=(), ipv6_configured=False), "ok"),
        (FINE._replace(anchors4=(DEAD,) * 3, anchors6=(DEAD,), resolvers=(BAD_DNS,)), "dns"),
        (FINE._replace(**{**FAR_DEAD, "anchors4": (DEAD, LATE, DEAD)}, routers=(DEAD,)), "dns"),
        (FINE._replace(**{**FAR_DEAD, "sites": None}, hops=(ALIVE,)), "upstream"),
        (FINE._replace(**NO_PINGS, sites=Sites((20.0,), (6.0, 5.0), (4.0,)), routers=(DEAD,)), "router"),
        (FINE._replace(**NO_PINGS, sites=Sites((20.0,), (6.0, 5.0), ()), routers=(DEAD,)), "ok"),
        (FINE._replace(**NO_PINGS, sites=Sites((5.0,), (6.0, 5.5), (4.0,)), routers=(DEAD,)), "ok"),
        (FINE._replace(**NO_PINGS, sites=None), "ok"),  # nothing that is probed has ever answered, and names are right
        (FINE._replace(**NO_PINGS, sites=None, ever_reached=False), "upstream"),
        (FINE._replace(**NO_PINGS, sites=UNRESOLVED_SITES, resolvers=(BAD_DNS,)), "dns"),
        (FINE._replace(**NO_PINGS, sites=CUT_SITES, hops=(GONE,)), "isp"),
        (FINE._replace(**NO_PINGS, sites=CUT_SITES, page_seconds=1.0), "web"),
        (FINE._replace(**LONG_DEAD, sites=CUT_SITES, hops=(GONE,)), "isp"),  # pings were dropped long before
        (FINE._replace(**LONG_DEAD, sites=REFUSED_SITES, page_seconds=1.0), "web"),
        (
            FINE._replace(**LONG_DEAD, sites=DEAD_SITES._replace(worked=()), routers=(GONE,), hops=(GONE,)),
            "upstream",
        ),
        (FINE._replace(sites=None), "ok"),
        (FINE._replace(**NOTHING), "ok"),
        (FINE._replace(**NOTHING, routers=(Ping("gone", 50, 50.0, 51.0),)), "router"),
        (FINE._replace(**LONG_DEAD, sites=None, page_seconds=1.0), "ok"),
    ],
)
def test_one_verdict_names_the_nearest_broken_segment(evidence: Evidence, verdict: str) -> None:
    found = judge(evidence)
    assert found is not None
    assert found.name == verdict


@pytest.mark.parametrize(
    "unsettled",
    [
        {"anchors4": (DEAD, WAVERS, DEAD)},  # not silent for long enough
        {"sites": Sites((8.0,) * 9, (), ())},  # no attempt that began since has come to its end
        {"sites": REFUSED_SITES},
        {"sites": CROSSING_SITES},  # worked at the very moment of the cut
        {"sites": Sites((), (), ())},
        {"sites": None, "anchors4": (DEAD, WAVERS, DEAD)},
    ],
)
def test_nothing_is_said_of_names_and_sites_until_it_is_known_if_the_line_works(unsettled: dict[str, Any]) -> None:
    assert judge(FINE._replace(**{**FAR_DEAD, **unsettled})) is None


def test_degraded_says_where_it_begins() -> None:
    assert judge(FINE._replace(degradation=DEGRADED)) == Verdict("degraded", "isp", "loss")


def test_a_start_with_nothing_reachable() -> None:
    nothing = Sites((), (6.0, 5.0, 2.0), ())
    cold = FINE._replace(
        running_seconds=3, routers=(MUTE,), hops=(), anchors4=(MUTE,) * 3, anchors6=(), sites=nothing, captive=None
    )
    assert judge(cold) is None
    assert judge(cold._replace(running_seconds=10)) == Verdict("isp")
    assert judge(cold._replace(running_seconds=10, router_in_neighbour_table=False)) == Verdict("router")


pings = st.builds(
    Ping,
    st.just("x"),
    st.integers(0, 100),
    st.none() | st.floats(0, 1000),
    st.none() | st.floats(0, 1000),
)
ages = st.lists(st.floats(0, 1000), max_size=5).map(tuple)
sites = st.builds(Sites, ages, ages, ages)
evidences = st.builds(
    Evidence,
    running_seconds=st.floats(0, 1000),
    ever_reached=st.booleans(),
    link_up=st.booleans(),
    router_in_neighbour_table=st.booleans(),
    routers=st.lists(pings, max_size=2).map(tuple),
    hops=st.lists(pings, max_size=3).map(tuple),
    anchors4=st.lists(pings, max_size=3).map(tuple),
    anchors6=st.lists(pings, max_size=3).map(tuple),
    resolvers=st.lists(
        st.builds(Resolver, st.just("r"), st.integers(0, 9), st.none() | st.floats(0, 99), ever_worked=st.booleans()),
        max_size=3,
    ).map(tuple),
    sites=st.none() | sites,
    page_seconds=st.none() | st.floats(0, 60),
    captive=st.none() | st.booleans(),
    ipv6_configured=st.booleans(),
    degradation=st.none() | st.just(DEGRADED),
)


@given(evidences)
def test_any_evidence_has_one_verdict_or_none_and_a_single_far_target_is_never_proof(evidence: Evidence) -> None:
    verdict = judge(evidence)
    assert verdict is None or verdict.name in NAMES
    if any(ping.answers for ping in evidence.anchors4) and evidence.link_up:
        assert verdict is None or verdict.name not in {"router", "isp", "upstream"}
    if any(ping.ever_answered and not ping.wavers for ping in evidence.anchors4):
        assert verdict is not None


# Quality


def window(rtt: float | None, count: int = 60, *, into: Window | None = None, start: int = 0) -> tuple[Window, int]:
    """A probe a second, answered after `rtt`; the window and the time a few seconds after the last."""
    filled = into or Window()
    for number in range(start, start + count):
        filled.sent(number * NANOSECONDS)
        if rtt is not None:
            filled.answered(number * NANOSECONDS, rtt)
    return filled, (start + count + 1) * NANOSECONDS


def test_loss_is_counted_over_probes_that_were_due() -> None:
    lossy, now = window(0.02, 50)
    window(None, 5, into=lossy, start=50)
    assert lossy.counts(now + 6 * NANOSECONDS) == (55, 5)
    assert lossy.counts(50 * NANOSECONDS + NANOSECONDS) == (50, 0)


def test_old_probes_leave_the_window() -> None:
    lossy, _ = window(None, 60)
    _, now = window(0.02, 61, into=lossy, start=60)
    assert lossy.counts(now) == (59, 0)


def test_a_clear_rise_over_the_usual_is_slow_and_a_little_one_is_not() -> None:
    line, now = window(0.02, 300)
    assert not quality.figures("isp", [line], now).slow
    _, now = window(0.05, 60, into=line, start=300)
    assert not quality.figures("isp", [line], now).slow
    _, now = window(0.22, 60, into=line, start=360)
    figures = quality.figures("isp", [line], now)
    assert figures.slow
    assert quality.assess([figures], None) == Degradation("isp", "delay", 0.0, 0.22, figures.usual_seconds)


def test_a_lost_packet_or_two_is_no_degradation() -> None:
    assert not SegmentFigures("isp", 60, 2, None, None).loses()
    assert not SegmentFigures("isp", 20, 10, None, None).loses()
    assert not SegmentFigures("isp", 200, 3, None, None).loses()
    assert SegmentFigures("isp", 60, 3, None, None).loses()


def test_the_first_segment_that_shows_it_is_where_it_begins() -> None:
    good, bad = SegmentFigures("router", 60, 0, None, None), SegmentFigures("isp", 60, 6, None, None)
    found = quality.assess([good, bad, bad._replace(segment="upstream")], None)
    assert found is not None
    assert (found.segment, found.loss) == ("isp", 0.1)
    assert quality.assess([good], 3.0) == Degradation("dns", "dns", 0.0, 3.0, None)
    assert quality.assess([good], 0.5) is None


def test_a_nearer_segment_needs_fewer_lost_to_be_blamed() -> None:
    router, far = SegmentFigures("router", 120, 1, None, None), SegmentFigures("upstream", 130, 8, None, None)
    near, clean = SegmentFigures("isp", 72, 2, None, None), SegmentFigures("isp", 72, 0, None, None)
    for segments, blamed in (([router, near, far], "isp"), ([router, clean, far], "upstream")):
        found = quality.assess(segments, None)
        assert found is not None
        assert (found.segment, found.cause) == (blamed, "loss")


def test_what_does_not_show_at_the_far_end_is_nobodys_fault() -> None:
    busy, fine = SegmentFigures("router", 60, 20, 0.3, 0.001), SegmentFigures("upstream", 130, 0, 0.02, 0.02)
    assert quality.assess([busy, fine], None) is None
    assert quality.assess([busy], None) is not None  # nothing behind it answers


def test_one_far_target_proves_nothing() -> None:
    losing, (clean, now) = window(0.02, 40)[0], window(0.02, 60)
    window(None, 20, into=losing, start=40)
    alone = quality.figures("upstream", [losing, clean, clean], now)
    assert alone.lost >= 15
    assert quality.assess([alone], None) is None
    assert quality.assess([quality.figures("upstream", [losing, losing, clean], now)], None) is not None
    # Unless it shows before the far end as well.
    assert quality.assess([SegmentFigures("isp", 72, 4, None, None), alone], None) is not None


def test_what_was_losing_is_believed_to_until_it_clearly_does_not() -> None:
    line = SegmentFigures("upstream", 130, 2, None, None)
    assert quality.assess([line], None) is None
    assert quality.assess([line], None, still_losing=True) is not None
    assert quality.assess([line._replace(lost=1)], None, still_losing=True) is None


def test_nothing_is_said_before_every_segment_can_be_judged() -> None:
    near, _ = window(0.02, 10, start=50)
    far, now = window(None, 60)
    assert quality.assess([quality.figures("isp", [near], now), quality.figures("upstream", [far], now)], None) is None
    window(0.02, 30, into=near, start=60)
    _, later = window(None, 30, into=far, start=60)
    found = quality.assess([quality.figures("isp", [near], later), quality.figures("upstream", [far], later)], None)
    assert found is not None
    assert found.segment == "upstream"


def test_a_degradation_is_believed_when_it_has_settled() -> None:
    settling, far, near = (
        Settling(),
        Degradation("upstream", "loss", 0.1, None, None),
        Degradation("router", "loss", 0.1, None, None),
    )
    seconds = iter(range(100))

    def step(found: Degradation | None) -> Degradation | None:
        return settling.step(found, next(seconds) * NANOSECONDS)

    assert [step(far), step(near), step(near), step(near)] == [None] * 4
    assert step(near) == near
    assert [step(None), step(near), step(far)] == [near] * 3
    assert [step(None) for _ in range(4)] == [near, near, near, None]


# Outages

START = 1_767_225_600 * NANOSECONDS


class Timeline:
    """Verdicts second by second."""

    def __init__(self) -> None:
        self.state = State()
        self.closed: list[Outage] = []
        self.seconds = 0

    def run(self, name: Any, seconds: int, *, step_wall: int = 0) -> "Timeline":
        began = START + (self.seconds + step_wall) * NANOSECONDS
        for _ in range(seconds):
            state, closed = outages.step(self.state, Verdict(name), began, self.seconds * NANOSECONDS)
            self.state = state
            self.closed += [closed] if closed else []
            self.seconds += 1
        return self


def test_an_outage_has_a_start_an_end_and_a_culprit() -> None:
    timeline = Timeline().run("ok", 10).run("isp", 30).run("ok", CLOSE_SECONDS + 2)
    assert timeline.closed == [Outage("isp", START + 10 * NANOSECONDS, START + 40 * NANOSECONDS)]
    assert timeline.state == State()


def test_flapping_is_one_outage_with_a_count() -> None:
    timeline = Timeline()
    for _ in range(7):
        timeline.run("isp", 20).run("ok", 20)
    timeline.run("ok", CLOSE_SECONDS)
    assert [(outage.spells, outage.start_ns, outage.end_ns) for outage in timeline.closed] == [
        (7, START, START + 260 * NANOSECONDS)
    ]


def test_the_nearest_culprit_is_the_outages() -> None:
    timeline = Timeline().run("upstream", 5).run("router", 5).run("isp", 5).run("degraded", CLOSE_SECONDS + 2)
    assert [outage.culprit for outage in timeline.closed] == ["router"]


def test_warnings_are_no_outages() -> None:
    assert Timeline().run("degraded", 99).run("ipv6", 99).closed == []


@pytest.mark.parametrize("hour", [3600, -3600])
def test_a_clock_that_is_set_closes_nothing_early(hour: int) -> None:
    timeline = Timeline().run("isp", 10)
    timeline.run("ok", CLOSE_SECONDS - 10, step_wall=hour)
    assert timeline.closed == []
    timeline.run("ok", 15, step_wall=hour)
    (outage,) = timeline.closed
    assert outage.end_ns is not None
    assert outage.end_ns >= outage.start_ns


def test_on_the_way_back_a_farther_culprit_has_to_stand() -> None:
    coming_back = outages.ComingBack()
    router, isp, fine = Verdict("router"), Verdict("isp"), Verdict("ok")
    assert coming_back.step(router, isp, 0) == router
    assert coming_back.step(router, isp, 5 * NANOSECONDS) == router
    assert coming_back.step(router, fine, 5 * NANOSECONDS) == fine
    assert coming_back.step(router, isp, 6 * NANOSECONDS) == router
    assert coming_back.step(router, isp, 12 * NANOSECONDS) == isp
    assert coming_back.step(isp, router, 13 * NANOSECONDS) == router
    assert coming_back.step(fine, isp, 14 * NANOSECONDS) == fine
    assert coming_back.step(fine, isp, 15 * NANOSECONDS) == isp
    assert coming_back.step(fine, fine, 16 * NANOSECONDS) == fine
    assert coming_back.step(None, isp, 17 * NANOSECONDS) is None
    assert coming_back.step(None, isp, 18 * NANOSECONDS) == isp
    assert coming_back.step(fine, Verdict("link"), 19 * NANOSECONDS) == Verdict("link")
    assert coming_back.step(isp, Verdict("ipv6"), 20 * NANOSECONDS) == isp
    assert coming_back.step(isp, fine, 21 * NANOSECONDS) == fine
    assert coming_back.step(isp, fine, 22 * NANOSECONDS, names_known=False) == isp
    assert coming_back.step(isp, fine, 36 * NANOSECONDS, names_known=False) == isp
    assert coming_back.step(isp, fine, 37 * NANOSECONDS, names_known=False) == fine
