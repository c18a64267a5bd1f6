"""``netvane latency``."""

from netvane.common import service
from netvane.latency.exporter import LatencyExporter

PORT = 9741


def main(argv: list[str]) -> int:
    return service.run("latency", PORT, LatencyExporter, argv)
