#!/usr/bin/python3
"""netvane-backup create DIRECTORY [--keep N] | restore FILE: all of Netvane's state on this machine in one file.

A gzipped tar: `manifest.json`, and what is in PLACES under its path without the leading slash. Needs root and nothing
but Debian's Python.

SQLite files are copied by SQLite itself while their exporter runs (its online backup: a reader, which in WAL mode
stops no writer). Prometheus is stopped for the seconds that it takes to link its blocks, which never change, and to
copy its write-ahead log: so the last hours are in the copy, and its admin API is never on.

Exit codes: 0 fine, 1 it did not work (nothing is left half-done), 2 a bad command line.
"""

import argparse
import contextlib
import json
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FORMAT = 1
SQLITE_MAGIC = b"SQLite format 3\0"
SIDE_FILES = ("-wal", "-shm")  # of a SQLite file, whose copy is complete without them
BLOCK = re.compile(r"[0-9A-Z]{26}")  # Prometheus names its blocks by ULID
NAME = "netvane-%Y%m%dT%H%M%SZ.tar.gz"
GLOB = "netvane-[0-9]*T[0-9]*Z.tar.gz"
METRIC = "netvane_backup_last_success_timestamp_seconds"


class BackupError(Exception):
    """What went wrong, in one line."""


@dataclass(frozen=True)
class Place:
    """`path`: a directory or a file; `user`: whose it becomes when it is restored; `units`: stopped meanwhile."""

    path: str
    user: str
    units: tuple[str, ...] = ()


PLACES = (
    *(
        Place(f"/var/lib/netvane/{name}", "netvane", (f"netvane-{name}",))
        for name in ("latency", "hosts", "dhcp", "flows")
    ),
    Place("/var/lib/netvane/prometheus", "netvane", ("netvane-prometheus",)),
    Place("/var/lib/netvane/alertmanager", "netvane", ("netvane-alertmanager",)),
    Place("/var/lib/netvane/grafana/grafana.db", "grafana", ("netvane-grafana",)),
    Place("/etc/netvane/netvane.yml", "root"),
    Place("/etc/netvane/secrets", "netvane"),
    Place("/etc/netvane/rendered", "netvane"),
    Place("/etc/netvane/access_point/passphrase", "root"),
    Place("/etc/netvane/grafana", "grafana"),
)
LEFT_OUT = frozenset({"lock", "queries.active"})  # Prometheus's, for the while that it runs
PROMETHEUS = "netvane-prometheus"


@dataclass(frozen=True)
class Machine:
    """`root`: where the file system is; `systemctl`: the command that knows the units."""

    root: Path
    systemctl: str

    def path(self, place: Place) -> Path:
        return self.root / place.path.lstrip("/")

    def is_active(self, unit: str) -> bool:
        return subprocess.run([self.systemctl, "--quiet", "is-active", unit], check=False).returncode == 0

    def order(self, verb: str, *units: str) -> None:
        """Start or stop. Raises BackupError."""
        if units and subprocess.run([self.systemctl, verb, *units], check=False).returncode != 0:
            raise BackupError(f"systemctl {verb} {' '.join(units)} failed: journalctl -u {units[0]} has the reason")

    @contextlib.contextmanager
    def stopped(self, *units: str) -> Iterator[None]:
        """For the while, those of `units` that run are stopped."""
        running = [unit for unit in units if self.is_active(unit)]
        self.order("stop", *running)
        try:
            yield
        finally:
            self.order("start", *running)


def create(machine: Machine, directory: Path, keep: int) -> Path:
    """A new backup in `directory`; the oldest beyond `keep` go. Raises BackupError, OSError and sqlite3.Error."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if keep < 1:
        raise BackupError("--keep: at least 1")
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=_nearest(machine, directory)) as gathered:
        there = [place for place in PLACES if machine.path(place).exists()]
        if not there:
            raise BackupError("there is nothing of Netvane on this machine")
        for place in there:
            target = Path(gathered) / place.path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with machine.stopped(PROMETHEUS) if PROMETHEUS in place.units else contextlib.nullcontext():
                _copy(machine.path(place), target)
        _write_manifest(machine, Path(gathered), there)
        backup = _pack(Path(gathered), directory)
    for old in sorted(directory.glob(GLOB))[:-keep]:
        old.unlink()
    _publish(machine)
    return backup


def _nearest(machine: Machine, directory: Path) -> Path:
    """Where to gather: beside Prometheus's blocks, which can be linked there, else beside the backup."""
    state = machine.root / "var/lib/netvane"
    return state if state.is_dir() else directory


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        _copy_file(source, target)
        return
    target.mkdir(mode=0o700)
    shutil.copystat(source, target)
    for child in sorted(source.iterdir()):
        if child.is_dir() and BLOCK.fullmatch(child.name):
            shutil.copytree(child, target / child.name, copy_function=os.link)
        elif child.is_dir() or (child.is_file() and child.name not in LEFT_OUT and not child.name.endswith(SIDE_FILES)):
            _copy(child, target / child.name)


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as stream:
        is_database = stream.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    if not is_database:
        shutil.copy2(source, target)
        return
    owner = source.stat()
    reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
    with contextlib.closing(reader), contextlib.closing(sqlite3.connect(target)) as copy:
        reader.backup(copy)
    for suffix in SIDE_FILES:  # made by this very look where the exporter was stopped: its own user's again
        with contextlib.suppress(FileNotFoundError):
            os.chown(f"{source}{suffix}", owner.st_uid, owner.st_gid)
    shutil.copystat(source, target)


