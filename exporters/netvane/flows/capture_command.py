"""``netvane capture list|export``: the packets that were recorded lately."""

import argparse
import sys
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from netvane.common import control
from netvane.common.clock import NANOSECONDS, Clock, SystemClock
from netvane.common.command import add_place_flags, mac_argument, place_of
from netvane.common.config import ConfigError
from netvane.common.settings import load, storage_of
from netvane.flows import evidence, recorder
from netvane.flows.ask import EXPORTER, parse_duration
from netvane.flows.recorder import begun_ns, files
from netvane.flows.settings import FlowsSettings
from netvane.flows.tables import print_columns

SNAPLEN = 262_144  # everything
MINUTE = 60 * NANOSECONDS


class Exported(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody has packets of a device in a file now: its owner may want to know."""

    device: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")]
    file: str
    packets: Annotated[int, msgspec.Meta(ge=0)]


def main(argv: list[str], clock: Clock | None = None) -> int:
    """Exit code: 0 fine, 1 a fault at run time, 2 a bad command line."""
    options = _parser().parse_args(argv)
    now = (clock or SystemClock()).wall_ns()
    try:
        directory = options.directory or _directory(options)
        recorded = sorted(files(directory), key=begun_ns)
        if not recorded:
            print(f"netvane capture: nothing is recorded in {directory}", file=sys.stderr)  # noqa: T201
            return 1
        if options.action == "list":
            _list(recorded, now)
            return 0
        since = now - int(options.last * NANOSECONDS)
        packets = evidence.packets_of(recorded, options.device, since)
        count = evidence.write(options.output, packets, snaplen=SNAPLEN)
    except ConfigError as error:
        print(f"netvane capture: {error}", file=sys.stderr)  # noqa: T201 - the answer to whoever typed the command
        return 2
    except OSError as error:
        print(f"netvane capture: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{count} packets in {options.output}")  # noqa: T201
    _note(options, Exported(device=options.device, file=_printable(options.output.absolute()), packets=count))
    return 0


def handler(note: Callable[[Exported], None]) -> control.Handler:
    """Answers the request `exported`."""

    async def handle(arguments: msgspec.Raw) -> AsyncGenerator[bytes, None]:
        note(msgspec.json.decode(arguments, type=Exported))
        yield b"true"

    return handle


def _note(options: argparse.Namespace, exported: Exported) -> None:
    """In the events of the exporter, where that runs."""
    try:
        socket = control.socket_path(place_of(options).run_dir, EXPORTER)
        list(control.ask(socket, "exported", msgspec.to_builtins(exported)))
    except control.ControlAbsentError:
        return
    except (ConfigError, control.ControlError) as error:
        print(f"netvane capture: not noted as an event: {error}", file=sys.stderr)  # noqa: T201


def _printable(path: Path) -> str:
    """A file's name may be bytes that are no text."""
    return str(path).encode(errors="replace").decode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="netvane capture", description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, purpose in (("list", "the files of the recording"), ("export", "the packets of one device")):
        action = actions.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
        action.add_argument("--directory", type=Path, metavar="DIR", help="the recording's; overrides netvane.yml")
        add_place_flags(action)
        if name == "export":
            action.add_argument("--device", required=True, type=mac_argument, metavar="MAC")
            action.add_argument(
                "--last", type=parse_duration, default=parse_duration("1h"), metavar="AGE", help="default 1h"
            )
            action.add_argument(
                "--output", type=Path, default=Path("export.pcap"), metavar="FILE", help="default %(default)s"
            )
    return parser


def _directory(options: argparse.Namespace) -> Path:
    """Raises ConfigError."""
    document = load(options.config_file)
    recorded = document.section("flows", FlowsSettings).recorder.directory
    return recorded or storage_of(document, options.data_dir, options.run_dir).run_dir / recorder.FOLDER


def _list(recorded: list[Path], now: int) -> None:
    rows: list[list[object]] = [["file", "begun", "bytes"]]
    for path in recorded:
        begun = datetime.fromtimestamp(begun_ns(path) // NANOSECONDS, UTC)
        rows.append([path.name, f"{begun:%Y-%m-%dT%H:%M:%SZ}", path.stat().st_size])
    print_columns(rows, sys.stdout)
    print(f"The last {(now - begun_ns(recorded[0])) // MINUTE} min are recorded.")  # noqa: T201
