"""A rack: namespaces and processes with one owner and one end.

Everything a rack makes is called ``nv<pid>-<n>-<role>`` and recorded in /run/netvane-lab/nv<pid>-<n>, so that what
a run killed with SIGKILL left behind is found and removed by the next rack: only if that owner is dead.
"""

import atexit
import contextlib
import fcntl
import itertools
import os
import select
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from tests.lab.netns import NETNS, NETNS_ETC, Namespace
from tests.lab.processes import Processes, run, start_time

RECORDS = Path("/run/netvane-lab")
KILL_SECONDS = 5.0

_numbers = itertools.count(1)


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Let an interrupt wait until the block is done (only the main thread can; elsewhere none arrive)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)


def interrupt_on_sigterm() -> None:
    """Make SIGTERM what Ctrl-C is, so that every context manager gets its turn; for programs that use racks."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


class Rack:
    """``with Rack() as rack: left, right = rack.namespaces("left", "right")``."""

    def __init__(self) -> None:
        self.prefix = f"nv{os.getpid()}-{next(_numbers)}"
        self.directory = RECORDS / self.prefix
        self.processes = Processes(self.directory)

    def __enter__(self) -> Self:
        sweep()
        self.directory.mkdir(parents=True)
        (self.directory / "owner").write_text(f"{os.getpid()} {start_time(os.getpid())}\n")
        atexit.register(self.close)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every process, then remove every namespace; a second call finds nothing to do."""
        with deferred_signals():
            self.processes.stop()
            _remove(self.directory)
            atexit.unregister(self.close)

    def namespaces(self, *roles: str) -> list[Namespace]:
        """New ones, empty but for a loopback that is up."""
        made = [Namespace(f"{self.prefix}-{role}", self.processes) for role in roles]
        run(["ip", "-batch", "-"], stdin="\n".join(f"netns add {namespace.name}" for namespace in made))
        for namespace in made:
            # Addresses are usable at once instead of after a second of duplicate address detection.
            namespace.sysctl({"net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0})
            namespace.ip("link set lo up")
        return made


@contextlib.contextmanager
def sweep_lock() -> Iterator[None]:
    """Whoever has it sweeps alone."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    with (RECORDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sweep() -> None:
    """Remove what dead owners left behind."""
    with sweep_lock():
        for directory in RECORDS.glob("nv*-*"):
            if not _owner_lives(directory):
                _remove(directory)


def _owner_lives(directory: Path) -> bool:
    pid = int(directory.name.removeprefix("nv").partition("-")[0])
    now = start_time(pid)
    try:
        recorded = (directory / "owner").read_text().split()[-1:]
    except FileNotFoundError:
        recorded = []
    # A directory just made has no record yet: there the process id has to do.
    return now is not None and recorded in ([], [now])


def _remove(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        for line in (directory / "processes").read_text().splitlines():
            pid, _, started = line.partition(" ")
            _kill(int(pid), started)
    names = [path.name for path in NETNS.glob(f"{directory.name}-*")]
    _kill_members({inode for name in names if (inode := _inode(NETNS / name)) is not None})
    for name in names:
        run(["ip", "netns", "delete", name], check=False)
        shutil.rmtree(NETNS_ETC / name, ignore_errors=True)
    unmount_below(directory)
    shutil.rmtree(directory, ignore_errors=True)


def unmount_below(directory: Path) -> None:
    """Whatever is mounted on it or in it, the last one first. Source: proc(5), /proc/PID/mounts."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        path = Path(line.split()[1])
        if path.is_relative_to(directory):
            run(["umount", "--lazy", str(path)], check=False)


def _kill_members(networks: set[int]) -> None:
    """Whoever is still in there, whichever way it got there; looked for again, since it may just have forked."""
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        members = [pid for pid in _pids() if _inode(Path(f"/proc/{pid}/ns/net")) in networks]
        if not members:
            return
        for pid in members:
            started = start_time(pid)
            if started is not None and _inode(Path(f"/proc/{pid}/ns/net")) in networks:
                _kill(pid, started)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _inode(path: Path) -> int | None:
    """None where it is gone or, for a process, not ours to look at."""
    try:
        return path.stat().st_ino
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return None


def _kill(pid: int, started: str) -> None:
    """SIGKILL, and see it dead. The pidfd holds on to this very process: a reused id is never hit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_time(pid) == started:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], KILL_SECONDS)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
