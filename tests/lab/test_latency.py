"""The latency exporter on real packets: exact loss, true round-trip times, and answers of every bad kind."""

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.lab import addresses as at
from tests.lab.certificate import make_certificate
from tests.lab.echo import LATE_SECONDS
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.processes import PYTHON_ENV
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

GADGET = "198.51.100.20"


def target(name: str, host: str, **more: str) -> dict[str, str]:
    return {"name": name, "host": host, "interval": "200ms", **more}


def sent(exporter: RunningExporter, name: str) -> float:
    return exporter.value("netvane_probe_sent_total", target=name)


def answered(exporter: RunningExporter, name: str) -> float:
    return exporter.value("netvane_probe_rtt_seconds_count", target=name)


def unanswered(exporter: RunningExporter, name: str) -> float:
    """Probes that were sent and not answered, by one scrape."""
    found = {
        sample: value for sample, labels, value in exporter.scrape("netvane_probe_") if labels.get("target") == name
    }
    return found["netvane_probe_sent_total"] - found["netvane_probe_rtt_seconds_count"]


def test_routers_are_found_and_answer_by_both_families(home: Home, tmp_path: Path) -> None:
    with running_exporter("latency", home.mon, tmp_path) as exporter:
        eventually(lambda: answered(exporter, "router") >= 3 and answered(exporter, "router6") >= 3, what="answers")
        families = {labels["family"] for labels, _ in exporter.samples("netvane_probe_sent_total")}
        assert families == {"ipv4", "ipv6"}
        assert exporter.value("netvane_probe_answers_discarded_total") == 0
        assert exporter.value("netvane_probe_errors_total", probe="icmp") == 0
        published = json.loads((tmp_path / "network.json").read_text())["data"]
        assert (published["router"], published["subnet"]) == ("198.51.100.1", "198.51.100.0/24")


def test_round_trip_time_and_jitter_are_the_lines(tmp_path: Path) -> None:
    with Home(gadgets=1, wan_cable=True) as home:
        home.wan_cable.set(delay=0.020)
        with running_exporter(
            "latency", home.mon, tmp_path, {"latency": {"targets": [target("anchor", at.ANCHORS4[0])]}}
        ) as exporter:
            eventually(lambda: answered(exporter, "anchor") >= 20, what="answers")
            mean = exporter.value("netvane_probe_rtt_seconds_sum", target="anchor") / answered(exporter, "anchor")
            assert 0.040 <= mean < 0.060
            assert exporter.value("netvane_probe_rtt_seconds_bucket", target="anchor", le="0.04") == 0
            # A fading mean, into which one late frame goes too.
            eventually(lambda: exporter.value("netvane_probe_jitter_seconds", target="anchor") < 0.010, what="calm")


def test_dead_slow_and_unknown_targets_delay_nobody(home: Home, tmp_path: Path) -> None:
    targets = [
        target("dead", "198.51.100.99"),
        target("unreachable", "203.0.113.250"),
        target("unknown", "no-such-name.example"),
        target("good", at.ANCHORS4[0]),
    ]
    with running_exporter("latency", home.mon, tmp_path, {"latency": {"targets": targets}}) as exporter:
        eventually(lambda: answered(exporter, "good") >= 25, within=20, what="answers of the good one")
        eventually(lambda: unanswered(exporter, "good") <= 1, what="none lost")
        both = {labels["target"]: value for labels, value in exporter.samples("netvane_probe_sent_total")}
        assert abs(both["good"] - both["dead"]) <= 3  # the same beat
        assert answered(exporter, "dead") == answered(exporter, "unreachable") == 0
        assert exporter.value("netvane_probe_errors_total", target="unknown", reason="unresolved") >= 20
        assert exporter.value("netvane_resolve_failures_total") >= 1


def test_a_name_is_resolved_by_the_homes_own_resolver(home: Home, tmp_path: Path) -> None:
    targets = [target("site4", "site1.example"), target("site6", "site1.example", family="ipv6")]
    with running_exporter("latency", home.mon, tmp_path, {"latency": {"targets": targets}}) as exporter:
        eventually(lambda: answered(exporter, "site4") >= 3 and answered(exporter, "site6") >= 3, what="answers")


