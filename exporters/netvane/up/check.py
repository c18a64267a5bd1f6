"""``netvane check-config``: every section of netvane.yml, as each of its readers would check it."""

import argparse
import sys
from pathlib import Path

from netvane.common import settings
from netvane.common.config import ConfigError, Document, Section
from netvane.dhcp.settings import DhcpSettings
from netvane.flows.settings import FlowsSettings
from netvane.hosts.settings import HostsSettings
from netvane.latency.settings import LatencySettings
from netvane.up.settings import Alerts, Notify, Up

MODELS: dict[str, type[Section]] = {
    "network": settings.Network,
    "storage": settings.Storage,
    "loki": settings.Loki,
    "notify": Notify,
    "alerts": Alerts,
    "flows": FlowsSettings,
    "latency": LatencySettings,
    "dhcp": DhcpSettings,
    "hosts": HostsSettings,
    "up": Up,
}


def check(document: Document) -> None:
    """Raises ConfigError for the first mistake."""
    settings.site_of(document)
    for name, model in MODELS.items():
        document.section(name, model)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="netvane check-config", allow_abbrev=False)
    parser.add_argument("--config.file", dest="config_file", type=Path, metavar="FILE", help="netvane.yml")
    options = parser.parse_args(argv)
    try:
        document = settings.load(options.config_file)
        check(document)
    except ConfigError as error:
        print(f"netvane check-config: {error}", file=sys.stderr)  # noqa: T201 - the answer to the command
        return 2
    print(f"{document.file or 'no configuration file'}: fine")  # noqa: T201
    return 0