def _write_manifest(machine: Machine, gathered: Path, places: list[Place]) -> None:
    current = machine.root / "opt/netvane/current"
    manifest = {
        "format": FORMAT,
        "created": time.time(),
        "host": os.uname().nodename,
        "version": current.readlink().name if current.is_symlink() else None,
        "places": [place.path for place in places],
    }
    (gathered / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _pack(gathered: Path, directory: Path) -> Path:
    """One file, only for root, there as a whole or not at all."""
    backup = directory / time.strftime(NAME, time.gmtime())
    descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
                for child in sorted(gathered.iterdir()):
                    archive.add(child, child.name)
            stream.flush()
            os.fsync(stream.fileno())
        Path(partial).replace(backup)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return backup


def _publish(machine: Machine) -> None:
    """Tell Prometheus through the node exporter, where that reads such files."""
    directory = machine.root / "var/lib/netvane/textfile"
    if directory.is_dir():
        partial = directory / "backup.prom.partial"
        text = (
            f"# HELP {METRIC} When the last backup was complete.\n# TYPE {METRIC} gauge\n{METRIC} {time.time():.0f}\n"
        )
        partial.write_text(text, encoding="ascii")
        partial.chmod(0o644)
        partial.replace(directory / "backup.prom")


def restore(machine: Machine, file: Path) -> None:
    """Put everything back and start what ran; if that fails, what was there before is back. Raises as `create`."""
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=_nearest(machine, file.parent)) as directory:
        unpacked, before = Path(directory) / "new", Path(directory) / "before"
        places = [place for place in _unpack(file, unpacked) if _is_wanted(place)]
        for place in places:
            _give(unpacked / place.path.lstrip("/"), place.user)
        try:
            with machine.stopped(*(unit for place in places for unit in place.units)):
                for place in places:
                    _move(machine.path(place), before / place.path.lstrip("/"))
                    _move(unpacked / place.path.lstrip("/"), machine.path(place))
        except BaseException:
            for place in places:
                old = before / place.path.lstrip("/")
                if old.exists():
                    with machine.stopped(*place.units):
                        _move(machine.path(place), Path(directory) / "refused" / place.path.lstrip("/"))
                        _move(old, machine.path(place))
            raise


def _unpack(file: Path, target: Path) -> list[Place]:
    """What of PLACES is in `file`, unpacked below `target`. Raises BackupError where it is no backup."""
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise BackupError(f"{file} has {member.name!r}, which no backup of Netvane has")
                _extract(archive, member, target / path)
        manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise BackupError(f"{file} has format {manifest['format']}; this program knows {FORMAT}")
        return [place for place in PLACES if place.path in manifest["places"]]
    except (tarfile.TarError, EOFError, KeyError, TypeError, ValueError, FileNotFoundError, zlib.error) as error:
        raise BackupError(f"{file} is no backup of Netvane, or is damaged: {error}") from error


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(member)
    if content is None:
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            shutil.copyfileobj(content, stream)
    path.chmod(member.mode & 0o777)


def _is_wanted(place: Place) -> bool:
    """Grafana's state stays out where there is no Grafana."""
    try:
        pwd.getpwnam(place.user)
    except KeyError:
        sys.stderr.write(f"netvane-backup: {place.path} is left out: there is no user {place.user} here\n")
        return False
    return True


def _give(path: Path, user: str) -> None:
    """Ids differ from machine to machine."""
    entry = pwd.getpwnam(user)
    for found in (path, *path.rglob("*")):
        os.chown(found, entry.pw_uid, entry.pw_gid)


def _move(source: Path, target: Path) -> None:
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)


def main(arguments: list[str]) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="netvane-backup", description="All of Netvane's state in one file.")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where the file system is")
    parser.add_argument("--systemctl", default="systemctl", help="the command that knows the units")
    commands = parser.add_subparsers(dest="command", required=True)
    creating = commands.add_parser("create", help="write a new backup")
    creating.add_argument("directory", type=Path)
    creating.add_argument("--keep", type=int, default=7, help="how many stay")
    restoring = commands.add_parser("restore", help="put a backup back")
    restoring.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    machine = Machine(options.root, options.systemctl)
    try:
        if options.command == "create":
            sys.stdout.write(f"{create(machine, options.directory, options.keep)}\n")
        else:
            restore(machine, options.file)
    except (BackupError, OSError, sqlite3.Error) as error:
        sys.stderr.write(f"netvane-backup: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
