"""Keeps the registry's file up to date: at once where something must not be lost, else every few minutes."""

import asyncio
import sqlite3

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.log import get_logger
from netvane.hosts.registry import Registry
from netvane.hosts.registry_file import RegistryFile
from netvane.hosts.registry_rows import give_back, take_unsaved

log = get_logger("hosts.keeper")

FLUSH_SECONDS = 300.0  # when devices were last seen is worth no more writes than that to an SD card
COPY_SECONDS = 3600.0
RETRY_SECONDS = 10.0


class Keeper:
    """One save at a time, each in a thread; what cannot be written stays unsaved and is tried again."""

    def __init__(self, file: RegistryFile, registry: Registry, clock: Clock) -> None:
        self._file = file
        self._registry = registry
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._flushed_at = self._copied_at = clock.monotonic_ns()
        self._failed_at: int | None = None
        self._copy_wanted = False
        self.writes = 0
        self.failures = 0
        self.last_commit_ns = 0
        self.file_bytes = file.bytes()

    @property
    def writable(self) -> bool:
        return self._failed_at is None

    async def save(self, *, owners: bool = False) -> bool:
        """Write all that is unsaved; whether it is on the disk. `owners`: the owner's words, which are copied too."""
        async with self._one_at_a_time:
            statements, taken = take_unsaved(self._registry)
            self._copy_wanted |= owners
            try:
                if statements:
                    await asyncio.to_thread(self._file.save, statements)
                if self._copy_wanted or self._age(self._copied_at) > COPY_SECONDS:
                    await asyncio.to_thread(self._file.copy)
                    self._copied_at, self._copy_wanted = self._clock.monotonic_ns(), False
            except (sqlite3.Error, OSError) as error:
                give_back(self._registry, taken)
                self.failures += 1
                if self.writable:
                    log.error("registry cannot be written; it waits in memory", error=error)
                self._failed_at = self._clock.monotonic_ns()
                return False
            if not self.writable:
                log.info("registry is written again")
            self._failed_at = None
            self._flushed_at = self._clock.monotonic_ns()
            if statements:
                self.writes += 1
                self.last_commit_ns = self._clock.wall_ns()
                self.file_bytes = self._file.bytes()
            return True

    def is_due(self) -> bool:
        """Whether what is not urgent, or failed before, is to be written now."""
        if self._failed_at is not None:
            return self._age(self._failed_at) > RETRY_SECONDS
        return self._age(self._flushed_at) > FLUSH_SECONDS and bool(self._registry.unsaved)

    def may_retry(self) -> bool:
        """Whether something urgent may be tried: not again at once after a failure."""
        return self._failed_at is None or self._age(self._failed_at) > RETRY_SECONDS

    def _age(self, monotonic_ns: int) -> float:
        return (self._clock.monotonic_ns() - monotonic_ns) / NANOSECONDS
