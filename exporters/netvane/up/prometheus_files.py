"""Prometheus's own files: prometheus.yml, the targets of its jobs, its rules and alerts."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from netvane.common import assets
from netvane.common.config import Duration
from netvane.up.jobs import Job
from netvane.up.promunits import parse_prometheus_duration, prometheus_duration
from netvane.up.rendered_files import File, yaml_file
from netvane.up.settings import Alerts, RemoteWrite

# What goes to a central store: recording rules (the only names with a colon) and what tells whether a site works. A few
# hundred series a site; all else stays at home.
_SENT = ".+:.+|ALERTS|netvane_verdict|up"
# Of these nothing that says which device: alerts about one and figures of one stay at home too.
_PRIVATE = ["device", "mac", "address", "peer"]


@dataclass(frozen=True, slots=True)
class Pages:
    """Where the link of an alert leads: to Grafana (the base of its addresses) where there is one, or to HOST:PORT."""

    prometheus: str
    grafana: str | None = None


def prometheus_yml(
    directory: Path, site: str, jobs: tuple[Job, ...], alertmanager: str, remote_write: RemoteWrite | None = None
) -> File:
    """prometheus.yml from its template; `alertmanager` is HOST:PORT."""
    config = yaml.safe_load((assets.path("prometheus") / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"]["external_labels"]["site"] = site
    config["rule_files"] = [f"{glob_literal(directory)}/{pattern}" for pattern in config["rule_files"]]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    config["scrape_configs"] += [
        {
            "job_name": job.name,
            "scrape_interval": prometheus_duration(job.interval),
            "sample_limit": job.sample_limit,
            "file_sd_configs": [{"files": [f"{glob_literal(directory)}/targets/{job.name}.json"]}],
        }
        for job in jobs
    ]
    if remote_write is not None:
        config["remote_write"] = [_remote_write(remote_write)]
    return yaml_file("prometheus.yml", config, "netvane.yml")


def _remote_write(store: RemoteWrite) -> dict[str, Any]:
    """The password stays in its file, which Prometheus reads itself."""
    config: dict[str, Any] = {
        "name": "central",
        "url": store.url,
        "write_relabel_configs": [
            {"source_labels": ["__name__"], "regex": _SENT, "action": "keep"},
            {"source_labels": _PRIVATE, "separator": "", "regex": ".+", "action": "drop"},
        ],
    }
    if store.tenant is not None:
        config["headers"] = {"X-Scope-OrgID": store.tenant}
    if store.username is not None:
        config["basic_auth"] = {"username": store.username, "password_file": str(store.password_file)}
    if store.ca_file is not None:
        config["tls_config"] = {"ca_file": str(store.ca_file)}
    return config


def target_files(site: str, jobs: tuple[Job, ...]) -> list[File]:
    """One file of file_sd per job. `site` is a target label too, so that queries here see it."""
    return [
        File(
            f"targets/{job.name}.json",
            json.dumps([{"targets": [job.address], "labels": {"site": site}}], indent=2) + "\n",
        )
        for job in jobs
    ]


def threshold_file(alerts: Alerts) -> File:
    """The numbers of the `alerts` section as series, durations in seconds."""
    rules = [
        {"record": "netvane_threshold", "labels": {"name": name}, "expr": f"vector({value:.15g})"}
        for name, value in thresholds(alerts).items()
    ]
    content = {"groups": [{"name": "thresholds", "rules": rules}]}
    return yaml_file("rules/thresholds.yml", content, "the alerts section of netvane.yml")


def thresholds(alerts: Alerts) -> dict[str, float]:
    """Name -> value; the name is the key in netvane.yml, with ``_seconds`` where that is a duration."""
    found = {}
    for key, value in msgspec.structs.asdict(alerts).items():
        if isinstance(value, Duration):
            found[f"{key}_seconds"] = float(value)
        elif isinstance(value, int | float):
            found[key] = float(value)
    return found


def rule_files(time_scale: float, alerts: Alerts, pages: Pages) -> list[File]:
    """The recording rules and alerts of prometheus/."""
    return [
        yaml_file(name, {"groups": rule_groups(source, time_scale, alerts, pages)}, f"prometheus/{name}")
        for source in sorted(assets.path("prometheus").glob("*/*.yml"))
        for name in [f"{source.parent.name}/{source.name}"]
    ]


def rule_groups(source: Path, time_scale: float, alerts: Alerts, pages: Pages) -> list[dict[str, Any]]:
    """The groups of a file of rules, Prometheus's or Loki's.

    `for` and `keep_firing_for` are multiplied by `time_scale`, and the addresses in annotations made complete.
    """
    groups: list[dict[str, Any]] = yaml.safe_load(source.read_text(encoding="utf-8"))["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        for key in ("for", "keep_firing_for"):
            if key in rule:
                rule[key] = prometheus_duration(parse_prometheus_duration(str(rule[key])) * time_scale)
        if "alert" in rule:
            _complete_addresses(rule["annotations"], alerts, pages)
    return groups


def _complete_addresses(annotations: dict[str, Any], alerts: Alerts, pages: Pages) -> None:
    """Runbooks are on this machine, where they can be read without the Internet, unless their place on a web is set.

    Without Grafana the graph of Prometheus takes the dashboard's place; Loki's alerts, which have none, lead nowhere.
    """
    runbook = Path(annotations["runbook_url"])
    if alerts.runbooks_url is None:
        annotations["runbook_url"] = assets.path(str(runbook)).as_uri()
    else:
        annotations["runbook_url"] = f"{alerts.runbooks_url.rstrip('/')}/{runbook.name}"
    dashboard, graph = annotations.pop("dashboard_url"), annotations.pop("graph_url", None)
    if pages.grafana is not None:
        annotations["dashboard_url"] = f"{pages.grafana.rstrip('/')}{dashboard}"
    elif graph is not None:
        annotations["dashboard_url"] = f"http://{pages.prometheus}{graph}"


def glob_literal(path: Path) -> str:
    """`path` for settings that Prometheus and Alertmanager take for glob patterns (Go's path/filepath.Match)."""
    return re.sub(r"([*?\[\\])", r"\\\1", str(path))
