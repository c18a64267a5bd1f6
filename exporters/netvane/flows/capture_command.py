"""``netvane capture list|export``: the packets that were recorded lately."""

import argparse
import os
import struct
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from netvane.common.clock import NANOSECONDS, Clock, SystemClock
from netvane.flows.ask import mac_address, parse_duration
from netvane.flows.batch import Batch
from netvane.flows.pcapfile import CaptureFile, CaptureFileError
from netvane.flows.recorder import begun_ns, files
from netvane.flows.tables import print_columns

_MAGIC_NANOSECONDS = 0xA1B23C4D
_SNAPLEN, _ETHERNET = 262144, 1


def main(argv: list[str], clock: Clock | None = None) -> int:
    """Exit code: 0 fine, 1 a fault at run time, 2 a bad command line."""
    options = _parser().parse_args(argv)
    try:
        if options.action == "list":
            _list(options.directory)
            return 0
        since = (clock or SystemClock()).wall_ns() - int(options.last * NANOSECONDS)
        count = _export(options.directory, options.device, since, options.output)
    except (CaptureFileError, OSError) as error:
        print(f"netvane capture: {error}", file=sys.stderr)  # noqa: T201 - the answer to whoever typed the command
        return 1
    print(f"{count} packets in {options.output}")  # noqa: T201
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="netvane capture", description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, purpose in (("list", "the files of the recording"), ("export", "the packets of one device")):
        action = actions.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
        action.add_argument("--directory", type=Path, default=Path("/run/netvane/packets"), help="default %(default)s")
        if name == "export":
            action.add_argument("--device", required=True, type=mac_address, metavar="MAC")
            action.add_argument(
                "--last", type=parse_duration, default=parse_duration("1h"), metavar="AGE", help="default 1h"
            )
            action.add_argument(
                "--output", type=Path, default=Path("export.pcap"), metavar="FILE", help="default %(default)s"
            )
    return parser


def _list(directory: Path) -> None:
    rows: list[list[object]] = [["file", "begun", "bytes"]]
    for path in files(directory):
        begun = datetime.fromtimestamp(begun_ns(path) // NANOSECONDS, UTC)
        rows.append([path.name, f"{begun:%Y-%m-%dT%H:%M:%SZ}", path.stat().st_size])
    print_columns(rows, sys.stdout)


def _export(directory: Path, mac: str, since: int, output: Path) -> int:
    """Write the packets from and to `mac` since then, oldest file first; returns how many. Raises OSError."""
    wanted = int.from_bytes(bytes.fromhex(mac.replace(":", "")), "little")
    count = 0
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        os.fchmod(descriptor, 0o600)
        out.write(struct.pack("=IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAPLEN, _ETHERNET))
        for batch in _batches(directory):
            words = batch.words()
            device = (words[0] >> np.uint64(16) == wanted) | (words[1] & np.uint64(0xFFFFFFFFFFFF) == wanted)
            rows = np.flatnonzero(device & (batch.ts >= since) & (batch.captured >= 12))
            for frame, wire, ts in zip(
                batch.frames_at(rows), batch.wire[rows].tolist(), batch.ts[rows].tolist(), strict=True
            ):
                out.write(struct.pack("=IIII", ts // NANOSECONDS, ts % NANOSECONDS, len(frame), wire) + frame)
            count += len(rows)
    return count


def _batches(directory: Path) -> Iterator[Batch]:
    for path in sorted(files(directory), key=begun_ns):
        try:
            with CaptureFile(path) as file:
                yield from file.batches()
        except CaptureFileError:  # the oldest, gone meanwhile; or one that was just begun, and empty
            continue
