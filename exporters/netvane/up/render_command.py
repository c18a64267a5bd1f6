"""The command line of `netvane render`."""

import argparse
import sys
from pathlib import Path

from netvane.common import settings
from netvane.common.config import ConfigError
from netvane.up.render import RenderOptions, render
from netvane.up.settings import is_host_port, is_url


def main(argv: list[str]) -> int:
    """Exit code: 0 fine, 1 the directory cannot be written, 2 a mistake on the command line or in netvane.yml."""
    parser = argparse.ArgumentParser(
        prog="netvane render",
        allow_abbrev=False,
        description="Write the configuration of Prometheus, Alertmanager and Loki into DIR.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--config.file", dest="config_file", type=Path, metavar="FILE", help="netvane.yml")
    parser.add_argument(
        "--storage.data-dir", dest="data_dir", type=Path, metavar="DIR", help="overrides the file's, for Loki's place"
    )
    parser.add_argument(
        "--time-scale",
        type=time_scale,
        default=1.0,
        metavar="X",
        help="multiply how long alerts wait by X, 0 < X <= 1; for tests",
    )
    parser.add_argument(
        "--target",
        type=_target,
        action="append",
        default=[],
        metavar="JOB=HOST:PORT",
        help="where an exporter is, when not at its usual address; may be repeated",
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="JOB", help="what does not run here; may be repeated"
    )
    parser.add_argument(
        "--inline-secrets",
        action="store_true",
        help="copy passwords into alertmanager.yml, when Alertmanager's user cannot read their files",
    )
    parser.add_argument(
        "--grafana.url",
        dest="grafana",
        type=_base_url,
        metavar="URL",
        help="the Grafana that has the dashboards, for the links of alerts; without it they lead to Prometheus",
    )
    options = parser.parse_args(argv)
    try:
        rendered = render(
            settings.load(options.config_file),
            options.directory,
            RenderOptions(
                time_scale=options.time_scale,
                targets=dict(options.target),
                without=frozenset(options.without),
                inline_secrets=options.inline_secrets,
                grafana=options.grafana,
                data_dir=options.data_dir,
            ),
        )
    except ConfigError as error:
        print(f"netvane render: {error}", file=sys.stderr)  # noqa: T201 - the answer to whoever typed the command
        return 2
    except OSError as error:
        print(f"netvane render: {error.filename or options.directory}: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    for path in rendered.changed:
        print(f"written {path}")  # noqa: T201
    for path in rendered.removed:
        print(f"removed {path}")  # noqa: T201
    if not rendered.changed and not rendered.removed:
        print(f"nothing to do: {options.directory} is as it should be")  # noqa: T201
    print(rendered.note)  # noqa: T201
    return 0


def time_scale(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1, got {text!r}")
    return value


def _target(text: str) -> tuple[str, str]:
    job, _, address = text.partition("=")
    if not job or not is_host_port(address) or address.startswith(":"):
        raise argparse.ArgumentTypeError(f"expected JOB=HOST:PORT, got {text!r}")
    return job, address


def _base_url(text: str) -> str:
    if not is_url(text):
        raise argparse.ArgumentTypeError(f"expected http://… or https://…, got {text!r}")
    return text
