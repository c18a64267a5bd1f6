"""Running an exporter in a namespace and reading its metrics."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.netns import Namespace
from tests.lab.processes import NETVANE, Process
from tests.lab.wait import eventually

PORTS = {"latency": 9741, "hosts": 9742, "dhcp": 9743, "flows": 9744}

_SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass
class RunningExporter:
    """An exporter and where to ask it."""

    name: str
    process: Process
    namespace: Namespace
    directory: Path
    config: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{PORTS[self.name]}"

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of `name` that have `labels`; 0 where there are none."""
        return sum(value for found, value in self.samples(name) if labels.items() <= found.items())

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        return [(labels, value) for found, labels, value in self.scrape(name) if found == name]

    def scrape(self, prefix: str) -> list[tuple[str, dict[str, str], float]]:
        """Name, labels and value of the samples whose names begin with `prefix`, all of one moment."""
        text = self.namespace.http(self.url + "/metrics").text
        matches = (_SAMPLE.fullmatch(line) for line in text.splitlines() if line.startswith(prefix))
        return [
            (match["name"], dict(_LABEL.findall(match["labels"] or "")), float(match["value"]))
            for match in matches
            if match
        ]

    def is_ready(self) -> bool:
        assert self.process.running, self.process.output()
        try:
            return self.namespace.http(self.url + "/-/ready").status == 200
        except OSError:
            return False

    def configure(self, settings: dict[str, Any]) -> None:
        """Write netvane.yml; JSON is YAML."""
        self.config.write_text(json.dumps(settings))


@contextmanager
def running_exporter(
    name: str,
    namespace: Namespace,
    directory: Path,
    settings: dict[str, Any] | None = None,
    through: Sequence[str] = (),
) -> Iterator[RunningExporter]:
    """`netvane NAME` in `namespace`, ready, with its state and sockets below `directory`.

    `through`: a command that starts it, such as setpriv(1).
    """
    config = directory / "netvane.yml"
    config.write_text(json.dumps(settings or {}))
    command = [
        *through,
        *(*NETVANE, name, f"--config.file={config}"),
        *(f"--storage.data-dir={directory / 'data'}", f"--storage.run-dir={directory}"),
    ]
    with namespace.start(command) as process:
        exporter = RunningExporter(name, process, namespace, directory, config)
        eventually(exporter.is_ready, within=20, what=f"netvane {name} ready")
        yield exporter
