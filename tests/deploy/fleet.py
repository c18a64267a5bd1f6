"""Several homes and the central store that their recording rules go to: a real Prometheus each, one VictoriaMetrics."""

import http.client
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from netvane.common.settings import load
from netvane.up.jobs import EXPORTERS
from netvane.up.render import RenderOptions, render
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.netns import Namespace
from tests.lab.processes import Process
from tests.lab.rack import Rack
from tests.lab.wait import eventually

STORE = "203.0.113.2"
STORE_PORT = 8428
AGENT_PORT = 8429
PROMETHEUS_PORT = 9090
# A figure of one device, as the hosts exporter's would be.
OF_A_DEVICE = {
    "name": "devices",
    "rules": [{"record": "mac:netvane_device:figure", "expr": "vector(1)", "labels": {"mac": "00:17:88:0a:01:01"}}],
}
ABSENT = frozenset(job.name for job in EXPORTERS if job.name != "latency") | {"node", "alertmanager"}


@dataclass
class Server:
    """What answers PromQL over HTTP: a Prometheus, or VictoriaMetrics."""

    namespace: Namespace
    process: Process
    url: str

    def is_ready(self) -> bool:
        assert self.process.running, self.process.output()
        try:
            return self.namespace.http(self.url + "/-/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def query(self, expression: str) -> list[tuple[dict[str, str], Any]]:
        """Labels and value of each series: ``[time, text]``, or a list of these for a range selector."""
        answer = self.namespace.http(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        assert answer.status == 200, answer.text
        result = json.loads(answer.text)["data"]["result"]
        return [(series["metric"], series.get("value") or series["values"]) for series in result]

    def times(self, expression: str) -> set[float]:
        """The timestamps of the samples of the one series that a range selector finds, in seconds."""
        return {time for _, values in self.query(expression) for time, _ in values}


def store(namespace: Namespace, address: str, data: Path) -> Server:
    """A VictoriaMetrics that answers; the namespace's rack ends it."""
    command = [
        *("victoria-metrics", f"-storageDataPath={data}", f"-httpListenAddr={address}:{STORE_PORT}"),
        *("-retentionPeriod=1y", "-search.latencyOffset=0s", "-memory.allowedBytes=64MiB", "-loggerLevel=WARN"),
    ]
    server = Server(namespace, namespace.start(command), f"http://{address}:{STORE_PORT}")
    eventually(server.is_ready, within=30, what="VictoriaMetrics")
    return server


@dataclass
class Site:
    """One home: its namespace, and a directory for all that it writes."""

    name: str
    namespace: Namespace
    directory: Path

    def exporter(self) -> AbstractContextManager[RunningExporter]:
        """The latency exporter; the only thing that it probes is the store's machine."""
        target = {"name": "centre", "host": STORE, "role": "office", "interval": "200ms"}
        quiet = {
            "anchors": [],
            "dns": {"interval": None, "tcp_interval": None, "dot_interval": None},
            "sites": {"interval": None},
            "web": {"captive_interval": None, "https_interval": None},
        }
        settings = {"site": self.name, "latency": {"targets": [target], **quiet}}
        self.namespace.sysctl({"net.ipv4.ping_group_range": "0 2147483647"})
        return running_exporter("latency", self.namespace, self.directory, settings)

    def prometheus(self, remote_write: Mapping[str, str], flags: Sequence[str] = ()) -> Server:
        """Prometheus as `netvane render` configures it, but that it looks once a second."""
        config = self.directory / "prometheus.json"
        config.write_text(json.dumps({"site": self.name, "up": {"remote_write": remote_write}}))
        rendered = self.directory / "rendered"
        render(load(config), rendered, RenderOptions(without=ABSENT))
        (rendered / "rules/devices.yml").write_text(json.dumps({"groups": [OF_A_DEVICE]}))  # JSON is YAML
        file = rendered / "prometheus.yml"
        settings = yaml.safe_load(file.read_text())
        settings["global"] |= {"evaluation_interval": "1s", "scrape_timeout": "1s"}
        for job in settings["scrape_configs"]:
            job["scrape_interval"] = "1s"
        file.write_text(yaml.safe_dump(settings))
        url = f"127.0.0.1:{PROMETHEUS_PORT}"
        command = [
            *("prometheus", f"--config.file={file}", f"--web.listen-address={url}"),
            *(f"--storage.tsdb.path={self.directory / 'tsdb'}", *flags),
        ]
        server = Server(self.namespace, self.namespace.start(command), f"http://{url}")
        eventually(server.is_ready, within=30, what="Prometheus")
        return server

    def agent(self) -> Process:
        """vmagent, which keeps on disk what the store does not take."""
        command = [
            *("vmagent", f"-remoteWrite.url=http://{STORE}:{STORE_PORT}/api/v1/write"),
            *(f"-remoteWrite.tmpDataPath={self.directory / 'queue'}", f"-httpListenAddr=127.0.0.1:{AGENT_PORT}"),
        ]
        return self.namespace.start(command)


class Fleet:
    """Homes and the store's machine on one wire; VictoriaMetrics runs once `start_store` was called."""

    def __init__(self, rack: Rack, directory: Path, *names: str) -> None:
        wire, self.centre, *homes = rack.namespaces("wire", "centre", *names)
        self._data = directory / "store"
        wire.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")
        ends = [("centre", self.centre, STORE)]
        self.sites = []
        for number, (name, home) in enumerate(zip(names, homes, strict=True), start=11):
            address = f"203.0.113.{number}"
            ends.append((name, home, address))
            place = directory / name
            place.mkdir()
            self.sites.append(Site(name, home, place))
        for port, machine, address in ends:
            wire.ip(f"link add {port} type veth peer name eth0 netns {machine.name}", f"link set {port} master br0 up")
            machine.ip(f"addr add {address}/24 dev eth0", "link set eth0 up")

    def start_store(self) -> Server:
        """Start it, for the first time or again with what it has."""
        return store(self.centre, STORE, self._data)
