"""A home that Netvane watches: the latency exporter with its helper, Prometheus and Alertmanager as `netvane render`
configures them, a webhook on the LAN and a mail server beyond the WAN.
"""

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from netvane.common.clock import NANOSECONDS
from tests.lab import addresses as at
from tests.lab.alertmanager import AlertmanagerMachine
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.processes import NETVANE, Process, run
from tests.lab.sinks import SmtpSink, WebhookSink
from tests.lab.wait import eventually

SETTINGS = {"network": {"resolvers": [at.ROUTER4]}, "latency": latency_settings()}
ABSENT = tuple(f"--without={job}" for job in ("node", "hosts", "dhcp", "flows"))
PROMETHEUS = "http://127.0.0.1:9090"


def netvane(*arguments: str) -> str:
    """What ``netvane …`` writes."""
    return run([*NETVANE, *arguments]).stdout


def running_raw(home: Home, directory: Path) -> Process:
    command = [*NETVANE, "raw", "--run-dir", str(directory), "--interface", "eth0"]
    return home.mon.start(command)


@dataclass(frozen=True, slots=True)
class Look:
    """What the exporter says at one moment; times are wall clock nanoseconds, 0 for none."""

    verdict: str
    segment: str | None
    outage: bool
    last_start_ns: int
    last_end_ns: int


class WatchedHome:
    """``with WatchedHome(home, 0.1) as watched: watched.start_watchers()``; `hook` and `smtp` take messages before.

    `time_scale`: what alerts wait is multiplied by it.
    """

    hook: WebhookSink
    smtp: SmtpSink
    exporter: RunningExporter

    def __init__(self, home: Home, time_scale: float) -> None:
        self.home = home
        self._time_scale = time_scale
        self._stack = ExitStack()
        self.directory = home.rack.directory / "watched"
        self.exporter_started_ns = 0
        self.exporter_ready_ns = 0

    def __enter__(self) -> Self:
        self.directory.mkdir()
        gadget = self.home.gadgets[0]
        self.hook = self._stack.enter_context(WebhookSink(gadget.ns, gadget.address))
        self.smtp = self._stack.enter_context(SmtpSink(self.home.net))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_watchers(self) -> None:
        """Alertmanager, Prometheus, helper and exporter, each ready before the next: nobody is down for a start."""
        mail = {"to": ["owner@example.org"], "sender": "netvane@example.org", "require_tls": False}
        mail["smarthost"] = f"{self.smtp.address}:{self.smtp.port}"
        settings = {**SETTINGS, "site": "lab", "notify": {"webhook": {"url": self.hook.url}, "mail": mail}}
        config = self.directory / "netvane.yml"
        config.write_text(json.dumps(settings))
        rendered = self.directory / "rendered"
        netvane("render", str(rendered), f"--config.file={config}", f"--time-scale={self._time_scale}", *ABSENT)
        AlertmanagerMachine(self.home.mon, rendered).start()
        self._start_prometheus(rendered)
        self._stack.enter_context(running_raw(self.home, self.directory))
        self.exporter_started_ns = time.time_ns()
        running = running_exporter("latency", self.home.mon, self.directory, settings)
        self.exporter = self._stack.enter_context(running)
        self.exporter_ready_ns = time.time_ns()

    def _start_prometheus(self, rendered: Path) -> None:
        process = self.home.mon.start(
            [
                *("prometheus", f"--config.file={rendered / 'prometheus.yml'}", "--web.listen-address=127.0.0.1:9090"),
                f"--storage.tsdb.path={self.directory / 'prometheus'}",
            ]
        )

        def is_ready() -> bool:
            assert process.running, process.output()
            try:
                return self.home.mon.http(f"{PROMETHEUS}/-/ready").status == 200
            except OSError:
                return False

        def knows_alertmanager() -> bool:
            # Until then, which takes it five seconds, alerts are dropped, and sent again only a minute later.
            text = self.home.mon.http(f"{PROMETHEUS}/metrics").text
            return "prometheus_notifications_alertmanagers_discovered 1" in text

        eventually(is_ready, within=30, what="Prometheus")
        eventually(knows_alertmanager, within=30, what="Alertmanager in Prometheus")

    def look(self) -> Look:
        assert self.exporter.process.running, self.exporter.process.output()
        # Of what is one-hot, the one.
        true = {name: (labels, value) for name, labels, value in self.exporter.scrape("netvane_") if value}

        def label(name: str, key: str) -> str | None:
            return true[name][0][key] if name in true else None

        def moment(name: str) -> int:
            return round(true[name][1] * NANOSECONDS) if name in true else 0

        return Look(
            label("netvane_verdict", "verdict") or "none",
            label("netvane_degraded", "segment"),
            "netvane_outage_active" in true,
            moment("netvane_outage_last_start_timestamp_seconds"),
            moment("netvane_outage_last_end_timestamp_seconds"),
        )

    def query(self, promql: str) -> list[dict[str, Any]]:
        """An instant query's samples."""
        answer = json.loads(self.home.mon.http(f"{PROMETHEUS}/api/v1/query?{urlencode({'query': promql})}").text)
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def outages(self) -> list[dict[str, Any]]:
        """What `netvane outages` lists, oldest first."""
        places = [f"--storage.data-dir={self.directory / 'data'}", f"--storage.run-dir={self.directory}"]
        listed: list[dict[str, Any]] = json.loads(netvane("outages", "--format=json", *places))["outages"]
        return listed


def label_ns(label: str) -> int:
    """The moment in a label `began` or `ended`, which is as Go writes it: ``2026-01-02 15:04:05.25 +0000 UTC``."""
    moment, _, fraction = label.removesuffix(" +0000 UTC").partition(".")
    whole = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return round(whole.timestamp()) * NANOSECONDS + int(fraction.ljust(9, "0"))


def as_text(wall_ns: int) -> str:
    """A moment as messages have it, in local time."""
    return f"{datetime.fromtimestamp(wall_ns // NANOSECONDS).astimezone():%Y-%m-%d %H:%M:%S %Z}"
