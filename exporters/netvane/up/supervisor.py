"""Keeps the parts running: starts them, watches them, restarts what dies, and stops all of them in order.

starting -> running <-> degraded -> (died) restarting -> starting …
off (what it needs is missing; a taken port is tried again) · stopped (at the end)
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from netvane.up import ports
from netvane.up.child import Child, how_it_ended
from netvane.up.output import Tail, is_news
from netvane.up.part import RUNNING, STARTING, STOPPED, Backoff, Part, State
from netvane.up.privileges import Identity, command_as
from netvane.up.readiness import NotifySocket, asked_state, notified_state


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    grace: float = 10.0  # from SIGTERM to SIGKILL; exporters take at most 5
    patience: float = 30.0  # until a part that is not ready is called degraded
    starting_poll: float = 0.2
    poll: float = 10.0
    watchdog: float = 60.0  # as in systemd's WatchdogSec=


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the parts of one `netvane up` share."""

    who: Identity | None
    notify_dir: Path  # short: a socket's path has room for 107 bytes
    environment: Mapping[str, str]
    on_state: Callable[[Part, State], None]
    on_line: Callable[[Part, str, bool], None]  # the last one: whether it is worth showing to everybody
    timing: Timing = Timing()


class Runner:
    """One part, run again and again until it is stopped."""

    def __init__(self, part: Part, surroundings: Surroundings) -> None:
        self.part = part
        self.state = STARTING
        self._surroundings = surroundings
        self._timing = surroundings.timing
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._child: Child | None = None
        self._tail = Tail()
        self._ready = False
        self._reload_when_ready = False
        self._status = ""
        self._fed_at: float | None = None  # the last WATCHDOG=1; who never sends one is not watched
        self._hung = False

    async def run(self) -> None:
        """Return after `stop`."""
        backoff = Backoff()
        now = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            if self.part.off is not None:
                self._become(State("off", self.part.off))
                await self._stopping.wait()
                break
            started = now()
            if self.part.listen is not None and (trouble := ports.problem(self.part.listen)):
                self._become(State("off", f"{trouble}; it is tried again"))
                await self._pause(backoff.after(0))
                continue
            self._become(STARTING)
            ended = await self._run_once()
            if not self._stopping.is_set():
                seconds = backoff.after(now() - started)
                self._become(State("restarting", f"in {seconds:g} s: {ended}"))
                await self._pause(seconds)
        self._become(STOPPED)
        self._over.set()

    async def stop(self) -> None:
        """SIGTERM, SIGKILL after the grace, and wait for the end."""
        self._stopping.set()
        if self._child is not None:
            self._child.send(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._over.wait(), self._timing.grace)
        except TimeoutError:
            self._surroundings.on_line(self.part, f"does not stop within {self._timing.grace:g} s: killed", True)
            self.kill()
            await self._over.wait()

    def kill(self) -> None:
        """End it at once, and for good."""
        self._stopping.set()
        if self._child is not None:
            self._child.kill()

    def reload(self) -> None:
        """Let it read its configuration again; one that is just starting is asked when it is ready for signals."""
        if self._child is not None and self.part.reloads:
            if self._ready:
                self._child.send(signal.SIGHUP)
            else:
                self._reload_when_ready = True

    async def _run_once(self) -> str:
        """One life of the process; returns why it ended."""
        self._tail, self._status = Tail(), ""
        self._ready = self._reload_when_ready = self._hung = False
        self._fed_at = None
        with contextlib.ExitStack() as stack:
            environment = {**self._surroundings.environment, **self.part.environment}
            environment["HOME"] = str(self.part.directory)
            try:
                if self.part.ready_path is None:
                    path = self._surroundings.notify_dir / self.part.name
                    channel = NotifySocket(path, self._surroundings.who, self._on_notification)
                    stack.callback(channel.close)
                    environment["NOTIFY_SOCKET"] = str(path)
                    environment["WATCHDOG_USEC"] = str(round(self._timing.watchdog * 1_000_000))
                command = command_as(self._surroundings.who, self.part.capabilities, self.part.command)
                self._child = child = Child(command, environment, self.part.directory, self._on_line)
            except OSError as error:
                return f"cannot be started: {error.filename or self.part.command[0]}: {error.strerror}"
            # Ends it also where this task is cancelled; does nothing to one that ended.
            stack.callback(child.kill)
            watch = asyncio.create_task(self._watch(child))
            try:
                code = await child.wait()
            finally:
                watch.cancel()
                self._child = None
        reason = f"hung for {self._timing.watchdog:g} s and was killed" if self._hung else how_it_ended(code)
        words = self._tail.last_words()
        return f"{reason}: {words}" if words else reason

    async def _watch(self, child: Child) -> None:
        """Follow the part's state for as long as it lives."""
        loop = asyncio.get_running_loop()
        patient_until = loop.time() + self._timing.patience
        while True:
            if self.part.ready_path is not None and self.part.listen is not None:
                state = await asked_state(self.part.listen, self.part.ready_path)
                if state == RUNNING:
                    self._became_ready()
            else:
                state = State("degraded", "it has not said that it is ready")
            if self._ready and self.part.ready_path is not None:
                self._become(state)
            elif not self._ready and loop.time() > patient_until:
                self._become(State("degraded", f"not ready after {self._timing.patience:g} s: {state.why}"))
            if self._fed_at is not None and loop.time() - self._fed_at > self._timing.watchdog:
                self._hung = True
                child.kill()
            await asyncio.sleep(self._timing.poll if self._ready else self._timing.starting_poll)

    def _on_notification(self, message: Mapping[str, str]) -> None:
        if "WATCHDOG" in message:
            self._fed_at = asyncio.get_running_loop().time()
        self._status = message.get("STATUS", self._status)
        if message.get("READY") == "1":
            self._became_ready()
        if self._ready:
            self._become(notified_state(self._status))

    def _became_ready(self) -> None:
        self._ready = True
        if self._reload_when_ready:
            self._reload_when_ready = False
            self.reload()

    def _on_line(self, line: str) -> None:
        self._tail.add(line)
        self._surroundings.on_line(self.part, line, is_news(line) and not self._stopping.is_set())

    def _become(self, state: State) -> None:
        if self._stopping.is_set() and state != STOPPED:  # on its way out: no more of its complaints
            return
        if state != self.state:
            self.state = state
            self._surroundings.on_state(self.part, state)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


class Supervisor:
    """All parts, in the order in which they start; they stop in the reverse."""

    def __init__(self, parts: Sequence[Part], surroundings: Surroundings, tasks: asyncio.TaskGroup) -> None:
        self._surroundings = surroundings
        self._tasks = tasks
        self._runners = [self._start(part) for part in parts]

    def _start(self, part: Part) -> Runner:
        runner = Runner(part, self._surroundings)
        self._tasks.create_task(runner.run())
        return runner

    @property
    def states(self) -> list[tuple[Part, State]]:
        return [(runner.part, runner.state) for runner in self._runners]

    async def reload(self, parts: Sequence[Part]) -> None:
        """Take `parts` (of the same names): restart those that became others, let the rest read their files again."""
        for index, part in enumerate(parts):
            runner = self._runners[index]
            if runner.part == part:
                runner.reload()
            else:
                await runner.stop()
                self._runners[index] = self._start(part)

    async def stop(self) -> None:
        for runner in reversed(self._runners):
            await runner.stop()

    def kill(self) -> None:
        for runner in self._runners:
            runner.kill()
