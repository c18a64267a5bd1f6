"""The registry as rows of its SQLite tables, there and back: pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from netvane.hosts.evidence import Source
from netvane.hosts.presence import Presence
from netvane.hosts.records import Device, Mac, Merge, Name, Span
from netvane.hosts.registry import Registry, Unsaved

# Each entry takes a file from the version of its index to the next. Entries are only ever added.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE devices (
            id TEXT PRIMARY KEY, name TEXT, notes TEXT, trusted INTEGER NOT NULL, expected INTEGER NOT NULL,
            announced INTEGER, gaps REAL NOT NULL, missed REAL NOT NULL, run INTEGER NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE macs (
            mac TEXT PRIMARY KEY, device TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
            network TEXT NOT NULL, client_id TEXT, vendor_class TEXT, fingerprint TEXT NOT NULL,
            services TEXT NOT NULL, sources TEXT NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE addresses (
            mac TEXT NOT NULL, address TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
            PRIMARY KEY (mac, address)) WITHOUT ROWID""",
        """CREATE TABLE names (
            mac TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, first INTEGER NOT NULL,
            last INTEGER NOT NULL, PRIMARY KEY (mac, source)) WITHOUT ROWID""",
        """CREATE TABLE merges (
            mac TEXT PRIMARY KEY, origin TEXT NOT NULL, target TEXT NOT NULL, at INTEGER NOT NULL,
            by TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID""",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)

_COLUMNS = {
    "devices": "id, name, notes, trusted, expected, announced, gaps, missed, run",
    "macs": "mac, device, first, last, network, client_id, vendor_class, fingerprint, services, sources",
    "addresses": "mac, address, first, last",
    "names": "mac, source, name, first, last",
    "merges": "mac, origin, target, at, by, reason",
    "meta": "key, value",
}
TABLES = tuple(_COLUMNS)
_OF_A_MAC = ("macs", "addresses", "names", "merges")

_numbers: msgspec.json.Decoder[tuple[int, ...]] = msgspec.json.Decoder(tuple[int, ...])
_texts: msgspec.json.Decoder[tuple[str, ...]] = msgspec.json.Decoder(tuple[str, ...])
_sources: msgspec.json.Decoder[dict[Source, int]] = msgspec.json.Decoder(dict[Source, int])


class Statement(NamedTuple):
    """SQL for `executemany`."""

    sql: str
    rows: list[tuple[Any, ...]]


def select(table: str) -> str:
    return f"SELECT {_COLUMNS[table]} FROM {table}"  # noqa: S608 - both are constants of this module


def take_unsaved(registry: Registry) -> tuple[list[Statement], Unsaved]:
    """What brings the file up to date, and what to `give_back` if it cannot be written; nothing is unsaved now."""
    unsaved = Unsaved(*(set(changed) for changed in registry.unsaved))
    macs = [registry.macs[mac] for mac in unsaved.macs]
    # A MAC's lists are short and written whole, so that what was dropped from them goes too.
    anew = [(mac,) for mac in (*unsaved.gone_macs, *unsaved.macs)]
    statements = [
        *(_delete(table, "mac", anew) for table in _OF_A_MAC),
        _delete("devices", "id", [(device,) for device in unsaved.gone_devices]),
        _insert("devices", [_device_row(registry.devices[device]) for device in unsaved.devices]),
        _insert("macs", [_mac_row(mac) for mac in macs]),
        _insert("addresses", [(mac.mac, key, *_span(span)) for mac in macs for key, span in mac.addresses.items()]),
        _insert("names", [(mac.mac, key, *_name(name)) for mac in macs for key, name in mac.names.items()]),
        _insert("merges", [tuple(registry.merges[mac.mac]) for mac in macs if mac.mac in registry.merges]),
        _delete("meta", "key", [(key,) for key in unsaved.gone_meta]),
        _insert("meta", [(key, registry.meta[key]) for key in unsaved.meta]),
    ]
    for changed in registry.unsaved:
        changed.clear()
    return [statement for statement in statements if statement.rows], unsaved


def give_back(registry: Registry, taken: Unsaved) -> None:
    """What was taken could not be written; meanwhile it may have come or gone again."""
    registry.unsaved.macs.update(mac for mac in taken.macs if mac in registry.macs)
    registry.unsaved.devices.update(device for device in taken.devices if device in registry.devices)
    registry.unsaved.gone_macs.update(mac for mac in taken.gone_macs if mac not in registry.macs)
    registry.unsaved.gone_devices.update(device for device in taken.gone_devices if device not in registry.devices)
    registry.unsaved.meta.update(key for key in taken.meta if key in registry.meta)
    registry.unsaved.gone_meta.update(key for key in taken.gone_meta if key not in registry.meta)


def registry_of(tables: dict[str, Iterable[tuple[Any, ...]]]) -> Registry:
    """Raises ValueError, KeyError, TypeError or msgspec.DecodeError where rows do not fit together."""
    registry = Registry()
    for id_, name, notes, trusted, expected, announced, gaps, missed, run in tables["devices"]:
        # Nobody is heard before this life of the exporter has begun to listen.
        presence = Presence(gaps, missed, run, heard=False)
        registry.devices[id_] = Device(id_, name, notes, bool(trusted), bool(expected), announced, presence)
    for mac, device, first, last, network, client_id, vendor_class, fingerprint, services, sources in tables["macs"]:
        if device not in registry.devices:
            raise ValueError(f"{mac} belongs to the device {device}, which is not there")
        registry.macs[mac] = Mac(
            mac,
            device,
            first,
            last,
            network,
            client_id,
            vendor_class,
            _numbers.decode(fingerprint),
            _texts.decode(services),
            sources=_sources.decode(sources),
        )
    for mac, address, first, last in tables["addresses"]:
        registry.macs[mac].addresses[address] = Span(first, last)
    for mac, source, name, first, last in tables["names"]:
        registry.macs[mac].names[source] = Name(name, first, last)
    for row in tables["merges"]:
        registry.merges[row[0]] = Merge(*row)
    registry.meta.update((key, value) for key, value in tables["meta"])
    return registry


def _device_row(device: Device) -> tuple[Any, ...]:
    presence = device.presence
    owners = (device.name, device.notes, device.trusted, device.expected)
    return (device.id, *owners, device.announced, round(presence.gaps, 4), round(presence.missed, 4), presence.run)


def _mac_row(mac: Mac) -> tuple[Any, ...]:
    lists = (mac.fingerprint, mac.services, mac.sources)
    known = (mac.mac, mac.device, mac.first, mac.last, mac.network, mac.client_id, mac.vendor_class)
    return (*known, *(msgspec.json.encode(value).decode() for value in lists))


def _span(span: Span) -> tuple[int, int]:
    return span.first, span.last


def _name(name: Name) -> tuple[str, int, int]:
    return name.name, name.first, name.last


def _insert(table: str, rows: list[tuple[Any, ...]]) -> Statement:
    columns = _COLUMNS[table]
    places = ", ".join("?" * (columns.count(",") + 1))
    return Statement(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608 - as above


def _delete(table: str, key: str, rows: list[tuple[Any, ...]]) -> Statement:
    return Statement(f"DELETE FROM {table} WHERE {key} = ?", rows)  # noqa: S608 - as above
