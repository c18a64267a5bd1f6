"""Rows of the fault matrix: how each kind of fault is played on a watched home, and what must come of it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from netvane.common.clock import NANOSECONDS
from tests.lab.faults import Fault, Faults
from tests.lab.matrix import GRACE_SECONDS, PAGES, Finding, Observer, account_outage, recover

MESSAGE_SECONDS = 45.0  # scraped once in 15 s, evaluated, sent
WARNING_SECONDS = 180.0  # Alertmanager gathers warnings for a minute
AFTERWARDS_SECONDS = 10.0
USUAL_ANSWERS = 40  # of a target, before its usual round-trip time is known


class Row(Protocol):
    """`play` breaks and heals; `account`, once the home has been silent, counts the messages."""

    @property
    def name(self) -> str: ...
    def play(self, observer: Observer, finding: Finding) -> None: ...
    def account(self, observer: Observer, finding: Finding) -> None: ...


@dataclass(frozen=True)
class Outage:
    """`interval` is that of the probe that detects it; `hold`: so long it lasts at least; `page_mails`: None if any
    number will do, since the mail server may be out of reach.
    """

    name: str
    fault: Callable[[Faults], Fault]
    verdict: str
    within: float
    interval: float = 1.0
    pages: int = 1
    page_mails: int | None = None
    hold: float = 0.0

    def play(self, observer: Observer, finding: Finding) -> None:
        before = observer.watched.look()
        told = len(observer.firing(*PAGES))
        with self.fault(observer.fault) as fault:
            self.follow(observer, finding, fault.broken_ns or 0, told)
        recover(observer, finding, before, fault, self.interval)
        if finding.outage is not None:
            truth_ns = (fault.began_ns, fault.broken_ns)
            finding.compare("start", finding.outage.last_start_ns, truth_ns, self.interval + 1)

    def follow(self, observer: Observer, finding: Finding, began_ns: int, told: int) -> None:
        """While it lasts: the verdict, and a page more than were `told` before it began."""
        observer.until(lambda look: look.verdict == self.verdict, self.within + GRACE_SECONDS)
        finding.passed("verdict", began_ns, self.within)
        seen: set[str] = set()
        if self.pages:
            observer.until(lambda _: len(observer.firing(*PAGES)) > told, MESSAGE_SECONDS + GRACE_SECONDS, seen)
            finding.passed("page", began_ns, self.within + MESSAGE_SECONDS)
        observer.until(lambda _: time.time_ns() - began_ns >= self.hold * NANOSECONDS, self.hold, seen)
        finding.check(seen <= {self.verdict}, f"other verdicts while it lasted: {seen}")

    def account(self, observer: Observer, finding: Finding) -> None:
        account_outage(observer, finding, self.pages, self.page_mails, (self.verdict,))


@dataclass(frozen=True)
class Flapping:
    """A fault that comes and goes, 20 s each, for five minutes: one outage with a count."""

    name: str
    fault: Callable[[Faults], Fault]
    verdict: str
    within: float
    seconds: float = 300.0
    phase: float = 20.0

    def play(self, observer: Observer, finding: Finding) -> None:
        before = observer.watched.look()
        inner = self.fault(observer.fault)
        with observer.fault.flapping(inner, broken=self.phase, whole=self.phase):
            observer.until(lambda look: look.verdict == self.verdict, self.within + GRACE_SECONDS)
            truth_ns = (inner.began_ns, inner.broken_ns)
            finding.passed("verdict", inner.broken_ns, self.within)
            observer.hold(self.seconds - finding.figures["verdict"])
        recover(observer, finding, before, inner, 1.0)
        if finding.outage is None:
            return
        finding.compare("start", finding.outage.last_start_ns, truth_ns, 2.0)
        spells = observer.watched.outages()[-1]["spells"]
        broken = -(-self.seconds // (2 * self.phase))
        finding.figures["spells"] = spells
        finding.check(broken - 1 <= spells <= broken, f"it broke {broken:g} times, and {spells} were counted")

    def account(self, observer: Observer, finding: Finding) -> None:
        account_outage(observer, finding, 1, None, (self.verdict,))


@dataclass(frozen=True)
class FirstStart:
    """Netvane is started for the first time, and nothing can be reached. The home has no watchers yet."""

    name: str
    fault: Callable[[Faults], Fault]
    verdicts: tuple[str, ...]
    within: float

    def play(self, observer: Observer, finding: Finding) -> None:
        with self.fault(observer.fault) as fault:
            observer.watched.start_watchers()
            began_ns = observer.watched.exporter_started_ns
            before = observer.watched.look()
            observer.until(lambda look: look.verdict in self.verdicts, self.within + GRACE_SECONDS)
            finding.passed("verdict", began_ns, self.within)
            observer.until(lambda _: observer.firing(*PAGES), MESSAGE_SECONDS + GRACE_SECONDS)
            finding.passed("page", began_ns, self.within + MESSAGE_SECONDS)
        recover(observer, finding, before, fault, 1.0)
        if finding.outage is not None:
            # It cannot know of more than its own life.
            truth_ns = (began_ns, observer.watched.exporter_ready_ns)
            finding.compare("start", finding.outage.last_start_ns, truth_ns, 2.0)

    def account(self, observer: Observer, finding: Finding) -> None:
        account_outage(observer, finding, 1, None, self.verdicts)


@dataclass(frozen=True)
class Warned:
    """A fault that is no outage, but worth one warning. `segment` is where `degraded` begins."""

    name: str
    fault: Callable[[Faults], Fault]
    verdict: str
    within: float
    alert: str
    ok_within: float
    segment: str | None = None

    def play(self, observer: Observer, finding: Finding) -> None:
        # What is usual has to be known, to the exporter and to Prometheus, before anything can be worse than that.
        answers = "netvane_probe_rtt_seconds_count"
        observer.until(lambda _: observer.watched.exporter.value(answers, target="router") >= USUAL_ANSWERS, 90)
        observer.until(lambda _: observer.watched.query("site:netvane_probe_rtt_seconds:rise1m"), 90)
        before = observer.watched.look()
        seen: set[str] = set()
        expected = (self.verdict, self.segment)
        firing = f'ALERTS{{alertname="{self.alert}", alertstate="firing"}}'
        with self.fault(observer.fault) as fault:
            observer.until(lambda look: (look.verdict, look.segment) == expected, self.within + GRACE_SECONDS, seen)
            finding.passed("verdict", fault.broken_ns, self.within)
            observer.until(lambda _: observer.watched.query(firing), WARNING_SECONDS, seen)
            finding.check(seen <= {self.verdict, "ok"}, f"other verdicts while it lasted: {seen}")
        observer.until(lambda look: look.verdict == "ok", self.ok_within + GRACE_SECONDS)
        finding.passed("ok", fault.ended_ns, self.ok_within)
        look = observer.watched.look()
        same = (look.last_start_ns, look.last_end_ns) == (before.last_start_ns, before.last_end_ns)
        finding.check(same and not look.outage, "there was an outage")

    def account(self, observer: Observer, finding: Finding) -> None:
        warnings = observer.firing(self.alert)
        finding.told = len(warnings)
        finding.count("warnings", warnings, 1)


@dataclass(frozen=True)
class Harmless:
    """Faults that are to be nobody's business, nor their end: each is held for `seconds`, and those before with it.
    Without any, that is how long nothing happens.
    """

    name: str
    faults: tuple[Callable[[Faults], Fault], ...]
    seconds: float

    def play(self, observer: Observer, finding: Finding) -> None:
        with ExitStack() as broken:
            for fault in self.faults:
                broken.enter_context(fault(observer.fault))
                seen = observer.hold(self.seconds)
                finding.check(seen == {"ok"}, f"verdicts: {seen}")
        seen = observer.hold(AFTERWARDS_SECONDS if self.faults else self.seconds)
        finding.check(seen == {"ok"}, f"verdicts afterwards: {seen}")

    def account(self, observer: Observer, finding: Finding) -> None:
        """That nobody was told is held for the home as a whole."""
