"""``netvane hosts``."""

from netvane.common import service
from netvane.hosts.exporter import HostsExporter

PORT = 9742


def main(argv: list[str]) -> int:
    return service.run("hosts", PORT, HostsExporter, argv)
