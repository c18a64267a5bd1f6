"""What Prometheus scrapes: one job per exporter."""

import re
from dataclasses import dataclass

from netvane.up.settings import Up


@dataclass(frozen=True, slots=True)
class Job:
    """`address` is HOST:PORT; `interval` in seconds; more than `sample_limit` series fail the scrape.

    `capabilities` are what the exporter needs, in setpriv(1)'s words; those of root only.
    """

    name: str
    address: str
    interval: int = 60
    sample_limit: int = 10_000
    capabilities: tuple[str, ...] = ()


# A new exporter is a new line here.
EXPORTERS = (
    Job("latency", "127.0.0.1:9741", interval=15, sample_limit=2_500),
    Job("hosts", "127.0.0.1:9742"),
    Job("dhcp", "127.0.0.1:9743"),
    Job("flows", "127.0.0.1:9744", capabilities=("net_raw",)),
)


def all_jobs(up: Up) -> tuple[Job, ...]:
    """Netvane's exporters and the parts around them, at the addresses that `up` has for these."""
    return (
        *EXPORTERS,
        Job("node", reachable(up.node_exporter_listen)),
        Job("prometheus", reachable(up.prometheus_listen)),
        Job("alertmanager", reachable(up.alertmanager_listen)),
    )


def reachable(listen: str) -> str:
    """Where to connect to what listens on `listen`: this machine for ``:9090``, ``0.0.0.0:9090`` and ``[::]:9090``."""
    return re.sub(r"^(?:0\.0\.0\.0|\[::\])?:", "127.0.0.1:", listen)
