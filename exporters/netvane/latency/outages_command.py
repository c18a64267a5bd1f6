"""``netvane outages``: the list for the provider, with culprit, evidence and totals, from the event store."""

import argparse
import csv
import io
import json
import os
import sqlite3
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from netvane.common.clock import NANOSECONDS, Clock, SystemClock
from netvane.common.command import add_place_flags, ask_or_open, moment, place_of
from netvane.common.config import ConfigError
from netvane.common.control import ControlError
from netvane.common.event_schema import Numbers
from netvane.common.event_schema import Outage as OutageEvent
from netvane.common.event_search import Query
from netvane.common.sqlite_file import StoreError
from netvane.common.timestamps import parse_rfc3339

COLUMNS = ("start", "end", "seconds", "culprit", "spells", "evidence")


class Row(msgspec.Struct, frozen=True):
    """One outage; `end` is None while it lasts, and `seconds` are then those so far."""

    start: str
    end: str | None
    seconds: float
    culprit: str
    spells: int
    evidence: Numbers


def rows_of(bodies: Iterable[bytes], now_ns: int) -> list[Row]:
    """Outages, oldest first, from the bodies of outage events, newest first.

    All events of one outage have the same start; the newest says how it ended, the first what was seen.
    """
    outages: dict[str, list[OutageEvent]] = {}
    for body in bodies:
        event = msgspec.json.decode(body, type=OutageEvent)
        outages.setdefault(event.start, []).append(event)
    rows = []
    for start, events in sorted(outages.items()):
        newest = events[0]
        evidence = next((event.evidence for event in reversed(events) if event.evidence), {})
        until = now_ns if newest.end is None else parse_rfc3339(newest.end)
        seconds = max(0.0, (until - parse_rfc3339(start)) / NANOSECONDS)
        rows.append(Row(start, newest.end, round(seconds, 3), newest.culprit, newest.count, evidence))
    return rows


def as_text(rows: list[Row], since_ns: int, now_ns: int) -> str:
    lines = [f"{'began (UTC)':<20}{'ended':<20}{'lasted':>12}  {'culprit':<16}spells  evidence"]
    for row in rows:
        end = "lasts" if row.end is None else _moment(row.end)
        evidence = " ".join(f"{name}={value:g}" for name, value in row.evidence.items() if value is not None)
        place = f"{_moment(row.start):<20}{end:<20}{_length(row.seconds):>12}"
        lines.append(f"{place}  {row.culprit:<16}{row.spells:<8}{evidence}".rstrip())
    total = sum(row.seconds for row in rows)
    watched = max((now_ns - since_ns) / NANOSECONDS, 1.0)
    worked = 100 * (1 - min(total / watched, 1))
    noun = "outage" if len(rows) == 1 else "outages"
    lines.append(f"{len(rows)} {noun}, {_length(total)} in all: {worked:.3f} % of the time it worked")
    for culprit in sorted({row.culprit for row in rows}):
        blamed = [row.seconds for row in rows if row.culprit == culprit]
        lines.append(f"  {culprit}: {len(blamed)}, {_length(sum(blamed))}")
    return "\n".join(lines) + "\n"


def as_csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        evidence = json.dumps(row.evidence, sort_keys=True)
        writer.writerow([row.start, row.end or "", f"{row.seconds:.3f}", row.culprit, row.spells, evidence])
    return text.getvalue()


def as_json(rows: list[Row]) -> str:
    totals: dict[str, dict[str, float]] = {}
    for row in rows:
        total = totals.setdefault(row.culprit, {"count": 0, "seconds": 0.0})
        total["count"] += 1
        total["seconds"] += row.seconds
    return json.dumps({"outages": msgspec.to_builtins(rows), "totals": totals}, indent=2) + "\n"


def main(argv: list[str], clock: Clock | None = None) -> int:
    """Exit code: 0 fine, 1 a fault at run time, 2 a bad command line or configuration."""
    clock = clock or SystemClock()
    parser = argparse.ArgumentParser(prog="netvane outages", description=__doc__, allow_abbrev=False)
    parser.add_argument("--since", default="30d", help="how long ago (30d, 12h) or an RFC 3339 time; default 30d")
    parser.add_argument("--format", choices=("text", "csv", "json"), default="text")
    add_place_flags(parser)
    options = parser.parse_args(argv)
    now = clock.wall_ns()
    since = moment(parser, options.since, clock)
    try:
        place = place_of(options)
        query = Query(since=since, event="outage")
        rows = rows_of(ask_or_open("latency", query, place.data_dir, place.run_dir), now)
        text = {"text": lambda: as_text(rows, since, now), "csv": lambda: as_csv(rows), "json": lambda: as_json(rows)}
        sys.stdout.write(text[options.format]())
        sys.stdout.flush()
    except ConfigError as error:
        return _fail(error, 2)
    except BrokenPipeError:  # `| head` has seen enough; the interpreter's own flush at exit must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ControlError, StoreError, sqlite3.Error, msgspec.DecodeError, OSError, ValueError) as error:
        return _fail(error, 1)
    return 0


def _fail(error: Exception, code: int) -> int:
    print(f"netvane outages: {error}", file=sys.stderr)  # noqa: T201 - the answer to the command
    return code


def _moment(text: str) -> str:
    return f"{datetime.fromtimestamp(parse_rfc3339(text) // NANOSECONDS, UTC):%Y-%m-%d %H:%M:%S}"


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
