"""An SQLite file of Netvane's: its one owner, its migrations, its transactions, and what becomes of a damaged one.

Formats and guarantees: sqlite.org/wal.html, sqlite.org/pragma.html (synchronous, user_version).

    StoreError           the file cannot be used
    ├─ StoreInUseError   another process owns it
    └─ StoreTooNewError  a later Netvane wrote it
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from netvane.common.clock import NANOSECONDS
from netvane.common.log import get_logger

log = get_logger("sqlite")

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StoreError(Exception):
    """The database cannot be used; the text names the file."""


class StoreInUseError(StoreError):
    """Another process owns the database."""


class StoreTooNewError(StoreError):
    """A later version of Netvane wrote the database; it was left as it is."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is broken, rather than full, locked or out of reach."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def damage(text: str) -> sqlite3.DatabaseError:
    """What is raised where a check, rather than SQLite itself, finds the file broken."""
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


class OwnerLock:
    """Held by the one process that may open the file at `path`; the kernel frees it when that process dies."""

    def __init__(self, path: Path) -> None:
        """Raises StoreInUseError, or StoreError where the lock's own file cannot be made."""
        side_file = path.with_name(path.name + ".lock")
        try:
            self._descriptor = os.open(side_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StoreError(f"{side_file}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.geteuid() == 0:  # root looks in for a moment: the owner of the folder must still get in afterwards
                folder = path.parent.stat()
                os.fchown(self._descriptor, folder.st_uid, folder.st_gid)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise StoreInUseError(f"{path}: another process has it open") from error
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(f"{side_file}: {error.strerror}") from error

    def release(self) -> None:
        os.close(self._descriptor)


def version_of(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]]) -> int:
    """How many of the `migrations` the file has had; 0 for a new one. Raises StoreTooNewError, sqlite3.Error."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise StoreTooNewError(
            f"{path}: has version {version}, this Netvane knows up to {len(migrations)}; start the newer one again"
        )
    return int(version)


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]]) -> None:
    """Bring the file up to date, in WAL mode. Entry n of `migrations` takes a file of version n to the next.

    Raises StoreTooNewError, and then has written nothing; sqlite3.Error.
    """
    version = version_of(connection, path, migrations)
    connection.execute("PRAGMA journal_mode = WAL")
    for number in range(version, len(migrations)):
        with transaction(connection, durable=True):
            for statement in migrations[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")


@contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """All or nothing. A durable one is on the disk when it ends; any other survives kill -9 but not a power cut.

    Raises sqlite3.Error, after a rollback.
    """
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def set_aside(path: Path, now_ns: int, reason: str) -> None:
    """Make room for a new database in the place of a damaged one. Raises OSError."""
    log.error("database is damaged: kept aside, a new one is started", kept=rename_aside(path, now_ns), reason=reason)


def rename_aside(path: Path, now_ns: int) -> Path:
    """Rename the file at `path` with its WAL and index to ``<name>.damaged-<time>``. Raises OSError."""
    stamp = datetime.fromtimestamp(now_ns // NANOSECONDS, UTC).strftime("%Y%m%dT%H%M%SZ")
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    while target.exists():
        target = target.with_name(target.name + "+")
    # The WAL first: were it left beside a new file by a crash in between, SQLite would write its pages into that one.
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    return target
