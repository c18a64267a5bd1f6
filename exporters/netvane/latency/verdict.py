"""The verdict: which segment between this machine and the far end is broken, nearest first. Pure.

    own link -> router -> provider's first hop (isp) -> beyond (upstream) -> dns -> web; captive portal, ipv6, degraded

What one probe says proves little: a target that has never answered is mute, not dead; one far target is never proof;
and a router that drops pings but lets traffic through is not to blame. So a segment is broken when something that used
to answer there has missed several probes in a row, everything behind it is silent as well, and attempts to reach web
sites (if those are tried) that began after the silence have failed too. And names or sites are to blame only while the
line itself works: with everything behind it silent they fail as well, perhaps before the pings have missed enough to
tell.
"""

from math import inf
from typing import Literal, NamedTuple

from netvane.latency.quality import Degradation

Name = Literal["ok", "link", "router", "isp", "upstream", "dns", "web", "captive_portal", "ipv6", "degraded"]
NAMES: tuple[Name, ...] = (
    *("link", "router", "isp", "upstream", "dns"),
    *("web", "captive_portal", "ipv6", "degraded", "ok"),
)
# What cuts everything off that lies behind it.
CUTS: frozenset[Name] = frozenset({"link", "router", "isp", "upstream"})
# With these nothing at home reaches the Internet: they make an outage. The others make a warning.
OUTAGES: frozenset[Name] = frozenset({"link", "router", "isp", "upstream", "dns", "web", "captive_portal"})

MISSED_IN_A_ROW = 3
SILENT_SECONDS = 3.0
WAVERING_SECONDS = 2.0
CROSSING_SECONDS = 2.0  # answers of probes that left together come at different moments, some before a cut
LIVES_SECONDS = 15.0  # for how long after an answer a segment is not dead: some routers answer only now and then
START_SECONDS = 8.0  # for how long a fresh start may have no answer from anywhere before that means something
MIN_SITES = 5  # so many different web sites are enough for a finding, if most of them fail
NEWEST_SITES = 10
MOST_SITES = 0.6


class Ping(NamedTuple):
    """One ICMP target: probes missed since its last answer, for how many seconds (None: it owes no answer); how many
    seconds ago the newest probe left that was answered (None: none ever was), and for how many seconds it has been
    answering again after it was silent (None: never was).
    """

    name: str
    missed: int
    silent_seconds: float | None
    answered_seconds: float | None
    answering_seconds: float | None = None

    @property
    def ever_answered(self) -> bool:
        return self.answered_seconds is not None

    @property
    def silent(self) -> bool:
        """Owes several answers in a row, and has for some seconds."""
        return self.missed >= MISSED_IN_A_ROW and (self.silent_seconds or 0.0) >= SILENT_SECONDS

    @property
    def wavers(self) -> bool:
        """Owes an answer for longer than any line takes, but perhaps not for long enough to be silent."""
        return (self.silent_seconds or 0.0) >= WAVERING_SECONDS

    @property
    def answers(self) -> bool:
        return self.ever_answered and not self.silent

    def has_answered_since(self, seconds: float) -> bool:
        """Whether it has answered lately, and a probe that left clearly less than so many `seconds` ago."""
        answered = inf if self.answered_seconds is None else self.answered_seconds
        return answered <= LIVES_SECONDS and answered + CROSSING_SECONDS < seconds


class Resolver(NamedTuple):
    """One DNS resolver: questions failed in a row (any reason: no answer, an error, a wrong address), and for how
    many seconds; for how many it has worked again (None: it did not fail before).
    """

    name: str
    failed: int
    failing_seconds: float | None
    ever_worked: bool
    working_seconds: float | None = None

    @property
    def broken(self) -> bool:
        return self.failed >= MISSED_IN_A_ROW


