"""The last packets, in a rotating set of files that dumpcap(1) writes with a ring of its own.

dumpcap deletes its oldest file when it begins a new one, so that the set is bounded in bytes; files that are older than
what is to be kept are deleted here. What an earlier run left is bounded by the same two rules.
"""

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import msgspec

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.log import get_logger

log = get_logger("flows.recorder")

FOLDER = "packets"  # in the run directory
PREFIX = "packets"
FILES = 16  # so that little of the time is lost when one goes
SMALLEST_KB = 64
HEADER_BYTES = 128  # Ethernet, VLAN, IPv6 and TCP with options
STOP_SECONDS = 2.0


class Recording(msgspec.Struct, frozen=True):
    """What is on the disk: bytes, and when the oldest file was begun (Unix ns; 0: there is none)."""

    running: bool
    bytes: int
    oldest_ns: int


class Recorder:
    """Looked after by `tend`, every few seconds."""

    def __init__(
        self, directory: Path, interfaces: tuple[str, ...], *, size: int, keep_seconds: float, full: bool, clock: Clock
    ) -> None:
        """`size`: bytes of all files together; `full`: whole packets instead of their headers."""
        self.directory = directory
        self._interfaces = interfaces
        self._size = size
        self._keep_ns = int(keep_seconds * NANOSECONDS)
        self._full = full
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None

    def tend(self) -> str | None:
        """Start dumpcap where it does not run, delete what is too old; why it does not run, or None."""
        self._prune()
        if self._process is not None and self._process.poll() is None:
            return None
        ended = self._process is not None
        program = shutil.which("dumpcap")
        if program is None:
            return "no `dumpcap` on PATH: packets are not recorded"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._process = subprocess.Popen(
                [program, *self._flags()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                umask=0o077,
            )
        except OSError as error:
            self._process = None
            return f"packets are not recorded: {error.strerror}"
        return "dumpcap ended and was started again" if ended else None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def recording(self) -> Recording:
        states = [state for path in files(self.directory) if (state := _state(path)) is not None]
        running = self._process is not None and self._process.poll() is None
        begun = min((begun_ns(path) for path in files(self.directory)), default=0)
        return Recording(running, sum(state.st_size for state in states), begun)

    def _flags(self) -> list[str]:
        kilobytes = max(self._size // FILES // 1000, SMALLEST_KB)
        snap = [] if self._full else ["-s", str(HEADER_BYTES)]
        interfaces = [word for name in self._interfaces for word in ("-i", name, "-p", *snap)]
        rotation = ["-b", f"filesize:{kilobytes}", "-b", f"files:{FILES}"]
        return ["-q", *interfaces, *rotation, "-w", str(self.directory / f"{PREFIX}.pcapng")]

    def _prune(self) -> None:
        """Files of this run that are too old, and of earlier runs what is too much."""
        oldest = self._clock.wall_ns() - self._keep_ns
        found = sorted(files(self.directory), key=begun_ns)
        size = 0
        for number, path in enumerate(reversed(found)):
            state = _state(path)
            if state is None:
                continue
            size += state.st_size
            if number and (state.st_mtime_ns < oldest or size > self._size + self._size // FILES):
                with contextlib.suppress(OSError):  # dumpcap was faster
                    path.unlink()


def files(directory: Path) -> list[Path]:
    """The files of a recording: ``packets_00001_20261121120000.pcapng``, dumpcap's own pattern."""
    return sorted(directory.glob(f"{PREFIX}_*.pcapng"))


def begun_ns(path: Path) -> int:
    """When a file was begun, from its name, which is in local time; falls back on its last change."""
    try:
        return int(time.mktime(time.strptime(path.stem.rsplit("_", 1)[1], "%Y%m%d%H%M%S"))) * NANOSECONDS
    except (ValueError, IndexError, OverflowError):
        state = _state(path)
        return 0 if state is None else state.st_mtime_ns


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # deleted meanwhile
        return None


def on_disk(directory: Path) -> bool:
    """Whether `directory`, or the first folder above it that is there, is on something else than a tmpfs."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    mounts: list[tuple[int, str]] = []
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind, *_ = line.split(" ")
        if place.resolve().is_relative_to(mount):
            mounts.append((len(mount), kind))
    return max(mounts, default=(0, ""))[1] not in {"tmpfs", "ramfs"}


def bytes_a_day(interfaces: tuple[str, ...], *, full: bool) -> int | None:
    """What would have been written on an average day since the machine's start; None where nothing is known."""
    seconds = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    total = 0.0
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() in interfaces:
            numbers = [int(word) for word in rest.split()]
            size, packets = numbers[0] + numbers[8], numbers[1] + numbers[9]
            total += (size if full else min(size, packets * HEADER_BYTES)) + 36 * packets  # and a block's own header
    return round(total / seconds * 86400) if total else None
