"""Watches the verdict: asks the evidence every second, and makes events of changes and outages, with the path then."""

import asyncio
from collections.abc import Callable, Iterable

from netvane.common.clock import NANOSECONDS, Clock, rfc3339
from netvane.common.event_schema import Event, Numbers
from netvane.common.event_schema import Outage as OutageEvent
from netvane.common.event_schema import Verdict as VerdictEvent
from netvane.common.log import get_logger
from netvane.latency import outages
from netvane.latency.evidence import Observations, Snapshot, Surroundings
from netvane.latency.outages import ComingBack, Outage, State, Totals
from netvane.latency.path import PathWatch, as_hops
from netvane.latency.prober import Prober
from netvane.latency.rounds import Rounds
from netvane.latency.verdict import (
    Evidence,
    Ping,
    Verdict,
    do_pings_say_nothing,
    far_silence,
    is_cut,
    is_outage,
    judge,
    line_works,
)

log = get_logger("latency.watch")

STEP_SECONDS = 1.0
SUSPICIOUS_MISSES = 2
CLOSER_SECONDS = 30.0
SAMPLE_SECONDS = 10
TOGETHER_SECONDS = 6.0  # from one first miss to the next, of targets that fell silent together
BURST_ROLES = frozenset({"router", "isp", "anchor"})