def test_pages_and_names_over_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "DNS:check.example")
    settings = {"network": {"resolvers": [at.RESOLVER4]}, "latency": latency_settings(certificate)}
    with (
        Home(gadgets=1, certificate=certificate) as home,
        running_exporter("latency", home.mon, tmp_path, settings) as exporter,
    ):
        answers = "netvane_probe_rtt_seconds_count"
        eventually(lambda: exporter.value(answers, probe="https") and exporter.value(answers, probe="dns_dot"))
        assert exporter.value("netvane_probe_errors_total", probe="https") == 0
        assert exporter.value("netvane_probe_errors_total", probe="dns_dot") == 0
        pages = [labels for labels, _ in exporter.samples("netvane_http_phase_seconds")]
        phases = [labels["phase"] for labels in pages if labels["probe"] == "https"]
        assert phases == ["resolve", "connect", "tls", "first_byte", "transfer"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("twice", "duplicate"), ("altered", "altered"), ("short", "short"), ("foreign", "unknown"), ("wrong_type", None)],
)
def test_answers_of_every_bad_kind_are_counted_and_never_counted_as_answers(
    home: Home, tmp_path: Path, behaviour: str, reason: str | None
) -> None:
    gadget = home.gadgets[0].ns
    gadget.sysctl({"net.ipv4.icmp_echo_ignore_all": 1})
    settings = {"latency": {"targets": [target("odd", GADGET), target("good", at.ANCHORS4[0])]}}
    with (
        gadget.start([sys.executable, "-m", "tests.lab.echo", behaviour], env=PYTHON_ENV),
        running_exporter("latency", home.mon, tmp_path, settings) as exporter,
    ):
        eventually(lambda: answered(exporter, "good") >= 10, what="answers of the good one")
        if behaviour in {"twice", "wrong_type"}:
            eventually(lambda: answered(exporter, "odd") >= 5, what="one answer a probe")
            assert answered(exporter, "odd") <= sent(exporter, "odd")
        else:
            assert answered(exporter, "odd") == 0
        if reason is not None:
            name = "netvane_probe_answers_discarded_total"
            eventually(lambda: exporter.value(name, reason=reason) >= 5, what=reason)


def test_a_late_answer_counts_once_with_its_rtt(home: Home, tmp_path: Path) -> None:
    gadget = home.gadgets[0].ns
    gadget.sysctl({"net.ipv4.icmp_echo_ignore_all": 1})
    with (
        gadget.start([sys.executable, "-m", "tests.lab.echo", "late"], env=PYTHON_ENV),
        running_exporter("latency", home.mon, tmp_path, {"latency": {"targets": [target("late", GADGET)]}}) as exporter,
    ):
        eventually(lambda: answered(exporter, "late") >= 10, within=20, what="late answers")
        assert exporter.value("netvane_probe_rtt_seconds_bucket", target="late", le="2.0") == 0
        mean = exporter.value("netvane_probe_rtt_seconds_sum", target="late") / answered(exporter, "late")
        assert LATE_SECONDS <= mean < LATE_SECONDS + 0.5
        assert exporter.value("netvane_probe_answers_discarded_total") == 0


def test_loss_is_exact_through_an_unplugged_router(home: Home, tmp_path: Path) -> None:
    """Every probe is answered, lost, or still on its way: as many are lost as were sent while the router was away."""
    with running_exporter("latency", home.mon, tmp_path, {"latency": {"interval": "200ms"}}) as exporter:
        eventually(lambda: answered(exporter, "router") >= 5, what="answers")
        with home.fault.router_unplugged():
            before = sent(exporter, "router")
            eventually(lambda: sent(exporter, "router") >= before + 10, what="probes into the void")
        during = sent(exporter, "router")
        after = answered(exporter, "router")
        eventually(lambda: answered(exporter, "router") >= after + 10, within=20, what="answers again")
        lost = unanswered(exporter, "router")
        # Three more may have left between the fault and the reading on either side; the last may be on its way.
        assert during - before - 3 <= lost <= during - before + 12


def test_own_link_down_is_loss_and_over_when_it_is_up(home: Home, tmp_path: Path) -> None:
    with running_exporter("latency", home.mon, tmp_path, {"latency": {"interval": "200ms"}}) as exporter:
        eventually(lambda: answered(exporter, "router") >= 5, what="answers")
        with home.fault.own_link_down():
            lost = unanswered(exporter, "router") + 5
            eventually(lambda: unanswered(exporter, "router") >= lost, what="loss")
        answers = answered(exporter, "router")
        eventually(lambda: answered(exporter, "router") >= answers + 3, within=20, what="answers again")


def test_reload_keeps_what_stays(home: Home, tmp_path: Path) -> None:
    settings = {"latency": {"targets": [target("a", at.ANCHORS4[0]), target("b", at.ANCHORS4[1])]}}
    with running_exporter("latency", home.mon, tmp_path, settings) as exporter:
        eventually(lambda: answered(exporter, "a") >= 5 and answered(exporter, "b") >= 5, what="answers")
        counted = answered(exporter, "a")
        exporter.configure({"latency": {"targets": [target("a", at.ANCHORS4[0])], "payload_bytes": 64}})
        exporter.process.signal(signal.SIGHUP)
        eventually(lambda: sent(exporter, "b") == 0, what="b is gone")
        eventually(lambda: answered(exporter, "a") >= counted + 10, what="a goes on")
        assert unanswered(exporter, "a") <= 1


def test_without_ping_sockets_it_says_so_and_goes_on_when_they_come(home: Home, tmp_path: Path) -> None:
    home.mon.sysctl({"net.ipv4.ping_group_range": "1 0"})
    with running_exporter("latency", home.mon, tmp_path) as exporter:
        eventually(lambda: "ping_group_range" in home.mon.http(exporter.url + "/").text, what="the hint")
        eventually(lambda: exporter.value("netvane_probe_errors_total", reason="no_socket") >= 1, what="the count")
        home.mon.sysctl({"net.ipv4.ping_group_range": "0 2147483647"})
        eventually(lambda: answered(exporter, "router") >= 1, within=20, what="answers")
        eventually(lambda: "ping_group_range" not in home.mon.http(exporter.url + "/").text, within=20, what="no hint")
