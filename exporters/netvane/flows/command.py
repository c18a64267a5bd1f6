"""``netvane flows``."""

from netvane.common import service
from netvane.flows.exporter import FlowsExporter

PORT = 9744


def main(argv: list[str]) -> int:
    return service.run("flows", PORT, FlowsExporter, argv)
