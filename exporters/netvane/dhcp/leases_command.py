"""`netvane leases`: every device that ever held a lease, from the archive of the dhcp exporter."""

import argparse
import csv
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from netvane.common import control
from netvane.common.clock import SystemClock
from netvane.common.command import add_place_flags, mac_argument, place_of, spooled
from netvane.common.config import ConfigError
from netvane.common.sqlite_file import StoreError
from netvane.dhcp.archive import Archive, DeviceRecord, archive_file
from netvane.dhcp.book import DevicesRequest

_LIST = "{:<18} {:<40} {:<28} {:<17} {:<17} {}"
_COLUMNS = (
    *("mac", "client_id", "first", "last", "vendor_class", "fingerprint", "host_names"),
    *("address", "source", "address_first", "address_last", "expires", "held"),
)


def main(argv: list[str]) -> int:
    """Exit code: 0 fine, 1 a fault at run time (also: no such device), 2 a bad command line."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as leave:  # argparse has said what is wrong
        return int(leave.code or 0)
    mac = options.mac if options.what == "history" else None
    try:
        place = place_of(options)
        bodies = spooled(ask_or_open(DevicesRequest(mac), place.data_dir, place.run_dir))
        devices = (msgspec.json.decode(body, type=DeviceRecord) for body in bodies)
        count = _PRINT[options.what](devices, options)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; the interpreter's own flush at exit must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConfigError as error:
        print(f"netvane leases: {error}", file=sys.stderr)
        return 2
    except (control.ControlError, StoreError, sqlite3.Error, OSError) as error:
        print(f"netvane leases: {error}", file=sys.stderr)
        return 1
    if mac is not None and not count:
        print(f"netvane leases: {mac} never held a lease that is known here", file=sys.stderr)
        return 1
    return 0


def ask_or_open(request: DevicesRequest, data_dir: Path, run_dir: Path) -> Iterator[bytes]:
    """Devices as JSON from the running exporter; where it is stopped, from its file, as its owner for that long.

    Raises ControlError, StoreError, sqlite3.Error, OSError.
    """
    path = archive_file(data_dir)
    try:
        yield from control.ask(control.socket_path(run_dir, "dhcp"), "leases", msgspec.to_builtins(request))
    except control.ControlAbsentError:
        if not path.is_file():  # its owner would make one
            raise StoreError(f"the dhcp exporter is not running, and there is no {path}") from None
        with closing(Archive(path, SystemClock())) as archive:
            yield from map(msgspec.json.encode, archive.devices(request.mac))


def _parser() -> argparse.ArgumentParser:
    places = argparse.ArgumentParser(add_help=False)
    add_place_flags(places)
    parser = argparse.ArgumentParser(prog="netvane leases", description=__doc__)
    actions = parser.add_subparsers(dest="what", required=True, metavar="list|history|export")
    actions.add_parser("list", parents=[places], help="one line for each device, with its latest address and name")
    history = actions.add_parser("history", parents=[places], help="all that one device ever had")
    history.add_argument("mac", type=mac_argument, metavar="MAC")
    export = actions.add_parser("export", parents=[places], help="everything, for other programs")
    export.add_argument(
        "--format", choices=("json", "csv"), default="json", help="default %(default)s: one object a line"
    )
    return parser


def _list(devices: Iterable[DeviceRecord], _: argparse.Namespace) -> int:
    print(_LIST.format("DEVICE", "ADDRESS", "NAME", "FIRST", "LAST", "VENDOR CLASS").rstrip())
    count = 0
    for device in devices:
        held = [entry.address for entry in device.addresses if entry.held]
        latest = ", ".join(held) if held else f"({device.addresses[0].address})" if device.addresses else "-"
        name = device.names[0].name if device.names else "-"
        who = device.mac or device.holder
        times = _time(device.first), _time(device.last)
        print(_LIST.format(who, latest, name, *times, device.vendor_class or "").rstrip())
        count += 1
    return count


def _history(devices: Iterable[DeviceRecord], _: argparse.Namespace) -> int:
    count = 0
    for device in devices:
        count += 1
        print(f"{device.mac or device.holder}   first {_time(device.first)}   last {_time(device.last)}")
        for title, value in (
            ("client id", device.client_id),
            ("vendor class", device.vendor_class),
            ("options asked for", ",".join(map(str, device.fingerprint))),
        ):
            if value:
                print(f"  {title}: {value}")
        for span in device.names:
            print(f"  name {span.name}   {_time(span.first)} to {_time(span.last)}")
        for entry in device.addresses:
            end = "now" if entry.held else _time(entry.last)
            until = f", lease until {_time(entry.expires)}" if entry.held and entry.expires else ""
            print(f"  address {entry.address}   {_time(entry.first)} to {end}{until}   from {entry.source}")
    return count


def _export(devices: Iterable[DeviceRecord], options: argparse.Namespace) -> int:
    count = 0
    table = csv.writer(sys.stdout) if options.format == "csv" else None
    if table is not None:
        table.writerow(_COLUMNS)
    for device in devices:
        count += 1
        if table is None:
            print(msgspec.json.encode(device).decode())
            continue
        common = (
            *(device.mac or "", device.client_id or "", device.first, device.last, device.vendor_class or ""),
            *(" ".join(map(str, device.fingerprint)), " ".join(span.name for span in device.names)),
        )
        for entry in device.addresses:
            spans = entry.first, entry.last, entry.expires or "", int(entry.held)
            table.writerow((*common, entry.address, entry.source, *spans))
    return count


_PRINT = {"list": _list, "history": _history, "export": _export}


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")