class VerdictWatch:
    """`append` takes the events; `destination` says where a path is traced to."""

    def __init__(
        self,
        clock: Clock,
        observations: Observations,
        prober: Prober,
        rounds: Callable[[], Rounds],
        path: PathWatch,
        append: Callable[[Event], None],
    ) -> None:
        self.verdict: Verdict | None = None
        self.only_router_answers = False
        self.totals = Totals({}, {})
        self._clock = clock
        self._observations = observations
        self._prober = prober
        self._rounds = rounds
        self._path = path
        self._append = append
        self._state = State()
        self._changed_ns = 0
        self._sampled_ns = 0
        self._coming_back = ComingBack()
        self._line_back_ns: int | None = None
        self._line_away_ns = 0
        self._traces: set[asyncio.Task[None]] = set()

    @property
    def outage(self) -> Outage | None:
        """The one that lasts."""
        return self._state.outage

    def remember(self, outage: Outage) -> None:
        """Take up the last outage that the store knows of, open or ended."""
        if outage.end_ns is None:
            self._state = State(outage)
            self.totals = Totals({}, {}, outage.start_ns, 0)
        else:
            self.totals = Totals({}, {}, outage.start_ns, outage.end_ns, outage.culprit)

    async def run(self, look: Callable[[], Surroundings], destination: Callable[[], str | None]) -> None:
        """Until cancelled."""
        while True:
            self._step(look(), destination())
            await asyncio.sleep(STEP_SECONDS)

    def _step(self, around: Surroundings, destination: str | None) -> None:
        now = self._clock.monotonic_ns()
        snapshot = self._prober.snapshot()
        evidence = self._observations.lay_out(snapshot, around, now)
        self.only_router_answers = only_router_answers(evidence)
        verdict = judge(evidence)
        if is_cut(verdict) or (verdict is None and not line_works(evidence)):
            if self._line_back_ns is not None:
                self._line_away_ns = now - round(far_silence(evidence) * NANOSECONDS)
            self._line_back_ns = None
        elif self._line_back_ns is None and verdict is not None:
            self._line_is_back(evidence, snapshot, now)
            evidence = self._observations.lay_out(snapshot, around, now)
            verdict = judge(evidence)
        if is_outage(self.verdict) and verdict is not None and not is_outage(verdict):
            # What an outage lost says nothing of the line that is back.
            for _, series in snapshot:
                series.window.forget()
            self._observations.forget_quality()
            evidence = evidence._replace(degradation=None)
            verdict = judge(evidence)
        names_known = self._line_back_ns is None or are_names_known(evidence)
        verdict = self._coming_back.step(self.verdict, verdict, now, names_known=names_known)
        self._look_closer(verdict, evidence, snapshot, now)
        if verdict is None:
            return
        seconds = age(verdict, evidence)
        if self.verdict is not None and is_outage(self.verdict) and not is_outage(verdict):
            line = (now - (self._line_back_ns or now)) / NANOSECONDS
            # Not since before it was bad, as what never fell silent might say.
            seconds = min(good_for(self.verdict, evidence, line), (now - self._changed_ns) / NANOSECONDS)
        began_ns = self._clock.wall_ns() - round(seconds * NANOSECONDS)
        before = self._state
        self._state, closed = outages.step(before, verdict, began_ns, now)
        if verdict != self.verdict:
            self._changed_ns = now
            previous, self.verdict = self.verdict, verdict
            log.info("verdict", verdict=verdict.name, segment=verdict.segment, previous=previous and previous.name)
            self._record(previous, verdict, numbers(evidence, snapshot), destination)
        self._tell(before.outage, closed, evidence)

    def _line_is_back(self, evidence: Evidence, snapshot: Snapshot, now_ns: int) -> None:
        """There is a way beyond the provider (again): the line was cut, or it was not known if it was, perhaps for a
        few seconds only, or since the start. What lies behind is asked at once.
        """
        anchors = evidence.anchors4 + evidence.anchors6
        seconds = max((ping.answering_seconds or 0.0 for ping in anchors if ping.answers), default=0.0)
        self._line_back_ns = now_ns - round(seconds * NANOSECONDS)
        self._observations.line_is_back(self._line_away_ns, now_ns)
        self._rounds().confirm(at_once=True)
        self._prober.burst(target.name for target, _ in snapshot if target.role in BURST_ROLES)

    def _look_closer(self, verdict: Verdict | None, evidence: Evidence, snapshot: Snapshot, now_ns: int) -> None:
        """Extra probes while something may be breaking, and while an outage lasts, so that its end is seen at once.

        What is known for a while, or is a mere warning, is worth no extra traffic.
        """
        wavering = is_suspicious(evidence) or self._observations.suspicious(now_ns)
        out = is_outage(verdict)
        known_for = (now_ns - self._changed_ns) / NANOSECONDS
        sample = self._is_sample_due(verdict, snapshot, now_ns)
        if sample or (wavering and (known_for < CLOSER_SECONDS or not out)):
            self._prober.burst(target.name for target, _ in snapshot if target.role in BURST_ROLES)
        if wavering or out or verdict is None:
            self._rounds().confirm()

    def _is_sample_due(self, verdict: Verdict | None, snapshot: Snapshot, now_ns: int) -> bool:
        """Whether a line that loses packets is to be probed more, to tell how many and where, until that is known."""
        news = self.verdict != verdict or now_ns - self._changed_ns < CLOSER_SECONDS * NANOSECONDS
        if is_outage(verdict) or now_ns - self._sampled_ns < SAMPLE_SECONDS * NANOSECONDS:
            return False
        if (verdict == Verdict("ok") or news) and self._observations.losing(snapshot, now_ns):
            self._sampled_ns = now_ns
            return True
        return False

    def _tell(self, before: Outage | None, closed: Outage | None, evidence: Evidence) -> None:
        """Events of an outage that began, changed or ended."""
        if closed is not None:
            self.totals = outages.counted(self.totals, closed)
            self._append(as_event(closed, "ended", {}))
        elif (outage := self._state.outage) is not None and outage != before:
            state = "started" if before is None else "ongoing"
            self._append(as_event(outage, state, numbers(evidence, [])))

    def _record(self, previous: Verdict | None, verdict: Verdict, found: Numbers, destination: str | None) -> None:
        """Write the change down once the path as it is now has been traced; the next step does not wait for that."""

        async def record() -> None:
            trace = None if destination is None else await self._path.trace(destination)
            error = "no way to trace it" if trace is None else trace.error
            self._append(
                VerdictEvent(
                    verdict=verdict.name,
                    segment=verdict.segment,
                    previous=previous.name if previous else None,
                    evidence=found,
                    path=None if trace is None else as_hops(trace),
                    path_error=error,
                ),
            )

        task = asyncio.get_running_loop().create_task(record())
        self._traces.add(task)
        task.add_done_callback(self._traces.discard)


def is_suspicious(evidence: Evidence) -> bool:
    """Something may be breaking: most anchors of a family, or the router, have lately missed a probe or two."""
    groups = (evidence.anchors4, evidence.anchors6, evidence.routers)
    return any(_most_waver([ping for ping in group if _is_news(ping)]) for group in groups)


