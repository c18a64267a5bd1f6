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
