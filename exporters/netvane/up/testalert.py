"""`netvane test-alert`: one alert through every configured receiver, and what became of it.

Each receiver has a route of its own for alerts with the label `netvane_test` (prometheus/alertmanager.yml), so that a
test goes to it alone, at once, without a second message when it ends. What happened is read from Alertmanager's own
counters. These are kept per kind of receiver, not per receiver, so where another notification of the same kind went
out meanwhile, the test is not to be trusted and is done again.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from netvane.common.clock import NANOSECONDS, Clock
from netvane.up.alertmanager_client import Alertmanager, Sent
from netvane.up.alertmanager_file import TEST_LABEL, test_receiver
from netvane.up.rehearsal import hook_refusal, mail_refusal, without_secrets
from netvane.up.settings import Notify

RUN_LABEL = "netvane_test_run"
POLL_SECONDS = 0.2
TRIES = 3

Fate = Literal["pending", "accepted", "given up", "mixed up"]


@dataclass(frozen=True, slots=True)
class Receiver:
    """`kind` is what Alertmanager's metrics call it; `refusal` says why it takes no message, None if it would."""

    name: str
    kind: Literal["email", "webhook"]
    place: str
    refusal: Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to tell about one receiver."""

    receiver: Receiver
    accepted: bool
    words: str


def configured_receivers(notify: Notify) -> tuple[Receiver, ...]:
    """Raises ConfigError where a secret cannot be read."""
    found = []
    if (mail := notify.mail) is not None:
        place = f"{', '.join(mail.to)} through {mail.smarthost}"
        found.append(Receiver("mail", "email", place, lambda: mail_refusal(mail)))
    if (webhook := notify.webhook) is not None:
        place = without_secrets(webhook.secret_url())
        found.append(Receiver("webhook", "webhook", place, lambda: hook_refusal(webhook)))
    if (heartbeat := notify.heartbeat) is not None:
        place = without_secrets(heartbeat.secret_url())
        found.append(Receiver("heartbeat", "webhook", place, lambda: hook_refusal(heartbeat)))
    return tuple(found)


def fate(sent: Sent) -> Fate:
    """What `sent` since the test alert says about it."""
    if sent.attempts > sent.failed_attempts:
        return "accepted" if sent.notifications == 1 else "mixed up"
    return "given up" if sent.given_up else "pending"


def await_fate(look: Callable[[], Sent], deadline: float) -> Fate:
    """Look again and again, until `deadline` (time.monotonic()), for what became of the test alert."""
    seen: Fate = "pending"
    while seen == "pending" and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        seen = fate(look())
        # Or was that another one, just before ours? Or an attempt that was counted and its failure not yet?
        if seen == "accepted":
            time.sleep(POLL_SECONDS)
            seen = fate(look())
    return seen


def run_tests(
    alertmanager: Alertmanager, receivers: tuple[Receiver, ...], site: str, timeout_seconds: float, clock: Clock
) -> Iterator[Outcome]:
    """One receiver after the other. Raises AlertmanagerError."""
    known = alertmanager.receivers()
    for receiver in receivers:
        if test_receiver(receiver.name) in known:
            yield _test(alertmanager, receiver, site, timeout_seconds, clock)
        else:
            yield Outcome(receiver, accepted=False, words="unknown to Alertmanager: render its configuration again")


def _test(alertmanager: Alertmanager, receiver: Receiver, site: str, timeout_seconds: float, clock: Clock) -> Outcome:
    for _ in range(TRIES):
        run = secrets.token_hex(4)
        seen, state = _send(alertmanager, receiver, {"site": site, RUN_LABEL: run}, timeout_seconds, clock)
        if seen == "accepted":
            return Outcome(receiver, accepted=True, words="accepted")
        if seen != "mixed up":
            break
    else:
        words = "cannot be told: Alertmanager sent other messages at the same time; try again later"
        return Outcome(receiver, accepted=False, words=words)
    if state == "suppressed":
        return Outcome(receiver, accepted=False, words="not sent: a silence in Alertmanager covers it")
    verdict = "refused" if seen == "given up" else f"not accepted within {timeout_seconds:g} s"
    why = receiver.refusal() or "why is in Alertmanager's log: this command itself was not refused"
    return Outcome(receiver, accepted=False, words=f"{verdict}: {why}")


def _send(
    alertmanager: Alertmanager, receiver: Receiver, labels: dict[str, str], timeout_seconds: float, clock: Clock
) -> tuple[Fate, str]:
    """Raise an alert, see what becomes of it, end it; its fate and its last state in Alertmanager."""
    labels = {"alertname": "NetvaneTest", "severity": "none", TEST_LABEL: receiver.name, **labels}
    annotations = {
        "summary": f"Netvane's test alert for {receiver.name}",
        "description": "Somebody ran `netvane test-alert`. Nothing is wrong, and nothing needs to be done.",
    }
    starts_ns = clock.wall_ns()
    deadline = time.monotonic() + timeout_seconds
    before = alertmanager.sent(receiver.kind)
    # Its end is set beforehand, in case that this command dies before it can end it.
    alertmanager.post(labels, annotations, starts_ns, starts_ns + round((timeout_seconds + 60) * NANOSECONDS))
    try:
        seen = await_fate(lambda: alertmanager.sent(receiver.kind).since(before), deadline)
        return seen, alertmanager.state(RUN_LABEL, labels[RUN_LABEL])
    finally:
        alertmanager.post(labels, annotations, starts_ns, clock.wall_ns())