class Sites(NamedTuple):
    """TCP connections to widely used web sites: for the newest attempt at each site in the window, how many seconds ago
    it began, by what came of it. Without an address there is no connection, which says nothing of the site.
    """

    worked: tuple[float, ...]
    failed: tuple[float, ...]
    unresolved: tuple[float, ...]

    def any_failed(self, seconds: float) -> bool:
        """Whether an attempt that began in the last `seconds` did not work."""
        return any(age <= seconds for age in self.failed + self.unresolved)

    @property
    def mostly_fail(self) -> bool:
        """Whether most of the newest connections failed."""
        tried = sorted([(age, False) for age in self.worked] + [(age, True) for age in self.failed])[:NEWEST_SITES]
        return len(tried) >= MIN_SITES and sum(failed for _, failed in tried) >= len(tried) * MOST_SITES


class Evidence(NamedTuple):
    """All that the verdict rests on, at one moment. Empty tuples, and None for `sites`, are what is not probed."""

    running_seconds: float
    ever_reached: bool  # a site or a resolver has worked since the start
    link_up: bool
    router_in_neighbour_table: bool  # False: the kernel asks for the router's MAC address and hears nothing
    routers: tuple[Ping, ...]
    hops: tuple[Ping, ...]  # the provider's first hops
    anchors4: tuple[Ping, ...]
    anchors6: tuple[Ping, ...]
    resolvers: tuple[Resolver, ...]
    sites: Sites | None
    page_seconds: float | None  # since the captive check's newest page began that came from the web; None: not lately
    captive: bool | None  # None: the check has no answer
    ipv6_configured: bool
    degradation: Degradation | None

    @property
    def known_anchors(self) -> tuple[Ping, ...]:
        """Those that have ever answered, of either family."""
        return tuple(ping for ping in self.anchors4 + self.anchors6 if ping.ever_answered)


class Verdict(NamedTuple):
    """The verdict, and for `degraded` the segment at which it begins and what it is: loss, delay or (slow) dns."""

    name: Name
    segment: str | None = None
    cause: str | None = None


