"""The life of one exporter: command line, configuration, HTTP endpoint, signals, reload, systemd.

An exporter is a class with the four methods of `Exporter`, made by a factory that checks its configuration and touches
nothing. `run` does the rest:

    start -> ready -> (SIGHUP: reload the configuration, keep the old one if the new one is bad)* -> SIGTERM: stop

Exit codes: 0 fine, 1 a fault at run time, 2 a bad command line or configuration.
"""

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from netvane.common import log as logs
from netvane.common import settings, webconfig
from netvane.common.clock import NANOSECONDS, Clock, SystemClock
from netvane.common.config import ConfigError, Document
from netvane.common.log import get_logger
from netvane.common.metrics import GaugeMetricFamily, GuardedCollectors, Metric, new_registry
from netvane.common.systemd import notify, watchdog_seconds
from netvane.common.web import Endpoint, State

log = get_logger("service")

STOP_SECONDS = 4.0  # SIGTERM stops within 5 s
SILENCE_SECONDS = 30.0  # a working loop that says nothing for this long is not healthy


class ServiceError(Exception):
    """A fault at run time that its owner can read: an address in use, a directory that cannot be written."""


class Exporter(Protocol):
    """What `run` needs of an exporter. Methods are called in the event loop, collectors in the endpoint's threads."""

    def reload(self, document: Document) -> None:
        """Take a new configuration, or raise ConfigError and keep the old one."""

    async def start(self) -> None:
        """Open files and sockets, start working. Raises ServiceError."""

    async def stop(self) -> None:
        """Finish and close."""

    def collectors(self) -> dict[str, Callable[[], Iterable[Metric]]]:
        """Collector name -> what turns the current snapshot into metric families."""


