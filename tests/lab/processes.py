"""Processes that a lab starts: each in a session of its own, recorded, and ended by id."""

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from netvane.up.parts import PYTHON_ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
# What `python -m netvane…` and `python -m tests.lab…` need in a child, and what Netvane is run with everywhere.
PYTHON_ENV = {"PYTHONPATH": f"{ROOT / 'exporters'}:{ROOT}", **PYTHON_ENVIRONMENT}
# The beginning of a command line, for whoever cannot hand a child its environment too.
PYTHON = ("env", *(f"{name}={value}" for name, value in PYTHON_ENV.items()), sys.executable)
NETVANE = (*PYTHON, "-m", "netvane.cli")


class CommandError(RuntimeError):
    """A command ended with another code than 0; the message has what it wrote."""


def words(command: str | Sequence[str]) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else list(command)


def run(
    command: Sequence[str], *, stdin: str | None = None, check: bool = True, timeout: float = 30.0
) -> subprocess.CompletedProcess[str]:
    """Run to the end. Raises CommandError (with `check`) and subprocess.TimeoutExpired."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    if check and done.returncode != 0:
        raise CommandError(f"{shlex.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done


def start_time(pid: int) -> str | None:
    """When a process started, in clock ticks after boot: with its id, its identity. None when it is dead.

    Field 22 of /proc/PID/stat, proc(5); a zombie counts as dead.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


class Process:
    """A running command, leader of its own process group."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self._popen = popen
        self._pidfd = os.pidfd_open(popen.pid)
        self.log = log

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        return self._popen

    @property
    def running(self) -> bool:
        return not self._ended(0)

    def _ended(self, timeout: float) -> bool:
        """Ended, and on purpose not yet reaped: while the leader is a zombie its group's id cannot be reused."""
        return self._pidfd < 0 or bool(select.select([self._pidfd], [], [], timeout)[0])

    def signal(self, number: int) -> None:
        """To every process of the group."""
        if self._pidfd >= 0:
            os.killpg(self.pid, number)

    def wait(self, timeout: float = 30.0) -> int:
        """The exit code. Raises TimeoutError while it still runs."""
        if not self._ended(timeout):
            raise TimeoutError(f"{self._popen.args!r} still runs after {timeout:g} s")
        self._reap()
        return self._popen.returncode

    def stop(self, grace: float = 5.0) -> int:
        """SIGTERM, `grace` seconds to obey, then SIGKILL for whoever is left in the group; the exit code."""
        if self._pidfd >= 0:
            self.signal(signal.SIGTERM)
            self._ended(grace)
            self._reap()
        return self._popen.returncode

    def _reap(self) -> None:
        if self._pidfd < 0:
            return
        os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        os.close(self._pidfd)
        self._pidfd = -1
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def output(self) -> str:
        """What it wrote so far (of a piped one: its standard error)."""
        return self.log.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class Processes:
    """Those of one rack; `directory` keeps their logs and the record that a later sweep reads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[Process] = []

    def start(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        piped: bool = False,
    ) -> Process:
        """`env` is added to this process's own; `log` gets both outputs (of a `piped` one only standard error)."""
        log = log or self.directory / f"{len(self._started) + 1}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        process = Process(popen, log)
        self._started.append(process)
        with (self.directory / "processes").open("a") as record:
            record.write(f"{popen.pid} {start_time(popen.pid)}\n")
        return process

    def stop(self) -> None:
        """All of them, the last one first; asked together, so that their graces run side by side."""
        for process in reversed(self._started):
            process.signal(signal.SIGTERM)
        for process in reversed(self._started):
            process.stop()
        self._started.clear()
