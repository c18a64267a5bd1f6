"""``netvane ask``: what one device talked to, from the event store of the flow exporter."""

import argparse
import asyncio
import csv
import re
import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from pathlib import Path
from typing import TextIO

import msgspec

from netvane.common import control
from netvane.common.clock import NANOSECONDS, Clock, SystemClock, rfc3339
from netvane.common.command import add_place_flags, mac_argument, place_of, stopped_store
from netvane.common.config import ConfigError, Duration
from netvane.common.event_file import reading_connection
from netvane.common.sqlite_file import StoreError
from netvane.flows.devices import read_devices
from netvane.flows.questions import DEFAULT_LIMIT, ROWS, Question, View, answer, begins
from netvane.flows.tables import print_columns

EXPORTER = "flows"


MacsOf = Callable[[str], tuple[str, ...]]  # of the devices that have a name


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Asks how far back the events of a view reach; the answer is Unix ns, or null where there are none."""

    view: View


def handlers(path: Path, macs_of: MacsOf, flush: Callable[[], None]) -> dict[str, control.Handler]:
    """Answer from the event file at `path`, each in a thread and with a connection of its own.

    `flush` waits until what was appended before the question is in that file.
    """

    def rows(question: Question) -> list[bytes]:
        flush()
        with closing(reading_connection(path)) as connection:
            return [msgspec.json.encode(row) for row in answer(connection, question, macs_of(question.device))]

    def history(asked: History) -> int | None:
        with closing(reading_connection(path)) as connection:
            return begins(connection, asked.view)

    async def handle_ask(arguments: msgspec.Raw) -> AsyncGenerator[bytes, None]:
        question = msgspec.json.decode(arguments, type=Question)
        for row in await asyncio.to_thread(rows, question):
            yield row

    async def handle_history(arguments: msgspec.Raw) -> AsyncGenerator[bytes, None]:
        asked = msgspec.json.decode(arguments, type=History)
        yield msgspec.json.encode(await asyncio.to_thread(history, asked))

    return {"ask": handle_ask, "history": handle_history}


def main(argv: list[str], clock: Clock | None = None) -> int:
    """Exit code: 0 fine, 1 a fault at run time, 2 a bad command line."""
    options = _parser().parse_args(argv)
    clock = clock or SystemClock()
    since = max(0, clock.wall_ns() - int(options.last * NANOSECONDS))
    view: View = options.view
    question = Question(device=options.device, view=view, since=since, limit=options.limit)
    try:
        place = place_of(options)
        rows, oldest = _ask_or_open(question, place.data_dir, place.run_dir, clock)
    except ConfigError as error:
        print(f"netvane ask: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except (control.ControlError, StoreError, sqlite3.Error, OSError, ValueError) as error:
        print(f"netvane ask: {error}", file=sys.stderr)  # noqa: T201 - the answer to whoever typed the command
        return 1
    _FORMATS[options.format](view, rows, sys.stdout)
    if not rows:
        print(f"netvane ask: nothing of {options.device} in that time", file=sys.stderr)  # noqa: T201
    if oldest is not None and oldest > since:
        print(f"netvane ask: nothing is kept from before {rfc3339(oldest)[:19]}Z", file=sys.stderr)  # noqa: T201
    if len(rows) == options.limit:
        print(f"netvane ask: stopped after {len(rows)}; --limit N shows more", file=sys.stderr)  # noqa: T201
    return 0


def _ask_or_open(
    question: Question, data_dir: Path, run_dir: Path, clock: Clock
) -> tuple[list[dict[str, object]], int | None]:
    """The answer, and how far back the events reach (Unix ns; None: there are none).

    From the running exporter; where it is stopped, from its file, as its owner for that long.
    """
    socket = control.socket_path(run_dir, EXPORTER)
    try:
        rows = [msgspec.json.decode(row) for row in control.ask(socket, "ask", msgspec.to_builtins(question))]
        (oldest,) = control.ask(socket, "history", msgspec.to_builtins(History(question.view)))
        return rows, msgspec.json.decode(oldest, type=int | None)
    except control.ControlAbsentError:
        with stopped_store(EXPORTER, data_dir, run_dir) as connection:
            macs = read_devices(run_dir, clock).macs.get(question.device.lower(), ())
            rows = [msgspec.to_builtins(row) for row in answer(connection, question, macs)]
            return rows, begins(connection, question.view)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="netvane ask", description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", required=True, type=_device, metavar="MAC|NAME")
    parser.add_argument(
        "--last", type=parse_duration, default=parse_duration("1h"), metavar="AGE", help="15m, 1h, 31d; default 1h"
    )
    views = parser.add_mutually_exclusive_group()
    for name, purpose in (
        ("peers", "whom it talked to, summed up; the default"),
        ("flows", "each conversation"),
        ("dns", "the names it asked for"),
    ):
        views.add_argument(f"--{name}", dest="view", action="store_const", const=name, help=purpose)
    parser.set_defaults(view="peers")
    parser.add_argument("--format", choices=tuple(_FORMATS), default="table")
    parser.add_argument("--limit", type=_positive, default=DEFAULT_LIMIT, metavar="N", help="default %(default)s")
    add_place_flags(parser)
    return parser


def _device(text: str) -> str:
    try:
        return mac_argument(text)
    except argparse.ArgumentTypeError:
        return text


def parse_duration(text: str) -> Duration:
    """Raises argparse.ArgumentTypeError."""
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"not a number above 0: {text!r}")
    return int(text)


def _write_json(_: View, rows: list[dict[str, object]], out: TextIO) -> None:
    out.write(msgspec.json.format(msgspec.json.encode(rows), indent=1).decode() + "\n")


def _write_csv(view: View, rows: list[dict[str, object]], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(ROWS[view].__struct_fields__)
    writer.writerows([_text(row[name]) for name in ROWS[view].__struct_fields__] for row in rows)


def _write_table(view: View, rows: list[dict[str, object]], out: TextIO) -> None:
    names = list(ROWS[view].__struct_fields__)
    print_columns([names, *([_text(row[name]) for name in names] for row in rows)], out)


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


_FORMATS: dict[str, Callable[[View, list[dict[str, object]], TextIO], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
}