def is_outage(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.name in OUTAGES


def is_cut(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.name in CUTS


def judge(evidence: Evidence) -> Verdict | None:  # noqa: PLR0911 - a rule a verdict, nearest first
    """The verdict on `evidence`; None while there is too little of it: after a start, and until it is known if the line
    has just been cut.
    """
    if not evidence.link_up:
        return Verdict("link")
    if evidence.captive and not router_is_gone(evidence):
        # Somebody answers in the web's place: the line works, whatever else that somebody drops.
        return Verdict("captive_portal")
    works = line_works(evidence)
    if works is None:
        return None
    if not works:
        return nearest_silent(evidence)
    names_fail = bool(evidence.resolvers) and all(resolver.broken for resolver in evidence.resolvers)
    if names_fail or (evidence.sites is not None and evidence.sites.mostly_fail):
        return None if is_cut_suspected(evidence) else Verdict("dns" if names_fail else "web")
    if evidence.ipv6_configured and ipv6_is_gone(evidence):
        return Verdict("ipv6")
    if evidence.degradation is not None:
        return Verdict("degraded", evidence.degradation.segment, evidence.degradation.cause)
    return Verdict("ok")


def line_works(evidence: Evidence) -> bool | None:
    """Whether there is a way beyond the provider: an anchor of either family owes no answer, or the web has answered
    since the anchors fell silent; None while that is not known.
    """
    anchors, sites = evidence.anchors4 + evidence.anchors6, evidence.sites
    if do_anchors_answer(evidence):
        return True
    if not anchors and sites is None:
        return not router_is_gone(evidence)  # nothing beyond is probed
    if does_web_stand_in(evidence):
        return not is_cut_without_pings(evidence)
    if (
        not evidence.known_anchors
        and evidence.ever_reached
        and (sites is None or not sites.failed)
        and not router_is_gone(evidence)
    ):
        return True  # no ping ever got through, and no connection fails: names at most
    settled = all(ping.silent for ping in anchors)
    settled = settled and (bool(evidence.known_anchors) or evidence.running_seconds >= START_SECONDS)
    settled = settled and (sites is None or sites.any_failed(anchors_silence(evidence)))
    return False if settled else None


def do_anchors_answer(evidence: Evidence) -> bool:
    """Whether an anchor that is known to answer owes nothing, or not for long."""
    return any(not ping.wavers for ping in evidence.known_anchors)


def anchors_silence(evidence: Evidence) -> float:
    """For how many seconds no anchor has answered; those that never did say nothing."""
    return min((ping.silent_seconds or 0.0 for ping in evidence.known_anchors), default=evidence.running_seconds)


def last_worked(evidence: Evidence) -> float:
    """Seconds since the newest attempt at a web site or at the captive check's page began that worked; infinite: none
    in the window.
    """
    worked = () if evidence.sites is None else evidence.sites.worked
    return min((*worked, inf if evidence.page_seconds is None else evidence.page_seconds))


def does_web_stand_in(evidence: Evidence) -> bool:
    """Whether the anchors' silence says nothing, because the web has answered since: pings are dropped somewhere."""
    return last_worked(evidence) + CROSSING_SECONDS < anchors_silence(evidence)


def do_pings_say_nothing(evidence: Evidence) -> bool:
    """Whether no anchor tells anything of the line: none ever answered, or the web does in their place."""
    return not evidence.known_anchors or does_web_stand_in(evidence)


def failed_in_a_row(evidence: Evidence) -> tuple[float, ...]:
    """Seconds since the connections to web sites began that failed since anything worked."""
    failed, since = () if evidence.sites is None else evidence.sites.failed, last_worked(evidence)
    return tuple(age for age in failed if age < since)


def is_cut_without_pings(evidence: Evidence) -> bool:
    """Where the web stands in for the anchors: several connections in a row have failed, over some seconds, or the
    router is gone and nothing works any more.
    """
    failed = failed_in_a_row(evidence)
    if len(failed) >= MIN_SITES and max(failed) - min(failed) >= SILENT_SECONDS:
        return True
    unresolved, since = () if evidence.sites is None else evidence.sites.unresolved, last_worked(evidence)
    missed = len(failed) + sum(age < since for age in unresolved)
    return missed >= MISSED_IN_A_ROW and router_is_gone(evidence)


def is_cut_suspected(evidence: Evidence) -> bool:
    """Where the web stands in for the anchors: connections have begun to fail, and may go on to."""
    return not do_anchors_answer(evidence) and len(failed_in_a_row(evidence)) >= MISSED_IN_A_ROW


def far_silence(evidence: Evidence) -> float:
    """For how many seconds nothing beyond the provider has answered: no anchor, or where those say nothing, no site."""
    silence = anchors_silence(evidence)
    if do_pings_say_nothing(evidence):
        return max(failed_in_a_row(evidence), default=silence)
    return silence


def nearest_silent(evidence: Evidence) -> Verdict | None:
    """Where the way into the Internet ends, given that it does; None until that is known of everything on the way."""
    if router_is_gone(evidence):
        return Verdict("router")
    silence = far_silence(evidence)
    hops = state(evidence.hops, silence)
    if hops == "unsettled" or state(evidence.routers, silence) == "unsettled":
        return None
    # A first hop that has never been heard of: then the line to the provider is the nearest that can be it.
    return Verdict("upstream" if hops == "lives" else "isp")


def router_is_gone(evidence: Evidence) -> bool:
    """The router does not answer. One that has never answered pings is judged by the neighbour table."""
    router = state(evidence.routers, far_silence(evidence))
    return router == "dead" or (router == "mute" and not evidence.router_in_neighbour_table)


def state(segment: tuple[Ping, ...], silence: float) -> Literal["lives", "dead", "unsettled", "mute"]:
    """What is known of a segment's targets, `silence` seconds after the anchors' last answer: what was cut with them
    may fall silent a moment later.
    """
    known = [ping for ping in segment if ping.ever_answered]
    if not known:
        return "mute"
    if any(ping.has_answered_since(silence) for ping in known):
        return "lives"
    return "dead" if all(ping.silent for ping in known) else "unsettled"


def ipv6_is_gone(evidence: Evidence) -> bool:
    """All IPv6 anchors are silent, and IPv4 has worked since, not only just come back."""
    if not evidence.anchors6 or not all(ping.silent for ping in evidence.anchors6):
        return False
    silence = min(ping.silent_seconds or 0.0 for ping in evidence.anchors6)
    steady = [ping for ping in evidence.anchors4 if (ping.answering_seconds or inf) >= SILENT_SECONDS]
    return any(ping.has_answered_since(silence) for ping in steady)
