"""`netvane render`: from netvane.yml to the files that Prometheus, Alertmanager and Loki start with.

    DIR/prometheus.yml, targets/<job>.json, rules/*.yml, alerts/*.yml, alertmanager.yml (0600), templates/*.tmpl,
    loki.yml, loki-rules/fake/*.yml

All paths in them are absolute. Secrets are in alertmanager.yml and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from netvane.common.config import ConfigError, Document
from netvane.common.settings import site_of, storage_of
from netvane.up import alertmanager_file, loki_files, prometheus_files, rendered_files
from netvane.up.jobs import Job, all_jobs
from netvane.up.settings import Alerts, Notify, Up


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How this rendering differs from what netvane.yml says.

    `time_scale`: shortens `for` and `keep_firing_for` of alerts, for tests; 0 < time_scale <= 1.
    `targets`: job -> HOST:PORT, where an exporter is not at its usual address.
    `without`: jobs that do not run here; what is not scraped is not reported as down.
    `inline_secrets`: for an Alertmanager whose user cannot read the password files.
    `grafana`: the base of the addresses of the Grafana that has the dashboards; None where none runs here.
    `data_dir`: where Loki keeps its own directory, if not in that of netvane.yml.
    """

    time_scale: float = 1.0
    targets: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    inline_secrets: bool = False
    grafana: str | None = None
    data_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """`changed` and `removed` are empty where nothing was to be done; `receivers` are those that are configured."""

    changed: tuple[Path, ...]
    removed: tuple[Path, ...]
    receivers: tuple[str, ...]

    @property
    def note(self) -> str:
        """One line about who is told."""
        told = [name for name in self.receivers if name != "heartbeat"]
        if told:
            return f"alerts go to {' and '.join(told)}"
        return "no receiver is configured: alerts are only shown by Alertmanager (netvane.yml: notify)"


def render(document: Document, directory: Path, options: RenderOptions | None = None) -> Rendered:
    """Write all files into `directory`, which is made where it is missing.

    Raises ConfigError (a mistake in `document`, a secret that cannot be read, an unknown job) and OSError.
    """
    options = options or RenderOptions()
    directory = directory.absolute()
    site = site_of(document)
    notify = document.section("notify", Notify)
    alerts = document.section("alerts", Alerts)
    up = document.section("up", Up)
    jobs = _jobs(up, options)
    address = {job.name: job.address for job in jobs}
    pages = prometheus_files.Pages(address["prometheus"], options.grafana)
    loki_dir = storage_of(document, options.data_dir, None).data_dir / "loki"
    scraped = tuple(job for job in jobs if job.name not in options.without)
    files = [
        prometheus_files.prometheus_yml(directory, site, scraped, address["alertmanager"], up.remote_write),
        *prometheus_files.target_files(site, scraped),
        prometheus_files.threshold_file(alerts),
        *prometheus_files.rule_files(options.time_scale, alerts, pages),
        *alertmanager_file.template_files(),
        alertmanager_file.alertmanager_yml(directory, notify, inline_secrets=options.inline_secrets),
        loki_files.loki_yml(directory, loki_dir, address["alertmanager"]),
        *loki_files.rule_files(options.time_scale, alerts, pages),
    ]
    changed, removed = rendered_files.write(directory, files)
    return Rendered(changed, removed, alertmanager_file.receivers_of(notify))


def _jobs(up: Up, options: RenderOptions) -> tuple[Job, ...]:
    jobs = all_jobs(up)
    names = [job.name for job in jobs]
    for name in (*options.targets, *options.without):
        if name not in names:
            raise ConfigError(f"unknown job {name!r}; expected one of {', '.join(names)}")
    return tuple(replace(job, address=options.targets.get(job.name, job.address)) for job in jobs)
