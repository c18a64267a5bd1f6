"""``netvane dhcp``."""

from netvane.common import service
from netvane.dhcp.exporter import DhcpExporter

PORT = 9743


def main(argv: list[str]) -> int:
    return service.run("dhcp", PORT, DhcpExporter, argv)
