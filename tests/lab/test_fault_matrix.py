"""The whole fault matrix: each fault on real packets, through exporter, Prometheus and Alertmanager, to the messages
that a webhook on the LAN and a mail server behind the WAN receive.

Three homes are broken at the same time, each along a list of its own, and a fourth has a normal day for as long as the
others take. Only the waiting of alerts is compressed (`for`, `keep_firing_for`), by `netvane render --time-scale`. Each
test is a row and prints its figures. Clock steps are tested on the records.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.lab.faults import Faults
from tests.lab.home import Home
from tests.lab.matrix import Finding, Observer, StoppedError
from tests.lab.matrix_rows import FirstStart, Flapping, Harmless, Outage, Row, Warned
from tests.lab.watched import WatchedHome

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(1500)]

TIME_SCALE = 0.1
START_SECONDS = 120.0
MOST_SECONDS = 1300.0  # for all of it
SILENCE_SECONDS = 75.0  # after the last fault of a home, for what should not come: warnings are gathered for a minute
DNS_SECONDS, SITE_SECONDS, CAPTIVE_SECONDS = 5.0, 10.0, 10.0  # intervals of probes


@dataclass(frozen=True)
class Plan:
    """A kind of home, and the rows that are played in it one after the other."""

    name: str
    rows: tuple[Row, ...]
    ipv6: bool = True
    cables: bool = False


PLANS = (
    Plan(
        "long ones",
        (
            FirstStart("first start with nothing reachable", Faults.router_unplugged, ("router", "isp"), 20),
            Flapping("WAN link flapping", Faults.wan_cut, "isp", 30),
            # Long enough for all attempts to send the page to be over.
            Outage("WAN cut", Faults.wan_cut, "isp", 15, page_mails=0, hold=147),
            Outage("captive portal", Faults.captive_portal, "captive_portal", 30, CAPTIVE_SECONDS),
        ),
    ),
    Plan(
        "worse than usual",
        (
            Outage("own link down", Faults.own_link_down, "link", 15, pages=0, hold=45),
            Outage("most sites refuse TCP", Faults.sites_refuse_tcp, "web", 30, SITE_SECONDS),
            Warned(
                "+200 ms and jitter on the home side",
                lambda fault: fault.lan_worse(delay=0.1, jitter=0.02),
                "degraded",
                within=90,
                segment="router",
                alert="HighLatency",
                ok_within=90,
            ),
            Warned("IPv6 black hole", Faults.ipv6_black_hole, "ipv6", within=30, alert="IPv6Broken", ok_within=15),
            Warned(
                "resolver slow",
                lambda fault: fault.resolver("slow"),
                "degraded",
                within=90,
                segment="dns",
                alert="DNSFailing",
                ok_within=90,
            ),
            Warned(
                "5 % loss at the provider",
                lambda fault: fault.wan_worse(loss=0.05),
                "degraded",
                within=90,
                segment="isp",
                alert="HighPacketLoss",
                ok_within=90,
            ),
        ),
        cables=True,
    ),
    Plan(
        "without IPv6",
        (
            Harmless("no IPv6 at all", None, 30),
            Harmless("router mute to ping", Faults.router_mute, 35),
            Harmless("provider hop mute", Faults.isp_mute, 35),
            Harmless("one anchor dead", lambda fault: fault.anchor_dead(0), 35),
            Outage("router dead", Faults.router_unplugged, "router", 15),
            Outage("first provider hop dead", Faults.isp_dead, "isp", 15),
            Outage("resolver dead", lambda fault: fault.resolver("mute"), "dns", 20, DNS_SECONDS),
            Outage("resolver says NXDOMAIN", lambda fault: fault.resolver("nxdomain"), "dns", 30, DNS_SECONDS),
            Outage("resolver lies", lambda fault: fault.resolver("wrong"), "dns", 30, DNS_SECONDS),
            Outage("upstream cut", Faults.upstream_cut, "upstream", 15),
        ),
        ipv6=False,
    ),
)
QUIET = Plan("a normal day", ())
ROWS = [row.name for plan in PLANS for row in plan.rows]


@dataclass
class Run:
    """All plans at once, each in a thread. `findings` are those of the rows in `selected`, and one for each plan for
    what belongs to no row.
    """

    selected: frozenset[str]
    findings: dict[str, Finding] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def play(self, plan: Plan) -> None:
        whole = self.findings[plan.name] = Finding()
        try:
            with (
                Home(gadgets=1, ipv6=plan.ipv6, lan_cable=plan.cables, wan_cable=plan.cables) as home,
                WatchedHome(home, TIME_SCALE) as watched,
            ):
                observer = Observer(watched, self.stop)
                if plan is QUIET:
                    self._have_a_day(observer, whole)
                else:
                    began_ns = time.time_ns()
                    self._play_rows(observer, [row for row in plan.rows if row.name in self.selected], whole)
                    whole.passed("all rows", began_ns, MOST_SECONDS)
        except StoppedError:
            whole.problems.append("interrupted")
        except Exception as error:  # noqa: BLE001 - told by the tests of this home, in the main thread
            whole.problems.append(repr(error))

    def _play_rows(self, observer: Observer, rows: list[Row], whole: Finding) -> None:
        for row in rows:
            finding = Finding()
            if not isinstance(row, FirstStart):
                self._await_normality(observer)
            row.play(observer, finding)
            self.findings[row.name] = finding
        observer.hold(SILENCE_SECONDS)
        for row in rows:
            row.account(observer, self.findings[row.name])
        told = [alert.name for alert in observer.watched.hook.alerts(status="firing")]
        whole.count("messages", told, sum(self.findings[row.name].told for row in rows))

    def _have_a_day(self, observer: Observer, whole: Finding) -> None:
        self._await_normality(observer)
        began_ns = time.time_ns()
        seen: set[str] = set()
        observer.until(lambda _: self.done.is_set(), MOST_SECONDS, seen)
        whole.passed("ok for", began_ns, MOST_SECONDS)
        whole.check(seen == {"ok"}, f"verdicts: {seen}")
        whole.count("messages", [*observer.watched.hook.alerts(), *observer.watched.smtp.mails], 0)

    @staticmethod
    def _await_normality(observer: Observer) -> None:
        """The verdict is ok, no outage is open, and the provider's hops are known."""
        if not observer.watched.exporter_started_ns:
            observer.watched.start_watchers()
        assert observer.until(lambda look: look.verdict == "ok" and not look.outage, START_SECONDS), "never ok"
        exporter = observer.watched.exporter
        hops = observer.until(
            lambda _: exporter.value("netvane_probe_rtt_seconds_count", role="isp") >= 3, START_SECONDS
        )
        assert hops, "no hops of the provider"


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """The whole matrix, or those rows of it whose tests are run."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    run = Run(frozenset(param["row"] for param in params if "row" in param))
    plans = [plan for plan in PLANS if any(row.name in run.selected for row in plan.rows)]
    threads = [threading.Thread(target=run.play, args=(plan,), daemon=True) for plan in [*plans, QUIET]]
    try:
        for thread in threads:
            thread.start()
        for thread in threads[:-1]:
            wait_for(thread, MOST_SECONDS)
        run.done.set()
        wait_for(threads[-1], START_SECONDS)
        yield run
    finally:
        run.stop.set()
        for thread in threads:
            thread.join(START_SECONDS)


def wait_for(thread: threading.Thread, seconds: float) -> None:
    """Like `join`, but an interrupt of the tests gets through."""
    deadline = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.5)


def tell(name: str, finding: Finding) -> None:
    figures = ", ".join(f"{what} {value:.1f}".removesuffix(".0") for what, value in finding.figures.items())
    print(f"{name}: {figures}")
    assert not finding.problems


@pytest.mark.parametrize("row", ROWS)
def test_row(run: Run, row: str) -> None:
    plan = next(plan for plan in PLANS if row in (other.name for other in plan.rows))
    assert row in run.findings, f"not played to its end: {run.findings[plan.name].problems}"
    tell(row, run.findings[row])


@pytest.mark.parametrize("plan", [plan.name for plan in PLANS])
def test_nothing_else_is_said(run: Run, plan: str) -> None:
    if plan not in run.findings:
        pytest.skip("none of its rows is run")
    tell(plan, run.findings[plan])


def test_a_normal_day(run: Run) -> None:
    """As long as the rows take, instead of half an hour."""
    tell(QUIET.name, run.findings[QUIET.name])
