"""Keeps up with lease files: told by inotify, and by a slow poll where that says nothing (some file systems)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.log import get_logger
from netvane.dhcp import lease_file
from netvane.dhcp.inotify import Inotify
from netvane.dhcp.watched_file import POLL_SECONDS, WatchedFile

log = get_logger("dhcp.reader")

BEAT_SECONDS = 1.0
MAX_DAMAGE_LOGGED = 5


class Reader:
    """Reads the files it is told to, and awaits `news` for each that was believed anew or cannot be read."""

    def __init__(self, clock: Clock, news: Callable[[WatchedFile], Awaitable[None]]) -> None:
        self._clock = clock
        self._news = news
        self._inotify: Inotify | None = None
        self._wake = asyncio.Event()
        self.files: tuple[WatchedFile, ...] = ()

    def configure(self, paths: Iterable[Path]) -> None:
        """Read these from now on; those that were read before go on as they are."""
        known = {file.path: file for file in self.files}
        self.files = tuple(known.get(path) or WatchedFile(path) for path in dict.fromkeys(paths))
        self._wake.set()

    async def run(self, beat: Callable[[], None]) -> None:
        """Work until cancelled; `beat` is called at least every second."""
        loop = asyncio.get_running_loop()
        try:
            self._inotify = Inotify()
        except OSError as error:
            log.warning("no inotify, so lease files are only polled", error=error, seconds=POLL_SECONDS)
        else:
            loop.add_reader(self._inotify, self._take_events)
        try:
            while True:
                beat()
                self._watch_directories()
                for file in self.files:
                    if file.due <= self._now():
                        await self._look(file)
                await self._sleep()
        finally:
            if self._inotify is not None:
                loop.remove_reader(self._inotify)
                self._inotify.close()

    async def _look(self, file: WatchedFile) -> None:
        try:
            if not file.wants_reading(lease_file.look(file.path, file.lease_format), self._now()):
                await self._tell(file, file.settle(self._now(), self._wall()))
                return
            began = time.monotonic()
            contents = await asyncio.to_thread(lease_file.read, file.path, file.lease_format)
            taken = time.monotonic() - began
            later = lease_file.look(file.path, contents.lease_format)
        except OSError as error:
            reason = error.strerror or str(error)
            if file.fail(reason, self._now()):
                log.warning("lease file cannot be read", file=file.path, reason=reason)
                await self._news(file)
            return
        self._take_events()
        await self._tell(file, file.take(contents, later, taken, self._now(), self._wall()))

    async def _tell(self, file: WatchedFile, is_believed: bool) -> None:
        if not is_believed:
            return
        for path, damage in file.new_damage[:MAX_DAMAGE_LOGGED]:
            log.warning("damaged record", file=path, line=damage.line, problem=damage.problem)
        if len(file.new_damage) > MAX_DAMAGE_LOGGED:
            log.warning("more damaged records", file=file.path, count=len(file.new_damage) - MAX_DAMAGE_LOGGED)
        await self._news(file)

    def _watch_directories(self) -> None:
        if self._inotify is not None:
            self._inotify.watch({folder for file in self.files for folder in _folders(file.path)})

    def _take_events(self) -> None:
        if self._inotify is None:
            return
        now = self._now()
        for changed in self._inotify.changed():
            for file in self.files:
                if any(_concerns(changed, path) for path in (file.path, file.path.resolve())):
                    file.touch(now)
                    self._wake.set()

    async def _sleep(self) -> None:
        due = min((file.due for file in self.files), default=self._now() + BEAT_SECONDS)
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(BEAT_SECONDS, due - self._now()))):
                await self._wake.wait()

    def _wall(self) -> float:
        return self._clock.wall_ns() / NANOSECONDS

    def _now(self) -> float:
        return self._clock.monotonic_ns() / NANOSECONDS


def _folders(path: Path) -> set[Path]:
    """Where something has to happen for the file to change: at its name, and where a symbolic link leads to."""
    return {path.parent, path.resolve().parent}


def _concerns(changed: Path, path: Path) -> bool:
    """Whether what happened to `changed` may be about the lease file `path`, or a sibling (netvane.dhcp.kea_leases)."""
    return changed == path.parent or (changed.parent == path.parent and changed.name.startswith(path.name))
