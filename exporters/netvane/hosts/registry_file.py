"""The registry's SQLite file: one owner, migrations forward, and a copy of its last good state beside it.

    <data_dir>/hosts/registry.db        the registry
    …/registry.db.good                  its copy, made after each change of the owner's and at least every hour
    …/registry.db.damaged-<time>        what could not be read any more, kept as it was found

Errors: StoreInUseError, StoreTooNewError (netvane.common.sqlite_file).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from netvane.common.clock import Clock
from netvane.common.log import get_logger
from netvane.common.sqlite_file import OwnerLock, is_damage, migrate, rename_aside, transaction, version_of
from netvane.hosts.registry import Registry
from netvane.hosts.registry_rows import MIGRATIONS, TABLES, Statement, registry_of, select

log = get_logger("hosts.registry")

BUSY_SECONDS = 1.0
_UNFIT = (ValueError, KeyError, TypeError, msgspec.DecodeError)


class DamagedError(Exception):
    """What stands in the file is not a registry, or not all of one."""


class Opened(NamedTuple):
    """`restored` says where the registry came from when its own file was damaged: a sentence, else None."""

    registry: Registry
    restored: str | None


def registry_path(data_dir: Path) -> Path:
    return data_dir / "hosts" / "registry.db"


class RegistryFile:
    """Owned from its making to `close`. `save` and `copy` block: a thread's business, one at a time."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises StoreInUseError, or StoreError where there can be no lock."""
        self.path = path
        self._good = path.with_name(path.name + ".good")
        self._clock = clock
        self._lock = OwnerLock(path)
        self._connection: sqlite3.Connection | None = None

    def open(self) -> Opened:
        """The registry as it was last saved.

        A damaged file is kept aside, and the last good copy takes its place. Raises StoreTooNewError (the file is left
        as it is), and sqlite3.Error or OSError where it cannot be reached: locked, full disk, no rights.
        """
        try:
            return Opened(self._load(), None)
        except DamagedError as error:
            reason = str(error)
        kept = rename_aside(self.path, self._clock.wall_ns())
        log.error("registry is damaged: kept aside", kept=kept, reason=reason)
        if self._good.exists():
            self.path.write_bytes(self._good.read_bytes())
            try:
                return Opened(
                    self._load(), f"{self.path} was damaged ({reason}); the copy {self._good.name} replaced it"
                )
            except DamagedError as error:
                log.error("the copy is damaged as well", copy=self._good, reason=error)
                rename_aside(self._good, self._clock.wall_ns())
                rename_aside(self.path, self._clock.wall_ns())
        return Opened(self._load(), f"{self.path} was damaged ({reason}) and there was no good copy: begun anew")

    def save(self, statements: list[Statement]) -> None:
        """Write and be sure that it is on the disk. Raises sqlite3.Error, OSError: nothing was written."""
        if self._connection is None:
            self._connection = self._connect()
        with transaction(self._connection, durable=True):
            for statement in statements:
                self._connection.executemany(statement.sql, statement.rows)

    def copy(self) -> None:
        """Replace the good copy by what is saved now. Raises sqlite3.Error, OSError."""
        temporary = self._good.with_name(self._good.name + ".new")
        temporary.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as source:
                source.execute("VACUUM INTO ?", (str(temporary),))
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(self._good)
        finally:
            temporary.unlink(missing_ok=True)

    def bytes(self) -> int:
        """What the registry takes on the disk, the copy not counted."""
        total = 0
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                total += self.path.with_name(self.path.name + suffix).stat().st_size
        return total

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._lock.release()

    def _load(self) -> Registry:
        """Raises DamagedError, and what `open` raises."""
        connection = self._connect()
        try:
            with _damage_told():
                registry = _read(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return registry

    def _connect(self) -> sqlite3.Connection:
        """Raises DamagedError, StoreTooNewError, sqlite3.Error."""
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            with _damage_told():
                self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if version_of(connection, self.path, MIGRATIONS) == 0 and self._good.exists():
            raise DamagedError("it is empty")
        connection.execute("PRAGMA journal_size_limit = 1000000")
        migrate(connection, self.path, MIGRATIONS)


def _read(connection: sqlite3.Connection) -> Registry:
    if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
        raise DamagedError("its integrity check fails")
    try:
        return registry_of({table: connection.execute(select(table)).fetchall() for table in TABLES})
    except _UNFIT as error:
        raise DamagedError(f"its rows do not fit together: {error}") from error


@contextmanager
def _damage_told() -> Iterator[None]:
    """What SQLite says of a broken file, as DamagedError; a full disk or a lock stays what it is."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # SQLITE_ERROR: no such table, no such column
        if is_damage(error) or error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            raise DamagedError(str(error)) from error
        raise
