"""The SQLite file of one event store: its one owner, its schema, and what becomes of a damaged one.

Formats and guarantees: sqlite.org/wal.html, sqlite.org/pragma.html (synchronous, user_version, auto_vacuum).

    StoreError           the file cannot be used
    ├─ StoreInUseError   another process owns it
    └─ StoreTooNewError  a later Netvane wrote it
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from netvane.common.clock import NANOSECONDS
from netvane.common.log import get_logger

log = get_logger("events")

# Each entry takes a file from the version of its index to the next. Entries are only ever added.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # AUTOINCREMENT: an id is never used again after its row was deleted, else a cursor could skip a new event.
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER NOT NULL, event TEXT NOT NULL,
            mac TEXT, name TEXT, body TEXT NOT NULL)""",
        "CREATE INDEX events_by_mac ON events (mac, event, ts)",
        "CREATE INDEX events_by_time ON events (event, ts)",
        "CREATE TABLE cursors (sink TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID",
    ),
)

CHECK_SECONDS = 2.0
JOURNAL_BYTES = 4 * 2**20  # what the WAL shrinks to after a checkpoint
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StoreError(Exception):
    """The event database cannot be used; the text names the file."""


class StoreInUseError(StoreError):
    """Another process owns the event database."""


class StoreTooNewError(StoreError):
    """A later version of Netvane wrote the event database; it was left as it is."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is broken, rather than full, locked or out of reach."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


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


def open_or_replace(path: Path, now_ns: int) -> sqlite3.Connection:
    """`open_database`; where that finds damage, the file is kept aside and a new one started.

    Raises StoreTooNewError, and sqlite3.Error or OSError where no file can be opened: full disk, no rights.
    """
    try:
        return open_database(path)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        set_aside(path, now_ns, str(error))
    return open_database(path)


def open_database(path: Path) -> sqlite3.Connection:
    """The writing connection of the owner; made if absent, brought up to date if old.

    Raises StoreTooNewError, and sqlite3.Error, which `is_damage` tells apart.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreTooNewError(
            f"{path}: has version {version}, this Netvane knows up to {len(MIGRATIONS)}; start the newer one again"
        )
    if version:
        _check(connection)  # before anything is written: what is damaged is kept as it was found
    else:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heard only by an empty file
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    connection.execute("PRAGMA cache_size = -4096")  # KiB
    for number in range(version, len(MIGRATIONS)):
        with transaction(connection, durable=True):
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")


def _check(connection: sqlite3.Connection) -> None:
    """Look for damage for at most `CHECK_SECONDS`: a large file on an SD card would take minutes to read.

    What this does not reach is found when it is used. Raises sqlite3.DatabaseError, told by `is_damage`.
    """
    end = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    try:
        connection.execute("SELECT id, ts, event, mac, name, body FROM events LIMIT 1").fetchone()
        connection.execute("SELECT sink, id FROM cursors LIMIT 1").fetchone()
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # no such table, no such column
            raise _damage(str(error)) from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
    if verdict != "ok":
        raise _damage(verdict)


def _damage(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


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


def reading_connection(path: Path) -> sqlite3.Connection:
    """A connection that only reads, for any one thread at a time. Raises sqlite3.Error."""
    address = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    # One spoilt character must not make a row unreadable, and with it all that a cursor has still before it.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    return connection


def set_aside(path: Path, now_ns: int, reason: str) -> None:
    """Make room for a new event database in the place of a damaged one. Raises OSError."""
    log.error(
        "event database is damaged: kept aside, a new one is started", kept=rename_aside(path, now_ns), reason=reason
    )


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


def kept_aside(path: Path) -> tuple[int, float]:
    """How many damaged files lie beside `path`, and when the newest was last written to (Unix seconds, 0 for none)."""
    files = [file for file in path.parent.glob(path.name + ".damaged-*") if not file.name.endswith(("-wal", "-shm"))]
    return len(files), max((file.stat().st_mtime for file in files), default=0.0)


def shipped_up_to(connection: sqlite3.Connection, sink: str) -> int:
    """The row id up to which `sink` has everything. Raises sqlite3.Error."""
    row = connection.execute("SELECT id FROM cursors WHERE sink = ?", (sink,)).fetchone()
    return row[0] if row else 0
