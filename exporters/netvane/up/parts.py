"""The parts of Netvane, in the order in which they start: their programs, flags and privileges."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from netvane.up import seeing
from netvane.up.jobs import EXPORTERS, Job
from netvane.up.part import Address, Part
from netvane.up.places import Places
from netvane.up.promunits import prometheus_duration
from netvane.up.settings import Up

# Debian calls two of them by other names than their makers.
PROGRAMS = {
    "node": ("prometheus-node-exporter", "node_exporter"),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "prometheus": ("prometheus",),
}

# For a small machine. Go collects when its heap has grown by half, not when it has doubled (15 MB of Prometheus's); the
# threads of an exporter, of which one runs at a time, share one arena of malloc(3).
GO_ENVIRONMENT = {"GOGC": "50"}
PYTHON_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}

# What rules and dashboards use. Not netclass: it reads /sys/class/net, which in a namespace shows the machine's.
NODE_COLLECTORS = (
    *("cpu", "diskstats", "filesystem", "hwmon", "loadavg", "meminfo", "netdev", "pressure", "stat", "thermal_zone"),
    *("time", "timex", "uname", "vmstat", "wifi"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command lines of the parts depend on."""

    places: Places
    up: Up
    is_root: bool
    interface: str | None  # as configured; otherwise they find it themselves, also when it changes
    has_configuration: bool  # whether there is a netvane.yml at all
    log_level: str
    log_format: str
    flows_off: str | None = None  # why there is nothing to capture
    loki_url: str | None = None  # as configured

    def parts(self) -> list[Part]:
        loki = seeing.loki(self.places, self.up, self._server_log_level, self.loki_url)
        # Where the file names no Loki, events go to the one that runs here.
        ship = (f"--loki.url={loki.shows}",) if loki.off is None and self.loki_url is None else ()
        return [
            self._raw(),
            *(self._exporter(job, ship) for job in EXPORTERS),
            *self._servers(),
            loki,
            seeing.grafana(self.places, self.up, self.loki_url),
        ]

    def _raw(self) -> Part:
        if not self.is_root:
            return Part(
                name="raw", off="needs root, to hand it CAP_NET_RAW: no path traces, no sweeps, no passive listener"
            )
        interface = (f"--interface={self.interface}",) if self.interface else ()
        return Part(
            name="raw",
            command=(*self._netvane("raw"), f"--run-dir={self.places.run}", *interface),
            directory=self.places.run,
            capabilities=("net_raw",),
            shows="path traces, sweeps, passive listener",
        )

    def _exporter(self, job: Job, ship: tuple[str, ...]) -> Part:
        if job.capabilities and not self.is_root:
            return Part(name=job.name, off="needs root, to hand it CAP_NET_RAW")
        if job.name == "flows" and self.flows_off is not None:
            return Part(name=job.name, off=self.flows_off)
        configuration = (f"--config.file={self.places.configuration}",) if self.has_configuration else ()
        return Part(
            name=job.name,
            command=(
                *self._netvane(job.name),
                *configuration,
                f"--web.listen-address={job.address}",
                f"--storage.data-dir={self.places.data}",
                f"--storage.run-dir={self.places.run}",
                *ship,
            ),
            directory=self.places.data / job.name,
            capabilities=job.capabilities,
            listen=Address.parse(job.address),
            reloads=True,
            shows=f"http://{job.address}/metrics",
            environment=PYTHON_ENVIRONMENT,
        )

    def _netvane(self, name: str) -> tuple[str, ...]:
        # -P: the working directory is no place to import from.
        program = (sys.executable, "-P", "-m", "netvane.cli", name)
        return (*program, f"--log.level={self.log_level}", f"--log.format={self.log_format}")

    @property
    def _server_log_level(self) -> str:
        return "warn" if self.log_level == "warning" else self.log_level

    def _servers(self) -> list[Part]:
        log = (f"--log.level={self._server_log_level}", f"--log.format={self.log_format}")
        data, rendered = self.places.data, self.places.rendered
        return [
            self._server(
                "node",
                self.up.node_exporter_listen,
                (*log, "--collector.disable-defaults", *(f"--collector.{name}" for name in NODE_COLLECTORS)),
                ready_path="/",
                page="metrics",
            ),
            self._server(
                "alertmanager",
                self.up.alertmanager_listen,
                (
                    *log,
                    f"--config.file={rendered / 'alertmanager.yml'}",
                    f"--storage.path={data / 'alertmanager'}",
                    "--cluster.listen-address=",  # one alone has nobody to gossip with
                    "--data.retention=192h",  # longer than the longest repeat_interval, which would be cut to it
                ),
                reloads=True,
            ),
            self._server(
                "prometheus",
                self.up.prometheus_listen,
                (
                    *log,
                    f"--config.file={rendered / 'prometheus.yml'}",
                    f"--storage.tsdb.path={data / 'prometheus'}",
                    f"--storage.tsdb.retention.time={prometheus_duration(self.up.retention_time)}",
                    f"--storage.tsdb.retention.size={self.up.retention_size}B",
                    "--storage.tsdb.wal-compression",  # half the writes to the SD card
                ),
                reloads=True,
            ),
        ]

    def _server(
        self,
        name: str,
        listen: str,
        flags: tuple[str, ...],
        *,
        ready_path: str = "/-/ready",
        reloads: bool = False,
        page: str = "",
    ) -> Part:
        """One of the programs that Debian packages.

        Reloads go by SIGHUP: `--web.enable-lifecycle` would let every web page in the owner's browser stop them.
        """
        program = find_program(name)
        if program is None:
            return Part(name=name, off=_missing(name))
        address = Address.parse(listen)
        return Part(
            name=name,
            command=(program, f"--web.listen-address={listen}", *flags),
            directory=self.places.data / name,
            listen=address,
            ready_path=ready_path,
            reloads=reloads,
            shows=f"http://{address.near}/{page}",
            is_page=not page,
            environment=GO_ENVIRONMENT,
        )


def find_program(part: str) -> str | None:
    """The path of a part's program, whatever its packager calls it."""
    return next((path for name in PROGRAMS[part] if (path := shutil.which(name))), None)


def _missing(part: str) -> str:
    return f"no {' or '.join(f'`{name}`' for name in PROGRAMS[part])} on PATH"


def state_directories(parts: list[Part], data: Path) -> list[Path]:
    """Those that have to be there before the parts start."""
    return [part.directory for part in parts if part.directory.parent == data]
