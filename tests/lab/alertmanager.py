"""Alertmanager as `netvane render` configures it, in a namespace."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netvane.common.clock import NANOSECONDS
from netvane.common.settings import load
from netvane.up.alertmanager_client import Alertmanager
from netvane.up.render import render
from tests.lab.netns import Namespace
from tests.lab.processes import Process
from tests.lab.rack import Rack
from tests.lab.wait import eventually

HOST = "127.0.0.1"
URL = f"http://{HOST}:9093"


@dataclass
class AlertmanagerMachine:
    """Call `configure`, then `start`; `directory` holds what was rendered."""

    namespace: Namespace
    directory: Path
    process: Process = field(init=False)

    @property
    def config(self) -> Path:
        return self.directory / "netvane.yml"

    def configure(self, notify: Mapping[str, Any]) -> None:
        """Write and render netvane.yml; JSON is YAML."""
        self.config.write_text(json.dumps({"site": "cabin", "notify": notify}))
        render(load(self.config), self.directory)

    def start(self, env: Mapping[str, str] | None = None) -> None:
        self.process = process = self.namespace.start(
            [
                *("prometheus-alertmanager", "--cluster.listen-address=", f"--web.listen-address={HOST}:9093"),
                *("--config.file", str(self.directory / "alertmanager.yml")),
                *("--storage.path", str(self.directory / "data")),
            ],
            env=env,
        )

        def is_ready() -> bool:
            assert process.running, process.output()
            try:
                return self.namespace.http(URL + "/-/ready").status == 200
            except OSError:
                return False

        eventually(is_ready, within=20, what="Alertmanager")

    def fire(self, name: str, *, seconds: float = 3600.0, **labels: str) -> None:
        """An alert as Prometheus would send it, from now on for `seconds`."""
        now = time.time_ns()
        labels = {"alertname": name, "site": "cabin", **labels}
        ends = now + round(seconds * NANOSECONDS)
        self.namespace.call(lambda: Alertmanager(URL).post(labels, {"summary": name}, now, ends))

    def state(self, name: str) -> str:
        """`active` or `suppressed`."""
        return self.namespace.call(lambda: Alertmanager(URL).state("alertname", name))

    def given_up(self, integration: str) -> float:
        """Notifications that were not delivered, and will not be tried again as they are."""
        return self.namespace.call(lambda: Alertmanager(URL).sent(integration)).given_up

    def begun(self, integration: str) -> float:
        """Notifications that Alertmanager has begun, those about nothing but ends included."""
        return self.namespace.call(lambda: Alertmanager(URL).sent(integration)).notifications

    def tried(self, integration: str) -> float:
        """Requests that Alertmanager has made and had an answer to."""
        return self.namespace.call(lambda: Alertmanager(URL).sent(integration)).attempts


@contextmanager
def alertmanager_machine(directory: Path) -> Iterator[AlertmanagerMachine]:
    with Rack() as rack:
        (namespace,) = rack.namespaces("am")
        yield AlertmanagerMachine(namespace, directory)
