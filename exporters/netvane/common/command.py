"""`netvane events`: what an exporter wrote into its event store, newest first."""

import argparse
import json
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from netvane.common import control
from netvane.common.clock import NANOSECONDS, Clock, SystemClock
from netvane.common.config import ConfigError, Duration
from netvane.common.event_file import open_database
from netvane.common.event_schema import KINDS
from netvane.common.event_search import END_OF_TIME, Query, search
from netvane.common.events import event_file_of
from netvane.common.settings import Storage, load, storage_of
from netvane.common.sqlite_file import OwnerLock, StoreError, StoreInUseError
from netvane.common.timestamps import parse_rfc3339

EXPORTERS = ("latency", "hosts", "dhcp", "flows")
DEFAULT_LIMIT = 1000
SPOOL_BYTES = 16 * 2**20  # in memory; more goes into a temporary file
_SHOWN_APART = frozenset({"v", "ts", "event", "site", "host"})


def main(argv: list[str], clock: Clock | None = None) -> int:
    """Exit code: 0 fine, 1 a fault at run time, 2 a bad command line."""
    clock = clock or SystemClock()
    parser = _parser()
    try:
        options = parser.parse_args(argv)
        query = Query(
            since=moment(parser, options.since, clock),
            until=END_OF_TIME if options.until is None else moment(parser, options.until, clock),
            event=options.event,
            mac=options.mac,
            name=options.name,
            limit=options.limit,
        )
    except SystemExit as leave:  # argparse has said what is wrong
        return int(leave.code or 0)
    try:
        place = place_of(options)
        _print(spooled(ask_or_open(options.exporter, query, place.data_dir, place.run_dir)), options)
    except BrokenPipeError:  # `| head` has seen enough; the interpreter's own flush at exit must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ConfigError as error:
        print(f"netvane events: {error}", file=sys.stderr)
        return 2
    except (control.ControlError, StoreError, sqlite3.Error, OSError, ValueError) as error:
        print(f"netvane events: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def ask_or_open(exporter: str, query: Query, data_dir: Path, run_dir: Path) -> Iterator[bytes]:
    """Bodies from the running exporter; where it is stopped, from its file, as its owner for that long.

    Raises ControlError, StoreError, sqlite3.Error, OSError.
    """
    try:
        yield from control.ask(control.socket_path(run_dir, exporter), "events", msgspec.to_builtins(query))
    except control.ControlAbsentError:
        with stopped_store(exporter, data_dir, run_dir) as connection:
            for body in search(connection, query):
                yield body.encode()


@contextmanager
def stopped_store(exporter: str, data_dir: Path, run_dir: Path) -> Iterator[sqlite3.Connection]:
    """The event database of an exporter that is not running, owned for that long.

    Raises StoreError (it runs after all, or never did), sqlite3.Error.
    """
    path = event_file_of(data_dir, exporter)
    if not path.is_file():  # its owner would make one
        raise StoreError(f"the {exporter} exporter is not running, and there is no {path}")
    try:
        lock = OwnerLock(path)
    except StoreInUseError as error:
        listened = control.socket_path(run_dir, exporter)
        raise StoreError(f"the {exporter} exporter is running but does not listen on {listened}") from error
    try:
        with closing(open_database(path)) as connection:
            yield connection
    finally:
        lock.release()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="netvane events", description=__doc__)
    parser.add_argument("--exporter", required=True, choices=EXPORTERS, help="whose events")
    parser.add_argument(
        "--since", default="24h", metavar="TIME", help="from then on: an age (15m, 24h, 30d) or RFC 3339; default 24h"
    )
    parser.add_argument("--until", metavar="TIME", help="before then; default: no end")
    parser.add_argument("--event", choices=KINDS, help="only this kind")
    parser.add_argument("--mac", type=mac_argument, help="only this device")
    parser.add_argument("--name", help="only devices that had this name then")
    parser.add_argument("--limit", type=_positive, default=DEFAULT_LIMIT, metavar="N", help="default %(default)s")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default %(default)s")
    add_place_flags(parser)
    return parser


def add_place_flags(parser: argparse.ArgumentParser) -> None:
    """Where the exporter's files are, for a command that asks it."""
    parser.add_argument("--config.file", dest="config_file", type=Path, metavar="FILE", help="netvane.yml")
    parser.add_argument("--storage.data-dir", dest="data_dir", type=Path, metavar="DIR", help="overrides the file's")
    parser.add_argument("--storage.run-dir", dest="run_dir", type=Path, metavar="DIR", help="overrides the file's")


def place_of(options: argparse.Namespace) -> Storage:
    """Raises ConfigError."""
    return storage_of(load(options.config_file), options.data_dir, options.run_dir)


def moment(parser: argparse.ArgumentParser, text: str, clock: Clock) -> int:
    """Unix nanoseconds; leaves through `parser` where `text` is neither an age nor a time."""
    try:
        return max(0, clock.wall_ns() - int(Duration.parse(text) * NANOSECONDS))
    except ValueError:
        pass
    try:
        return min(max(0, parse_rfc3339(text)), END_OF_TIME)
    except ValueError:
        parser.error(f"not a time: {text!r}; expected an age such as 15m, 24h or 30d, or 2026-11-21T12:00:00Z")


def mac_argument(text: str) -> str:
    digits = re.sub(r"[:.-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        raise argparse.ArgumentTypeError(f"not a MAC address: {text!r}")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,11}", text):
        raise argparse.ArgumentTypeError(f"not a number above 0: {text!r}")
    return int(text)


def spooled(bodies: Iterator[bytes]) -> Iterator[bytes]:
    """All are taken before the first is shown: who pages through them holds up neither the exporter nor its file."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        spool.writelines(body + b"\n" for body in bodies)  # JSON has its newlines escaped
        spool.seek(0)
        for line in spool:
            yield line.rstrip(b"\n")


def _print(bodies: Iterator[bytes], options: argparse.Namespace) -> None:
    count = 0
    for body in bodies:
        sys.stdout.buffer.write((body if options.format == "json" else as_text(body).encode()) + b"\n")
        count += 1
    sys.stdout.buffer.flush()
    if count == options.limit:
        print(f"netvane events: stopped after {count}; --limit N shows more", file=sys.stderr)


def as_text(body: bytes) -> str:
    """One line: time to the millisecond, kind, then the fields; nothing in it can move a terminal's cursor."""
    event = json.loads(body)
    fields = (f"{key}={_plain(value)}" for key, value in event.items() if key not in _SHOWN_APART and value is not None)
    return f"{event['ts'][:23]}Z  {event['event']:<8} {' '.join(fields)}"


def _plain(value: object) -> str:
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(' ="'):
        return value
    return json.dumps(value, separators=(",", ":"))
