"""A real Loki on loopback, as `netvane render` configures it, where a `loki` binary is on PATH."""

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from netvane.up import seeing
from tests.eventkit import eventually
from tests.place import Place

PAGE = 5000  # max_entries_limit_per_query


class Line(NamedTuple):
    ts: int
    text: str
    labels: dict[str, str]


def missing() -> str | None:
    """Why there is none; None where there is."""
    return seeing.find_loki()[1] or None


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


class LokiServer:
    """`start` and `kill` it as often as you like; what it has taken is in `directory`."""

    def __init__(self, directory: Path, settings: Mapping[str, Any] | None = None) -> None:
        directory.mkdir()
        self.port, self._grpc, self.alertmanager_port = free_ports(3)
        place = Place(directory)
        listens = {"alertmanager_listen": f"127.0.0.1:{self.alertmanager_port}"}
        place.render({"storage": {"data_dir": str(directory / "data")}, "up": listens, **(settings or {})})
        self.config = place.directory / "loki.yml"
        self.place = place
        self._log = directory / "loki.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hasten_rules(self) -> None:
        """Once a second, where the owner's are evaluated once a minute."""
        config = yaml.safe_load(self.config.read_text())
        config["ruler"]["evaluation_interval"] = "1s"
        self.config.write_text(yaml.safe_dump(config))

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "loki",
                    f"-config.file={self.config}",
                    f"-server.http-listen-port={self.port}",
                    f"-server.grpc-listen-port={self._grpc}",
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._is_ready, 120)

    def kill(self) -> None:
        """As SIGKILL, the oom killer or a power cut that spares the disk's cache would end it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)

    def get(self, path: str, **parameters: object) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.code} {error.read().decode()}") from error

    def lines(self, expression: str, start: int, end: int) -> Iterator[Line]:
        """All lines from `start` up to, not including, `end` (Unix ns), oldest first; no two may share their time."""
        while True:
            answer = self.get(
                "/loki/api/v1/query_range",
                query=expression,
                start=start,
                end=end,
                limit=PAGE,
                direction="forward",
            )
            page = sorted(
                Line(int(value[0]), value[1], stream["stream"])
                for stream in answer["data"]["result"]
                for value in stream["values"]
            )
            yield from page
            if len(page) < PAGE:
                return
            start = page[-1].ts + 1

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def loki_server(directory: Path, settings: Mapping[str, Any] | None = None) -> Iterator[LokiServer]:
    """One that is not started yet."""
    server = LokiServer(directory, settings)
    try:
        yield server
    finally:
        server.kill()
