"""The command line of `netvane test-alert`."""

import argparse
import sys
from pathlib import Path

from netvane.common import settings
from netvane.common.clock import SystemClock
from netvane.common.config import ConfigError, Duration
from netvane.up.alertmanager_client import Alertmanager, AlertmanagerError
from netvane.up.jobs import reachable
from netvane.up.settings import Notify, Up
from netvane.up.testalert import configured_receivers, run_tests


def main(argv: list[str]) -> int:
    """Exit code: 0 every receiver accepted, 1 not so (or there is none), 2 a mistake in the command or netvane.yml."""
    parser = argparse.ArgumentParser(
        prog="netvane test-alert",
        allow_abbrev=False,
        description="Send a test alert through every configured receiver and say what happened.",
    )
    parser.add_argument("--config.file", dest="config_file", type=Path, metavar="FILE", help="netvane.yml")
    parser.add_argument("--alertmanager", metavar="URL", help="default: where netvane.yml has it")
    parser.add_argument(
        "--timeout", type=_duration, default=Duration(30), metavar="TIME", help="for each receiver; default 30s"
    )
    options = parser.parse_args(argv)
    try:
        document = settings.load(options.config_file)
        listen = document.section("up", Up).alertmanager_listen
        receivers = configured_receivers(document.section("notify", Notify))
        if not receivers:
            print("no receiver is configured: nobody is told of alerts (netvane.yml: notify)")  # noqa: T201
            return 1
        alertmanager = Alertmanager(options.alertmanager or f"http://{reachable(listen)}")
        all_accepted = True
        for outcome in run_tests(alertmanager, receivers, settings.site_of(document), options.timeout, SystemClock()):
            print(f"{outcome.receiver.name} ({outcome.receiver.place}): {outcome.words}", flush=True)  # noqa: T201
            all_accepted = all_accepted and outcome.accepted
    except ConfigError as error:
        print(f"netvane test-alert: {error}", file=sys.stderr)  # noqa: T201 - the answer to whoever typed the command
        return 2
    except AlertmanagerError as error:
        print(f"netvane test-alert: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0 if all_accepted else 1


def _duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
