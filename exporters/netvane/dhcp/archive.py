"""Every device that ever held a lease, in an SQLite file of the exporter's own: <data_dir>/dhcp/archive.db.

One process owns the file (netvane.common.sqlite_file.OwnerLock), one thread at a time uses it. Times are Unix seconds.
Nothing is ever deleted: a device takes about 300 bytes.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from netvane.common.clock import Clock
from netvane.common.sqlite_file import OwnerLock, StoreError, damage, is_damage, migrate, set_aside, transaction
from netvane.dhcp.lease import Lease
from netvane.dhcp.servers import Server

# Each entry takes a file from the version of its index to the next. Entries are only ever added.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # A device without a MAC address (a DHCPv6 client whose DUID has none) goes by `id:` and its client id.
        """CREATE TABLE devices (
            id INTEGER PRIMARY KEY, holder TEXT NOT NULL UNIQUE, mac TEXT,
            first INTEGER NOT NULL, last INTEGER NOT NULL, client_id TEXT, vendor_class TEXT, fingerprint TEXT)""",
        """CREATE TABLE addresses (
            device INTEGER NOT NULL, address TEXT NOT NULL, source TEXT NOT NULL, first INTEGER NOT NULL,
            last INTEGER NOT NULL, expires INTEGER, PRIMARY KEY (device, address, source)) WITHOUT ROWID""",
        """CREATE TABLE names (
            device INTEGER NOT NULL, name TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
            PRIMARY KEY (device, name)) WITHOUT ROWID""",
        # What each source said last: with it the next start can tell what changed meanwhile.
        """CREATE TABLE held (source TEXT NOT NULL, address TEXT NOT NULL, lease TEXT NOT NULL,
            PRIMARY KEY (source, address)) WITHOUT ROWID""",
        "CREATE TABLE sources (source TEXT PRIMARY KEY) WITHOUT ROWID",
        """CREATE TABLE learned_servers (
            address TEXT NOT NULL, mac TEXT NOT NULL, PRIMARY KEY (address, mac)) WITHOUT ROWID""",
    ),
)
PAGE = 200


class Span(msgspec.Struct, frozen=True):
    """A host name, and when the device was first and last seen with it."""

    name: str
    first: int
    last: int


class HeldAddress(msgspec.Struct, frozen=True):
    """An address, who told of it (a lease file's path, or ``passive``), and when. `held`: still today."""

    address: str
    source: str
    first: int
    last: int
    expires: int | None
    held: bool


class DeviceRecord(msgspec.Struct, frozen=True):
    """A device and all that it ever had, the newest first."""

    holder: str
    mac: str | None
    first: int
    last: int
    client_id: str | None
    vendor_class: str | None
    fingerprint: tuple[int, ...]
    names: tuple[Span, ...]
    addresses: tuple[HeldAddress, ...]


class Recorded(msgspec.Struct, frozen=True):
    """News from one source: leases as they are now, and addresses that nobody holds any more."""

    source: str
    leases: tuple[Lease, ...]
    ended: tuple[str, ...]
    at: int


class Archive:
    """Blocks; used by one thread at a time. Every method but `close` raises sqlite3.Error."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises StoreError: another process owns the file, a newer Netvane wrote it, it cannot be opened.

        A damaged file is kept aside and a new one started.
        """
        self._lock = OwnerLock(path)
        try:
            self._connection = _open(path, clock)
        except BaseException:
            self._lock.release()
            raise
        self._leases = msgspec.json.Decoder(Lease)

    def close(self) -> None:
        self._connection.close()
        self._lock.release()

    def count(self) -> int:
        """Devices ever seen."""
        return int(self._connection.execute("SELECT count(*) FROM devices").fetchone()[0])

    def held(self, source: str) -> dict[str, Lease] | None:
        """The leases that `source` told of last, by address; None if it never told anything."""
        if self._connection.execute("SELECT 1 FROM sources WHERE source = ?", (source,)).fetchone() is None:
            return None
        rows = self._connection.execute("SELECT lease FROM held WHERE source = ?", (source,))
        return {lease.address: lease for lease in (self._leases.decode(row[0]) for row in rows)}

    def record(self, news: Iterable[Recorded]) -> None:
        with transaction(self._connection, durable=False):
            for told in news:
                self._connection.execute("INSERT OR IGNORE INTO sources VALUES (?)", (told.source,))
                for lease in told.leases:
                    self._record_lease(told.source, lease, told.at)
                for address in told.ended:
                    self._record_end(told.source, address, told.at)

    def learned_servers(self) -> set[Server]:
        return {Server(*row) for row in self._connection.execute("SELECT address, mac FROM learned_servers")}

    def learn_servers(self, servers: Iterable[Server]) -> None:
        with transaction(self._connection, durable=True):
            self._connection.executemany("INSERT OR IGNORE INTO learned_servers VALUES (?, ?)", sorted(servers))

    def devices(self, mac: str | None = None) -> Iterator[DeviceRecord]:
        """All of them, or that with `mac`, in the order in which they first came.

        Read page by page, so that the caller may write in between.
        """
        after = 0
        while rows := self._page(mac, after):
            after = rows[-1][0]
            for row in rows:
                yield self._device(row)

    def _page(self, mac: str | None, after: int) -> Sequence[Any]:
        chosen = "" if mac is None else "AND mac = :mac"
        return self._connection.execute(
            f"SELECT id, holder, mac, first, last, client_id, vendor_class, fingerprint FROM devices"  # noqa: S608 - a constant
            f" WHERE id > :after {chosen} ORDER BY id LIMIT {PAGE}",
            {"after": after, "mac": mac},
        ).fetchall()

    def _device(self, row: Sequence[Any]) -> DeviceRecord:
        device, holder, mac, first, last, client_id, vendor_class, fingerprint = row
        names = self._connection.execute(
            "SELECT name, first, last FROM names WHERE device = ? ORDER BY last DESC, name", (device,)
        )
        addresses = self._connection.execute(
            """SELECT a.address, a.source, a.first, a.last, a.expires, h.lease FROM addresses a
               LEFT JOIN held h ON h.source = a.source AND h.address = a.address
               WHERE a.device = ? ORDER BY a.last DESC, a.address""",
            (device,),
        )
        return DeviceRecord(
            holder,
            mac,
            first,
            last,
            client_id,
            vendor_class,
            tuple(map(int, fingerprint.split(","))) if fingerprint else (),
            tuple(Span(*name) for name in names),
            tuple(self._address(holder, row) for row in addresses),
        )

    def _address(self, holder: str, row: Sequence[Any]) -> HeldAddress:
        address, source, first, last, expires, held = row
        is_held = held is not None and self._leases.decode(held).holder == holder
        return HeldAddress(address, source, first, last, expires, is_held)

    def _record_lease(self, source: str, lease: Lease, now: int) -> None:
        execute = self._connection.execute
        encoded = msgspec.json.encode(lease).decode()
        execute("INSERT OR REPLACE INTO held VALUES (?, ?, ?)", (source, lease.address, encoded))
        if lease.holder is None:
            return
        fingerprint = ",".join(map(str, lease.fingerprint)) or None
        (device,) = execute(
            """INSERT INTO devices (holder, mac, first, last, client_id, vendor_class, fingerprint)
               VALUES (:holder, :mac, :now, :now, :client_id, :vendor_class, :fingerprint)
               ON CONFLICT (holder) DO UPDATE SET last = :now, client_id = coalesce(:client_id, client_id),
                   vendor_class = coalesce(:vendor_class, vendor_class),
                   fingerprint = coalesce(:fingerprint, fingerprint)
               RETURNING id""",
            {
                "holder": lease.holder,
                "mac": lease.mac,
                "now": now,
                "client_id": lease.client_id,
                "vendor_class": lease.vendor_class,
                "fingerprint": fingerprint,
            },
        ).fetchone()
        execute(
            """INSERT INTO addresses VALUES (?1, ?2, ?3, ?4, ?4, ?5)
               ON CONFLICT DO UPDATE SET last = excluded.last, expires = excluded.expires""",
            (device, lease.address, source, now, lease.expires),
        )
        if lease.host_name is not None:
            execute(
                "INSERT INTO names VALUES (?1, ?2, ?3, ?3) ON CONFLICT DO UPDATE SET last = excluded.last",
                (device, lease.host_name, now),
            )

    def _record_end(self, source: str, address: str, now: int) -> None:
        execute = self._connection.execute
        row = execute("SELECT lease FROM held WHERE source = ? AND address = ?", (source, address)).fetchone()
        if row is None:
            return
        execute("DELETE FROM held WHERE source = ? AND address = ?", (source, address))
        execute(
            """UPDATE addresses SET last = ?, expires = NULL WHERE address = ? AND source = ?
               AND device = (SELECT id FROM devices WHERE holder = ?)""",
            (now, address, source, self._leases.decode(row[0]).holder),
        )


def archive_file(data_dir: Path) -> Path:
    """Where the dhcp exporter keeps it."""
    return data_dir / "dhcp" / "archive.db"


def _open(path: Path, clock: Clock) -> sqlite3.Connection:
    try:
        try:
            return _connect(path)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            set_aside(path, clock.wall_ns(), str(error))
        return _connect(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    # One thread at a time, as Archive says; but not always the same one.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        migrate(connection, path, MIGRATIONS)
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise damage(verdict)