def _is_news(ping: Ping) -> bool:
    """What never answered, or has long been silent, is no suspicion: to ask it more often would tell nothing."""
    return ping.ever_answered and (ping.silent_seconds or 0.0) < CLOSER_SECONDS


def _most_waver(group: list[Ping]) -> bool:
    wavering = [ping for ping in group if ping.missed >= SUSPICIOUS_MISSES or ping.wavers]
    return bool(group) and len(wavering) * 2 >= len(group)


def are_names_known(evidence: Evidence) -> bool:
    """Whether a resolver has worked, or none does; where there are no resolvers there is nothing to know."""
    return not evidence.resolvers or any(resolver.ever_worked or resolver.broken for resolver in evidence.resolvers)


def only_router_answers(evidence: Evidence) -> bool:
    """Nothing but the router answers pings, though the Internet works: then "ping is fine" says nothing about it."""
    beyond = evidence.hops + evidence.anchors4 + evidence.anchors6
    return any(ping.answers for ping in evidence.routers) and not any(ping.answers for ping in beyond)


def age(verdict: Verdict, evidence: Evidence) -> float:
    """For how many seconds what the verdict says has been so, by the evidence; 0.0: it has just been seen."""
    match verdict.name:
        case "router" | "isp" | "upstream":
            if do_pings_say_nothing(evidence):
                return far_silence(evidence)
            return _together(ping.silent_seconds or 0.0 for ping in evidence.known_anchors)
        case "dns":
            return _together(resolver.failing_seconds or 0.0 for resolver in evidence.resolvers)
        case "web" if evidence.sites is not None:
            return max(evidence.sites.failed, default=0.0)
    return 0.0


def _together(seconds: Iterable[float]) -> float:
    """How long ago those began of which the last has just begun. One that has been dead for days has nothing to do with
    it.
    """
    newest_first = sorted(seconds)
    began = newest_first[0] if newest_first else 0.0
    for earlier in newest_first:
        began = earlier if earlier - began <= TOGETHER_SECONDS else began
    return began


def good_for(ended: Verdict, evidence: Evidence, line_seconds: float) -> float:
    """For how many seconds what `ended` said has been over: since an anchor answers again, `line_seconds` ago, and
    names are resolved; 0.0: it has just been seen.
    """
    names = max((resolver.working_seconds or 0.0 for resolver in evidence.resolvers), default=0.0)
    if is_cut(ended):
        return min(line_seconds, names) if names else line_seconds
    return names if ended.name == "dns" else 0.0


def numbers(evidence: Evidence, snapshot: Snapshot) -> Numbers:
    """The evidence in numbers, for an event."""
    found: Numbers = {
        "link_up": float(evidence.link_up),
        "routers_answering": float(sum(ping.answers for ping in evidence.routers)),
        "hops_answering": float(sum(ping.answers for ping in evidence.hops)),
        "anchors4_answering": float(sum(ping.answers for ping in evidence.anchors4)),
        "anchors6_answering": float(sum(ping.answers for ping in evidence.anchors6)),
        "resolvers_broken": float(sum(resolver.broken for resolver in evidence.resolvers)),
        "sites_worked": None if evidence.sites is None else float(len(evidence.sites.worked)),
        "sites_failed": None if evidence.sites is None else float(len(evidence.sites.failed)),
        "sites_unresolved": None if evidence.sites is None else float(len(evidence.sites.unresolved)),
        "captive": None if evidence.captive is None else float(evidence.captive),
    }
    if evidence.degradation is not None:
        found["loss"] = evidence.degradation.loss
        found["rtt_seconds"] = evidence.degradation.rtt_seconds
        found["usual_rtt_seconds"] = evidence.degradation.usual_seconds
    found.update({f"{target.name}_missed": float(series.sent_since_answer) for target, series in snapshot[:8]})
    return found


def as_event(outage: Outage, state: str, evidence: Numbers) -> OutageEvent:
    seconds = None if outage.end_ns is None else (outage.end_ns - outage.start_ns) / NANOSECONDS
    return OutageEvent(
        state=state,  # type: ignore[arg-type]
        culprit=outage.culprit,
        start=rfc3339(outage.start_ns),
        end=None if outage.end_ns is None else rfc3339(outage.end_ns),
        duration_seconds=seconds,
        count=outage.spells,
        evidence=evidence,
    )
