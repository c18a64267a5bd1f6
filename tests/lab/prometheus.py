"""A Prometheus of the test's own that scrapes faster than a home's, and `netvane up` in a home of the lab."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.lab.home import Home
from tests.lab.netns import Namespace
from tests.lab.processes import NETVANE, Process
from tests.lab.wait import eventually

PORT = 9099
LOOK_BACK_SECONDS = 300
LOOK_STEP_SECONDS = 15

_INTERVAL = re.compile(r"((?:scrape_|evaluation_)?interval): (\w+)")


@dataclass(frozen=True)
class Prometheus:
    """A server in `namespace`, and what it says to a query."""

    namespace: Namespace
    directory: Path

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query; one without labels for a scalar."""
        return self._ask("query", query=expr)

    def query_range(self, expr: str) -> list[dict[str, Any]]:
        """The series of the last five minutes."""
        end = time.time()
        span = {"start": f"{end - LOOK_BACK_SECONDS}", "end": f"{end}", "step": f"{LOOK_STEP_SECONDS}"}
        return self._ask("query_range", query=expr, **span)

    def number(self, expr: str) -> float:
        """The value of the only series; 0 where there is none."""
        return sum(float(series["value"][1]) for series in self.query(expr))

    def holds(self, expr: str) -> bool:
        """Whether there is a series; False while nobody answers."""
        try:
            return bool(self.query(expr))
        except (OSError, ValueError):  # not there yet, or not ready to answer in JSON
            return False

    def _ask(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        """AssertionError with Prometheus's words when it does not like the expression."""
        url = f"http://127.0.0.1:{PORT}/api/v1/{path}?{urlencode(parameters)}"
        answer = json.loads(self.namespace.http(url, timeout=30).text)
        assert answer["status"] == "success", (parameters["query"], answer)
        result: list[dict[str, Any]] = answer["data"]["result"]
        return [{"metric": {}, "value": result}] if answer["data"]["resultType"] == "scalar" else result


@contextmanager
def hurried_prometheus(
    namespace: Namespace, directory: Path, configuration: Path, pace: Mapping[str, str], flags: Sequence[str] = ()
) -> Iterator[Prometheus]:
    """With the rules and targets that `netvane render` writes; `pace` says what becomes of which interval."""
    rendered, database = (directory / name for name in ("rendered", "tsdb"))
    command = [*NETVANE, "render", str(rendered), f"--config.file={configuration}"]
    namespace.run([*command, "--time-scale=0.1"])
    main = rendered / "prometheus.yml"
    for file in (main, *rendered.glob("*/*.yml")):
        file.write_text(_INTERVAL.sub(lambda match: f"{match[1]}: {pace[match[2]]}", file.read_text()))
    config = yaml.safe_load(main.read_text())
    del config["alerting"], config["global"]["scrape_timeout"]  # at most the interval, and by default that
    main.write_text(json.dumps(config))
    command = ["prometheus", f"--config.file={main}", f"--storage.tsdb.path={database}", "--log.level=warn", *flags]
    with namespace.start([*command, f"--web.listen-address=127.0.0.1:{PORT}"]) as server:
        asked = Prometheus(namespace, database)
        eventually(lambda: asked.holds("vector(1)") or not server.running, within=30, what="Prometheus")
        assert server.running, server.output()
        yield asked


@contextmanager
def netvane_up(home: Home, settings: dict[str, Any], *, run_dir: Path | None = None) -> Iterator[tuple[Process, Path]]:
    """All parts in the machine `mon`; with them their netvane.yml. `run_dir`: by default beside their data."""
    place = home.rack.directory
    configuration = place / "netvane.yml"
    configuration.write_text(json.dumps(settings))  # JSON is YAML
    command = [*NETVANE, "up", "--netns", home.mon.name, "--time-scale=0.1"]
    places = [f"--storage.data-dir={place / 'data'}", f"--storage.run-dir={run_dir or place / 'run'}"]
    with home.rack.processes.start([*command, f"--config.file={configuration}", *places]) as up:
        yield up, configuration
        assert up.stop(grace=60) == 0, up.output()
