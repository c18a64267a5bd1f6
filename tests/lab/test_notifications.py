"""What a real Alertmanager, configured by `netvane render`, tells whom: one true message per event."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.lab.alertmanager import HOST, AlertmanagerMachine, alertmanager_machine
from tests.lab.sinks import WebhookSink
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[AlertmanagerMachine]:
    with alertmanager_machine(tmp_path) as machine:
        yield machine


@pytest.fixture
def webhook(machine: AlertmanagerMachine) -> Iterator[WebhookSink]:
    with WebhookSink(machine.namespace, HOST) as sink:
        yield sink


def test_many_of_a_kind_are_one_message_and_what_lies_behind_a_dead_router_is_silent(
    machine: AlertmanagerMachine, webhook: WebhookSink
) -> None:
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    machine.fire("RouterDown", severity="page", segment="router")
    eventually(lambda: machine.state("RouterDown") == "active", within=10, what="RouterDown")
    for number in range(30):
        machine.fire("SiteDown", severity="page", segment="web", site_name=str(number))
        machine.fire("Flood", severity="page", device=str(number))
    machine.fire("Elsewhere", severity="page", segment="web", site="another home")
    # Fired last, and waits as long as the others: when it is through, those are through or held back.
    machine.fire("Last", severity="page")
    webhook.wait_for("Last", within=60)
    eventually(lambda: len(webhook.messages) >= 4, within=10, what="four messages")
    assert machine.state("SiteDown") == "suppressed"
    told = sorted((message["groupLabels"]["alertname"], len(message["alerts"])) for message in webhook.messages)
    assert told == [("Elsewhere", 1), ("Flood", 30), ("Last", 1), ("RouterDown", 1)]
    assert {message["receiver"] for message in webhook.messages} == {"owner"}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_heartbeat_beats_at_its_interval_and_nobody_else_hears_it(
    machine: AlertmanagerMachine, webhook: WebhookSink
) -> None:
    with WebhookSink(machine.namespace, HOST, 9098) as beats:
        machine.configure({"webhook": {"url": webhook.url}, "heartbeat": {"url": beats.url, "interval": "1m"}})
        machine.start()
        machine.fire("Watchdog", severity="none")
        eventually(lambda: len(beats.alerts()) >= 3, within=200, what="three beats")
    first, *_, third = beats.alerts()
    assert round((third.arrived_ns - first.arrived_ns) / 60e9) == 2  # intervals
    assert webhook.messages == []


@pytest.mark.long
def test_the_end_is_told_once_and_with_its_time(machine: AlertmanagerMachine, webhook: WebhookSink) -> None:
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    machine.fire("RouterDown", severity="page", segment="router", seconds=15)
    firing = webhook.wait_for("RouterDown", "firing", within=60)
    resolved = webhook.wait_for("RouterDown", "resolved", within=90)
    assert resolved.starts_at == firing.starts_at
    lasted = datetime.fromisoformat(resolved.ends_at) - datetime.fromisoformat(resolved.starts_at)
    assert round(lasted.total_seconds()) == 15
    assert len(webhook.messages) == 2


def test_the_end_of_an_outage_is_told_once_though_alertmanager_restarts(
    machine: AlertmanagerMachine, webhook: WebhookSink
) -> None:
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    machine.fire("InternetOutageEnded", severity="warning", ended="one")
    webhook.wait_for("InternetOutageEnded", within=20)
    eventually(lambda: machine.tried("webhook") == 1, what="Alertmanager to have noted it")
    assert machine.process.stop() == 0
    machine.start()
    for ended in ("one", "two"):  # one is still firing, two is another outage's
        machine.fire("InternetOutageEnded", severity="warning", ended=ended)
    # Fired last, and waits longer than those: when it is through, they are through or known.
    machine.fire("Last", severity="page")
    webhook.wait_for("Last", within=60)
    assert [alert.labels["ended"] for alert in webhook.alerts("InternetOutageEnded")] == ["one", "two"]


@pytest.mark.long
def test_a_page_that_reached_nobody_is_not_sent_when_the_outage_is_over(
    machine: AlertmanagerMachine, webhook: WebhookSink
) -> None:
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    webhook.behaviour = "fail"
    machine.fire("InternetDown", severity="page", began="then", seconds=10)
    eventually(lambda: webhook.refused, within=20, what="an attempt")
    eventually(lambda: machine.state("InternetDown") == "unknown", within=60, what="the end of the outage")
    eventually(lambda: machine.given_up("webhook"), within=60, what="the end of the attempts")
    webhook.behaviour = "ok"
    machine.fire("Last", severity="page")
    webhook.wait_for("Last", within=60)
    assert webhook.alerts("InternetDown") == []


def test_during_an_outage_only_the_outage_is_told(machine: AlertmanagerMachine, webhook: WebhookSink) -> None:
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    machine.fire("InternetDown", severity="none")  # lasts as long as the outage
    eventually(lambda: machine.state("InternetDown") == "active", within=10, what="the outage")
    machine.fire("InternetDown", severity="page", began="then")
    for name, segment in (("RouterDown", "router"), ("DNSFailing", "dns"), ("HighPacketLoss", "upstream")):
        machine.fire(name, severity="page", segment=segment)
    machine.fire("Last", severity="page")
    webhook.wait_for("Last", within=60)
    assert [message["groupLabels"]["alertname"] for message in webhook.messages] == ["InternetDown", "Last"]
