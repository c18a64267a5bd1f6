"""What `netvane test-alert` asks of a running Alertmanager: its API v2 and its own metrics."""

import base64
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from netvane.common.clock import rfc3339
from netvane.up.http_call import CallError, call

T = TypeVar("T")


class AlertmanagerError(Exception):
    """It cannot be reached, or does not answer as an Alertmanager does."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How often one integration (`email`, `webhook`, of all receivers together) was used since Alertmanager started.

    `notifications` that were begun; `attempts` and `failed_attempts` at them, since each is tried again until it works
    or time is up; `given_up` counts the notifications that were not delivered in the end.
    """

    notifications: float = 0
    attempts: float = 0
    failed_attempts: float = 0
    given_up: float = 0

    def since(self, before: "Sent") -> "Sent":
        return Sent(
            self.notifications - before.notifications,
            self.attempts - before.attempts,
            self.failed_attempts - before.failed_attempts,
            self.given_up - before.given_up,
        )


_COUNTERS = {
    "alertmanager_notifications_total": "notifications",
    "alertmanager_notification_requests_total": "attempts",
    "alertmanager_notification_requests_failed_total": "failed_attempts",
    "alertmanager_notifications_failed_total": "given_up",
}


class _Receiver(msgspec.Struct, frozen=True):
    name: str


class _Status(msgspec.Struct, frozen=True):
    state: str


class _Alert(msgspec.Struct, frozen=True):
    status: _Status


class Alertmanager:
    """Every method raises AlertmanagerError."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def receivers(self) -> frozenset[str]:
        """The names in its configuration."""
        return frozenset(receiver.name for receiver in self._get("/api/v2/receivers", list[_Receiver]))

    def post(self, labels: Mapping[str, str], annotations: Mapping[str, str], starts_ns: int, ends_ns: int) -> None:
        """Raise an alert, or end it with an `ends_ns` that has passed; times are Unix nanoseconds."""
        alert = {
            "labels": dict(labels),
            "annotations": dict(annotations),
            "startsAt": rfc3339(starts_ns),
            "endsAt": rfc3339(ends_ns),
        }
        self._call("/api/v2/alerts", msgspec.json.encode([alert]))

    def state(self, label: str, value: str) -> str:
        """`active`, `suppressed` (by a silence or another alert), `unprocessed`; `unknown` where there is no such."""
        query = urllib.parse.urlencode({"filter": f'{label}="{value}"'})
        alerts = self._get(f"/api/v2/alerts?{query}", list[_Alert])
        return alerts[0].status.state if alerts else "unknown"

    def sent(self, integration: str) -> Sent:
        text = self._call("/metrics").decode(errors="replace")
        counts = dict.fromkeys(_COUNTERS.values(), 0.0)
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    # Newer versions split failures by reason: the sum is the same.
                    if sample.name in _COUNTERS and sample.labels.get("integration") == integration:
                        counts[_COUNTERS[sample.name]] += sample.value
        except ValueError as error:
            raise AlertmanagerError(f"{self.url} does not answer as an Alertmanager does") from error
        return Sent(**counts)

    def _get(self, path: str, model: type[T]) -> T:
        try:
            return msgspec.json.decode(self._call(path), type=model)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AlertmanagerError(f"{self.url} does not answer as an Alertmanager does") from error

    def _call(self, path: str, body: bytes | None = None) -> bytes:
        try:
            return call(self.url + path, body, {"Content-Type": "application/json"} if body else {}, 5.0)
        except CallError as error:
            raise AlertmanagerError(f"Alertmanager at {self.url}: {error}") from error


def basic_auth(username: str, password: str) -> dict[str, str]:
    """The header of RFC 7617."""
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}