@dataclass
class Service:
    """What an exporter can tell and ask of its surroundings."""

    name: str
    storage: settings.Storage
    loki_url: str | None = None  # of the command line; goes before netvane.yml's
    clock: Clock = field(default_factory=SystemClock)
    degraded: dict[str, str] = field(default_factory=dict)
    crashed: asyncio.Event = field(default_factory=asyncio.Event)
    _last_beat: int = 0
    _last_fed: int = 0

    @property
    def data_dir(self) -> Path:
        """This exporter's own directory for what must survive."""
        return self.storage.data_dir / self.name

    @property
    def run_dir(self) -> Path:
        """Where exporters have their sockets and publish snapshots."""
        return self.storage.run_dir

    def beat(self) -> None:
        """Called by the working loop with each piece of work; feeds systemd's watchdog."""
        self._last_beat = self.clock.monotonic_ns()
        limit = watchdog_seconds()
        if limit is not None and self._last_beat - self._last_fed > limit / 3 * NANOSECONDS:
            self._last_fed = self._last_beat
            notify("WATCHDOG=1")

    def set_degraded(self, part: str, reason: str | None) -> None:
        """Say that `part` does not work and why; None once it does again."""
        if self.degraded.get(part) == reason:
            return
        if reason is None:
            del self.degraded[part]
            log.info("works again", part=part)
        else:
            self.degraded[part] = reason
            log.warning("degraded", part=part, reason=reason)
        notify("STATUS=" + (f"degraded: {'; '.join(self.degraded.values())}" if self.degraded else "running"))

    def spawn(self, name: str, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run `work` beside the rest until it is cancelled; an exporter whose work has died ends with exit code 1."""

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("work died", work=name, exc_info=error)
                self.crashed.set()

        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(done)
        return task

    def silence(self) -> float:
        """Seconds since the working loop's last sign of life."""
        return (self.clock.monotonic_ns() - self._last_beat) / NANOSECONDS


Factory = Callable[[Document, Service], Exporter]


def add_common_flags(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--config.file", dest="config_file", type=Path, metavar="FILE", help="netvane.yml")
    parser.add_argument("--config.check", dest="check", action="store_true", help="check the configuration and exit")
    parser.add_argument(
        "--web.listen-address",
        dest="listen",
        type=parse_address,
        default=("127.0.0.1", port),
        metavar="HOST:PORT",
        help=f"default 127.0.0.1:{port}",
    )
    parser.add_argument(
        "--web.config.file", dest="web_config", type=Path, metavar="FILE", help="TLS and users, exporter-toolkit format"
    )
    parser.add_argument("--storage.data-dir", dest="data_dir", type=Path, metavar="DIR", help="overrides the file's")
    parser.add_argument("--storage.run-dir", dest="run_dir", type=Path, metavar="DIR", help="overrides the file's")
    parser.add_argument("--loki.url", dest="loki_url", metavar="URL", help="overrides the file's; empty for none")
    parser.add_argument("--log.level", dest="log_level", choices=logs.LEVELS, default="info")
    parser.add_argument("--log.format", dest="log_format", choices=("logfmt", "json"), default="logfmt")


def parse_address(text: str) -> tuple[str, int]:
    """``host:port``, ``[v6]:port`` or ``:port`` for all addresses. Raises argparse.ArgumentTypeError."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, got {text!r}")
    return host, int(port)


def run(name: str, port: int, factory: Factory, argv: list[str]) -> int:
    """Run the exporter `name` in the foreground; returns its exit code."""
    parser = argparse.ArgumentParser(prog=f"netvane {name}", allow_abbrev=False)
    add_common_flags(parser, port)
    options = parser.parse_args(argv)
    logs.setup(options.log_level, options.log_format)
    try:
        document = settings.load(options.config_file)
        web = webconfig.load(options.web_config)
        storage = settings.storage_of(document, options.data_dir, options.run_dir)
        service = Service(name, storage, loki_url=options.loki_url)
        exporter = factory(document, service)
        if options.check:
            return 0
        return asyncio.run(_serve(service, exporter, options, web))
    except ConfigError as error:
        print(f"netvane {name}: {error}", file=sys.stderr)  # noqa: T201 - the answer to whoever typed the command
        return 2
    except ServiceError as error:
        print(f"netvane {name}: {error}", file=sys.stderr)  # noqa: T201
        return 1


async def _serve(service: Service, exporter: Exporter, options: argparse.Namespace, web: webconfig.WebConfig) -> int:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    reloads = _Reloads(service, exporter, options)
    loop.add_signal_handler(signal.SIGHUP, reloads.reload)

    collectors = GuardedCollectors(service.clock)
    collectors.add("config", reloads.collect)
    starting = True

    def state() -> State:
        silence = service.silence()
        healthy = None if starting or silence < SILENCE_SECONDS else f"the working loop is silent for {silence:.0f} s"
        return State(healthy, "starting" if starting else healthy, tuple(service.degraded.values()))

    await exporter.start()
    for name, collect in exporter.collectors().items():
        collectors.add(name, collect)
    try:
        endpoint = Endpoint(service.name, options.listen, web, new_registry(collectors), state)
    except OSError as error:
        await exporter.stop()
        raise ServiceError(f"cannot listen on {options.listen[0]}:{options.listen[1]}: {error.strerror}") from error
    reloads.endpoint = endpoint
    service.beat()
    starting = False
    # What was loaded by now stays: the garbage collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    notify("READY=1")
    log.info("ready", exporter=service.name, address="{}:{}".format(*endpoint.address))

    waits = [asyncio.ensure_future(event.wait()) for event in (stopped, service.crashed)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    notify("STOPPING=1")
    endpoint.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await exporter.stop()
    except TimeoutError:
        log.error("did not stop in time", seconds=STOP_SECONDS)
        return 1
    return 1 if service.crashed.is_set() else 0


class _Reloads:
    """SIGHUP: all of the configuration is checked before any of it is taken."""

    endpoint: Endpoint | None = None

    def __init__(self, service: Service, exporter: Exporter, options: argparse.Namespace) -> None:
        self._service = service
        self._exporter = exporter
        self._options = options
        self._successful = True
        self._last_success = service.clock.wall_ns()

    def reload(self) -> None:
        notify(f"RELOADING=1\nMONOTONIC_USEC={self._service.clock.monotonic_ns() // 1000}")
        try:
            web = webconfig.load(self._options.web_config)
            self._exporter.reload(settings.load(self._options.config_file))
        except ConfigError as error:
            self._successful = False
            log.error("configuration not reloaded, the old one stays", error=error)
        else:
            if self.endpoint is not None:
                self.endpoint.config = web
            self._successful = True
            self._last_success = self._service.clock.wall_ns()
            log.info("configuration reloaded")
        notify("READY=1")

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "netvane_config_last_reload_successful",
            "Whether the last reload of the configuration worked.",
            value=float(self._successful),
        )
        yield GaugeMetricFamily(
            "netvane_config_last_reload_success_timestamp_seconds",
            "When a configuration was last taken, as Unix time.",
            value=self._last_success / NANOSECONDS,
        )


def private_directory(path: Path) -> Path:
    """`path`, made where it is missing, for its owner only. Raises ServiceError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # somebody else's directory that we may write is good enough
            path.chmod(0o700)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ServiceError(f"{path} cannot be written: {error.strerror}") from error
    return path
