"""The one command: ``netvane COMMAND …``. Each brings its own flags; its module is imported when it is called."""

import sys
from collections.abc import Callable
from importlib import import_module

import netvane

# command -> (module with main(argv) -> exit code, what it does)
COMMANDS = {
    "up": ("netvane.up.command", "run everything: exporters, Prometheus, Alertmanager, node exporter"),
    "latency": ("netvane.latency.command", "exporter: probes of the router and of targets"),
    "hosts": ("netvane.hosts.command", "exporter: who is on the network, who is new, who is missing"),
    "dhcp": ("netvane.dhcp.command", "exporter: DHCP leases, their archive, unknown DHCP servers"),
    "raw": ("netvane.raw.command", "the privileged helper: path traces, sweeps, passive listener"),
    "devices": ("netvane.hosts.devices_command", "list, name, trust, merge and forget devices"),
    "outages": ("netvane.latency.outages_command", "list outages, for the provider"),
    "events": ("netvane.common.command", "search the events of an exporter"),
    "leases": ("netvane.dhcp.leases_command", "who got which address: list, history, export"),
    "flows": ("netvane.flows.command", "exporter: who talks to whom, by the packets of an access point"),
    "ask": ("netvane.flows.ask", "what one device talked to"),
    "capture": ("netvane.flows.capture_command", "list and export recorded packets"),
    "analyze": ("netvane.flows.analyze", "the packet engine over a capture file"),
    "render": ("netvane.up.render_command", "write the configuration of Prometheus and Alertmanager"),
    "check-config": ("netvane.up.check", "check the whole of netvane.yml"),
    "test-alert": ("netvane.up.testalert_command", "send a test alert through every receiver"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns 0 fine, 1 a fault at run time, 2 a bad command line or configuration."""
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else ""
    if name == "--version":
        print(f"netvane {netvane.__version__}")
        return 0
    if name not in COMMANDS:
        wanted_help = name in {"-h", "--help", "help"}
        print(_usage(), file=sys.stdout if wanted_help else sys.stderr)
        return 0 if wanted_help else 2
    command: Callable[[list[str]], int] = import_module(COMMANDS[name][0]).main
    try:
        return command(arguments[1:])
    except KeyboardInterrupt:
        return 130


def _usage() -> str:
    lines = [f"  {name:<14}{purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "usage: netvane COMMAND [flags]; netvane COMMAND --help\n\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
