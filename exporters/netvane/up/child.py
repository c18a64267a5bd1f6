"""One running process of a part: started, listened to, and ended with everything that it started itself."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from netvane.up.output import Lines

READ_BYTES = 65536  # what a pipe holds, pipe(7)


class Child:
    """Leader of a session of its own, so that a Ctrl-C at the terminal reaches it once: through `up`.

    Both outputs go to `on_line`. It is watched through a pidfd, pidfd_open(2), and reaped last: as long as it is a
    zombie neither its id nor its group's can be somebody else's.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], directory: Path, on_line: Callable[[str], None]
    ) -> None:
        """Start it. Raises OSError."""
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None  # noqa: S101 - Popen's type cannot know that it was asked for
        self._output = self._process.stdout
        self._lines = Lines()
        self._on_line = on_line
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(self.pid)
        self._ended = asyncio.Event()
        os.set_blocking(self._output.fileno(), False)
        self._loop.add_reader(self._output.fileno(), self._read)
        self._loop.add_reader(self._pidfd, self._reap)

    async def wait(self) -> int:
        """Its exit code once it ended; -N after signal N."""
        await self._ended.wait()
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        """A signal for the process itself, not for those that it started: to end them is its own business."""
        if not self._ended.is_set():
            self._process.send_signal(number)

    def kill(self) -> None:
        """End the process and its whole group at once."""
        if not self._ended.is_set():
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self) -> None:
        try:
            data = os.read(self._output.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._output.fileno())
        for line in self._lines.feed(data):
            self._on_line(line)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        with contextlib.suppress(PermissionError):  # what is left of the group changed its user
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._read()  # a pipe holds no more than one read takes
        for line in self._lines.end():
            self._on_line(line)
        self._loop.remove_reader(self._output.fileno())
        self._output.close()
        self._ended.set()


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
