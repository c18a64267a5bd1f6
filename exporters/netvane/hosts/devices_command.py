"""`netvane devices`: list, name, trust, merge and forget devices, export them and import them again.

Asks the running exporter; where that is stopped, it opens the registry itself, as its owner for that long.
"""

import argparse
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from netvane.common import control
from netvane.common.clock import SystemClock
from netvane.common.sqlite_file import StoreError
from netvane.hosts import devices_text, untold, vendors
from netvane.hosts.devices_text import ImportFileError
from netvane.hosts.household import Household
from netvane.hosts.owner import Change, Entry, Forget, List, MergeInto, Owner, OwnerError, Report, Split, Wish
from netvane.hosts.registry_file import RegistryFile, registry_path
from netvane.hosts.registry_rows import take_unsaved


def main(argv: list[str]) -> int:
    """Exit code: 0 fine, 1 a fault at run time, 2 a bad command line or import file."""
    options = _parser().parse_args(argv)
    try:
        wish = options.wish(options)
        answers = ask_or_open(wish, options.data_dir, options.run_dir)
    except (control.ControlError, OwnerError, StoreError, sqlite3.Error, OSError) as error:
        print(f"netvane devices: {error}", file=sys.stderr)  # noqa: T201 - the answer to whoever typed the command
        return 1
    except ImportFileError as error:
        print(f"netvane devices: {error}", file=sys.stderr)  # noqa: T201
        return 2
    sys.stdout.write(_shown(wish, answers, options))
    return 0


def ask_or_open(wish: Wish, data_dir: Path, run_dir: Path) -> list[bytes]:
    """The answer's items as JSON. Raises ControlError, OwnerError, StoreError, sqlite3.Error, OSError."""
    try:
        return list(control.ask(control.socket_path(run_dir, "hosts"), "devices", wish))
    except control.ControlAbsentError:
        path = registry_path(data_dir)
        if not path.is_file():  # its owner would make one
            raise StoreError(f"the hosts exporter is not running, and there is no {path}") from None
        return list(_open_and_do(wish, path))


def _open_and_do(wish: Wish, path: Path) -> Iterator[bytes]:
    clock = SystemClock()
    file = RegistryFile(path, clock)
    try:
        vendors.load_now()
        opened = file.open()
        if opened.restored is not None:
            print(f"netvane devices: {opened.restored}", file=sys.stderr)  # noqa: T201
        household = Household(opened.registry, clock, lambda _event, _mac, _name: None)
        owner = Owner(household.registry, household.labels, clock)
        if isinstance(wish, List):
            yield from (msgspec.json.encode(report) for report in owner.reports(wish))
            return
        events = owner.fulfil(wish)
        untold.keep(household.registry, events, clock.wall_ns())
        file.save(take_unsaved(household.registry)[0])
        file.copy()
        yield from (msgspec.json.encode(event) for event in events)
    finally:
        file.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="netvane devices", description=__doc__, allow_abbrev=False)
    parser.add_argument("--data-dir", type=Path, default=Path("/var/lib/netvane"), help="default %(default)s")
    parser.add_argument("--run-dir", type=Path, default=Path("/run/netvane"), help="default %(default)s")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(action: str, purpose: str, wish: Callable[[argparse.Namespace], Wish]) -> argparse.ArgumentParser:
        adding = actions.add_parser(action, help=purpose)
        adding.set_defaults(wish=wish)
        return adding

    def add_for_one(action: str, purpose: str, wish: Callable[[argparse.Namespace], Wish]) -> argparse.ArgumentParser:
        adding = add(action, purpose, wish)
        adding.add_argument("device", help="its MAC or its name")
        return adding

    shown = ("text", "json")
    listing = add("list", "all devices, those seen last first", lambda _: List())
    show = add_for_one("show", "one device with all that is known of it", lambda o: List(o.device))
    for parser_of_format in (listing, show):
        parser_of_format.add_argument("--format", choices=shown, default="text", help="default %(default)s")
    add_for_one("trust", "say that you know it", lambda o: Change((Entry(o.device, trusted=True),)))
    add_for_one("untrust", "take that back", lambda o: Change((Entry(o.device, trusted=False),)))
    add_for_one("expect", "be told when it is missing", lambda o: Change((Entry(o.device, expected=True),)))
    add_for_one("unexpect", "no longer", lambda o: Change((Entry(o.device, expected=False),)))
    naming = add_for_one("name", "give it a name of your own, or notes", _naming)
    naming.add_argument("name", nargs="?", help="empty: take the name away")
    naming.add_argument("--notes", help="empty: take them away")
    merging = add_for_one("merge", "two MACs are one device", lambda o: MergeInto(o.device, o.into))
    merging.add_argument("into", help="the device that stays")
    add("split", "undo a merge", lambda o: Split(o.mac)).add_argument("mac", help="the MAC that goes its own way")
    add_for_one("forget", "remove it with its history", lambda o: Forget(o.device))
    exporting = add("export", "your words about all devices, to standard output", lambda _: List())
    exporting.add_argument("--format", choices=("yaml", "csv"), default="yaml", help="default %(default)s")
    importing = add("import", "the same from a file, all of it or nothing", _importing)
    importing.add_argument("file", type=Path, help="*.csv is CSV, all else YAML")
    return parser


def _naming(options: argparse.Namespace) -> Wish:
    name, notes = (msgspec.UNSET if text is None else text for text in (options.name, options.notes))
    return Change((Entry(options.device, name=name, notes=notes),))


def _importing(options: argparse.Namespace) -> Wish:
    """Raises ImportFileError."""
    return Change(devices_text.read(options.file), create=True)


def _shown(wish: Wish, answers: list[bytes], options: argparse.Namespace) -> str:
    if not isinstance(wish, List):
        return devices_text.changes(answers)
    if options.action in {"list", "show"} and options.format == "json":
        return b"".join(answer + b"\n" for answer in answers).decode()
    reports = [msgspec.json.decode(answer, type=Report) for answer in answers]
    if options.action == "export":
        return devices_text.export(reports, options.format)
    return devices_text.details(reports[0]) if options.action == "show" else devices_text.table(reports)
