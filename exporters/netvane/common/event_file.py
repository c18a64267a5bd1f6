"""The SQLite file of one event store: its schema, its check, and what becomes of a damaged one.

Formats and guarantees: sqlite.org/pragma.html (auto_vacuum, quick_check).
"""

import sqlite3
import time
from functools import partial
from pathlib import Path
from urllib.parse import quote

from netvane.common.sqlite_file import damage, is_damage, migrate, set_aside, version_of

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
    (
        # See event_rows.
        """CREATE TABLE unindexed (
            id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, event TEXT NOT NULL,
            mac TEXT, name TEXT, body TEXT NOT NULL)""",
        """CREATE VIEW all_events AS SELECT id, ts, event, mac, name, body FROM events
            UNION ALL SELECT id, ts, event, mac, name, body FROM unindexed""",
    ),
)

CHECK_SECONDS = 2.0
JOURNAL_BYTES = 4 * 2**20  # what the WAL shrinks to after a checkpoint


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
    version = version_of(connection, path, MIGRATIONS)
    if version:  # before anything is written: what is damaged is kept as it was found
        _check(connection, "events" if version == 1 else "all_events")
    else:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heard only by an empty file
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    connection.execute("PRAGMA cache_size = -1024")  # KiB
    migrate(connection, path, MIGRATIONS)


def _check(connection: sqlite3.Connection, rows: str) -> None:
    """Look for damage for at most `CHECK_SECONDS`: a large file on an SD card would take minutes to read.

    What this does not reach is found when it is used. Raises sqlite3.DatabaseError, told by `is_damage`.
    """
    end = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    try:
        connection.execute(f"SELECT id, ts, event, mac, name, body FROM {rows} LIMIT 1").fetchone()  # noqa: S608 - ours
        connection.execute("SELECT sink, id FROM cursors LIMIT 1").fetchone()
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # no such table, no such column
            raise damage(str(error)) from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
    if verdict != "ok":
        raise damage(verdict)


def reading_connection(path: Path) -> sqlite3.Connection:
    """A connection that only reads, for any one thread at a time. Raises sqlite3.Error."""
    address = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    # One spoilt character must not make a row unreadable, and with it all that a cursor has still before it.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    return connection


def kept_aside(path: Path) -> tuple[int, float]:
    """How many damaged files lie beside `path`, and when the newest was last written to (Unix seconds, 0 for none)."""
    files = [file for file in path.parent.glob(path.name + ".damaged-*") if not file.name.endswith(("-wal", "-shm"))]
    return len(files), max((file.stat().st_mtime for file in files), default=0.0)


def shipped_up_to(connection: sqlite3.Connection, sink: str) -> int:
    """The row id up to which `sink` has everything. Raises sqlite3.Error."""
    row = connection.execute("SELECT id FROM cursors WHERE sink = ?", (sink,)).fetchone()
    return row[0] if row else 0
