"""The whole fault matrix: each fault on real packets, through exporter, Prometheus and Alertmanager, to the messages
that a webhook on the LAN and a mail server behind the WAN receive.

Several homes are broken at the same time, each along a list of its own. Only the waiting of alerts is compressed, by
`netvane render --time-scale`. Each test is a row and prints its figures. Clock steps are tested on the records
(tests/unit/test_latency_verdict.py).
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import pytest

from tests.lab.faults import Faults
from tests.lab.home import Home
from tests.lab.matrix import Finding, Observer, StoppedError
from tests.lab.matrix_rows import FirstStart, Flapping, Harmless, Outage, Row, Warned
from tests.lab.watched import WatchedHome

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(1500)]

HOMES_AT_ONCE = 5  # most of the time each of them waits
TIME_SCALE = 0.1
HALF_HOUR_SECONDS = 1800.0
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
        "coming and going",
        (
            Flapping("WAN link flapping", Faults.wan_cut, "isp", 30),
            Outage("resolver dead", lambda fault: fault.resolver("mute"), "dns", 20, DNS_SECONDS),
        ),
    ),
    Plan(
        "worse than usual",
        (
            # With that, what is usual is known to the exporter and to Prometheus.
            Harmless("a normal half hour", (), HALF_HOUR_SECONDS * TIME_SCALE),
            Warned(
                "+200 ms and jitter on the home side",
                lambda fault: fault.lan_worse(delay=0.1, jitter=0.02),
                "degraded",
                within=90,
                segment="router",
                alert="HighLatency",
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
            Warned("IPv6 black hole", Faults.ipv6_black_hole, "ipv6", within=30, alert="IPv6Broken", ok_within=15),
        ),
        cables=True,
    ),
    Plan(
        "without IPv6",
        (
            Harmless("no IPv6 at all", (), 20),
            Harmless(
                "router mute to ping, provider hop mute, one anchor dead",
                (Faults.router_mute, Faults.isp_mute, lambda fault: fault.anchor_dead(0)),
                20,
            ),
            Outage("router dead", Faults.router_unplugged, "router", 15),
            Outage("first provider hop dead", Faults.isp_dead, "isp", 15),
            Outage("upstream cut", Faults.upstream_cut, "upstream", 15),
            Outage("resolver says NXDOMAIN", lambda fault: fault.resolver("nxdomain"), "dns", 30, DNS_SECONDS),
        ),
        ipv6=False,
    ),
    Plan(
        "from the first start on",
        (
            FirstStart("first start with nothing reachable", Faults.router_unplugged, ("router", "isp"), 20),
            # Long enough for all attempts to send the page to be over.
            Outage("WAN cut", Faults.wan_cut, "isp", 15, page_mails=0, hold=147),
            Outage("own link down", Faults.own_link_down, "link", 15, pages=0, hold=30),
        ),
    ),
    Plan(
        "led astray",
        (
            Outage("captive portal", Faults.captive_portal, "captive_portal", 30, CAPTIVE_SECONDS),
            Outage("most sites refuse TCP", Faults.sites_refuse_tcp, "web", 30, SITE_SECONDS),
            Outage("resolver lies", lambda fault: fault.resolver("wrong"), "dns", 30, DNS_SECONDS),
            Warned(
                "resolver slow",
                lambda fault: fault.resolver("slow"),
                "degraded",
                within=90,
                segment="dns",
                alert="DNSFailing",
                ok_within=90,
            ),
        ),
    ),
)
ROWS = [row.name for plan in PLANS for row in plan.rows]


@dataclass
class Run:
    """Plans, each played in a thread of its own. `findings` are those of the rows in `selected`, and one for each plan
    for what belongs to no row.
    """

    selected: frozenset[str]
    findings: dict[str, Finding] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def play(self, plan: Plan) -> None:
        whole = self.findings[plan.name] = Finding()
        try:
            with (
                Home(gadgets=1, ipv6=plan.ipv6, lan_cable=plan.cables, wan_cable=plan.cables) as home,
                WatchedHome(home, TIME_SCALE) as watched,
            ):
                observer = Observer(watched, self.stop)
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
    with ThreadPoolExecutor(max_workers=HOMES_AT_ONCE) as homes:
        try:
            wait([homes.submit(run.play, plan) for plan in plans])
            yield run
        finally:
            run.stop.set()


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
