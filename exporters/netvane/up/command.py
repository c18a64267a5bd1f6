"""``netvane up``: everything from one command, until Ctrl-C."""

import argparse
import asyncio
import sys
from pathlib import Path

from netvane.common import log as logs
from netvane.common.config import ConfigError
from netvane.up import namespace
from netvane.up.places import UpError
from netvane.up.render_command import time_scale
from netvane.up.session import Session


def main(argv: list[str]) -> int:
    """Returns 0 after Ctrl-C or SIGTERM, 1 for a fault, 2 for a bad command line or configuration."""
    options = _parser().parse_args(argv)
    logs.setup(options.log_level, options.log_format)
    try:
        if options.netns is not None and not namespace.is_inside(options.netns):
            namespace.enter(options.netns, [sys.executable, "-P", "-m", "netvane.cli", "up", *argv])
        return asyncio.run(Session(options).run())
    except (ConfigError, UpError) as error:
        print(f"netvane up: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="netvane up",
        allow_abbrev=False,
        description="Run the exporters, Prometheus, Alertmanager and the node exporter, each as a process of its own.",
        epilog="SIGHUP reads the configuration again; Ctrl-C stops everything.",
    )
    parser.add_argument("--config.file", dest="config_file", type=Path, metavar="FILE", help="netvane.yml")
    parser.add_argument("--netns", metavar="NAME", help="run inside this network namespace")
    parser.add_argument("--storage.data-dir", dest="data_dir", type=Path, metavar="DIR", help="overrides the file's")
    parser.add_argument("--storage.run-dir", dest="run_dir", type=Path, metavar="DIR", help="overrides the file's")
    # For labs: what `netvane render --time-scale` does.
    parser.add_argument("--time-scale", dest="time_scale", type=time_scale, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument(
        "--log.level", dest="log_level", choices=logs.LEVELS, default="info", help="debug prints all that the parts log"
    )
    parser.add_argument("--log.format", dest="log_format", choices=("logfmt", "json"), default="logfmt")
    return parser
