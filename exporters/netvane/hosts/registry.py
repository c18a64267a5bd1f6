"""Every MAC ever seen, and the devices that they belong to: kept in memory, saved by netvane.hosts.registry_file.

Pure but for being changed: evidence and the owner's wishes in, what changed out. What has to be written is in
`unsaved`; a device's id is the first MAC it was seen with, for ever.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netvane.common.clock import NANOSECONDS
from netvane.hosts.evidence import SAYS_PRESENT, Evidence, Source
from netvane.hosts.identity import Candidate
from netvane.hosts.presence import State
from netvane.hosts.records import Device, Mac, Merge, Name, Span

MAX_MACS = 5_000
MAX_ADDRESSES = 64  # of one MAC; the longest unheard of goes first
MAX_SERVICES = 32
MAX_FINGERPRINT = 64
SCANNED_META = "scan "  # + device -> what ran there, as JSON
# Which name a device is called by where its owner gave it none.
NAME_SOURCES: tuple[Source, ...] = ("mdns", "dhcp", "lease")


class Unsaved(NamedTuple):
    """Ids of what changed since it was last written, and of what is to be removed."""

    macs: set[str]
    devices: set[str]
    gone_macs: set[str]
    gone_devices: set[str]
    meta: set[str]
    gone_meta: set[str]

    def __bool__(self) -> bool:
        return any(self)


class RegistryFullError(Exception):
    """No room for another MAC: all that are there are the owner's or have been seen for long."""


class Registry:
    def __init__(self) -> None:
        self.macs: dict[str, Mac] = {}
        self.devices: dict[str, Device] = {}
        self.merges: dict[str, Merge] = {}  # by MAC
        self.meta: dict[str, str] = {}
        self.unsaved = Unsaved(set(), set(), set(), set(), set(), set())
        self.evicted = 0

    def device_of(self, mac: str) -> Device | None:
        record = self.macs.get(mac)
        return None if record is None else self.devices[record.device]

    def macs_of(self, device: str) -> list[Mac]:
        """First seen first."""
        return sorted((mac for mac in list(self.macs.values()) if mac.device == device), key=lambda mac: mac.first)

    def are_one(self, mac: str, other: str) -> bool:
        first, second = self.macs.get(mac), self.macs.get(other)
        return first is not None and second is not None and first.device == second.device

    def is_assumed(self, mac: str) -> bool:
        """Whether it belongs to its device by observation alone."""
        merge = self.merges.get(mac)
        return merge is not None and merge.by == "observation"

    def is_trusted(self, record: Mac) -> bool:
        """Whether its owner trusts it. Trust does not pass to a MAC that is assumed to be the device's."""
        return self.devices[record.device].trusted and not self.is_assumed(record.mac)

    def add(self, mac: str, at: int, *, announced: int | None) -> Device:
        """Register a MAC as a device of its own. Raises RegistryFullError."""
        if len(self.macs) >= MAX_MACS:
            self._make_room()
        self.macs[mac] = Mac(mac, mac, at, at)
        device = self.devices.get(mac)
        if device is None:  # else its MAC was forgotten while it had others
            device = self.devices[mac] = Device(mac, announced=announced)
        self.unsaved.macs.add(mac)
        self.unsaved.devices.add(mac)
        self.unsaved.gone_macs.discard(mac)
        self.unsaved.gone_devices.discard(mac)
        return device

    def apply(self, piece: Evidence, *, heard_since: int) -> State | None:
        """Take in evidence about a registered MAC. The state its device was in before, where that changed.

        What is older than `heard_since`, the beginning of this round, says nothing about now.
        """
        record = self.macs[piece.mac]
        device = self.devices[record.device]
        before = device.state
        if piece.source in SAYS_PRESENT:
            record.last = max(record.last, piece.at)
            record.sources[piece.source] = max(record.sources.get(piece.source, 0), piece.at)
            if piece.at >= heard_since:
                device.presence.heard = True
        if piece.network:
            record.network = piece.network
        if piece.address is not None:
            _note_address(record, piece.address, piece.at)
        if piece.host_name is not None and piece.source in NAME_SOURCES:
            known = record.names.get(piece.source)
            if known is None or known.name != piece.host_name:
                record.names[piece.source] = Name(piece.host_name, piece.at, piece.at)
            else:
                known.last = max(known.last, piece.at)
        record.client_id = piece.client_id or record.client_id
        record.vendor_class = piece.vendor_class or record.vendor_class
        record.fingerprint = piece.fingerprint[:MAX_FINGERPRINT] or record.fingerprint
        if not set(piece.services) <= set(record.services):
            record.services = tuple(sorted({*record.services, *piece.services})[:MAX_SERVICES])
        self.unsaved.macs.add(piece.mac)
        after = device.state
        return before if after != before else None

    def end_round(self, failed_networks: frozenset[str]) -> list[tuple[Device, State]]:
        """A round is over for all but the devices of networks whose sweep failed; those whose state changed, and
        what it was.
        """
        networks: dict[str, set[str]] = {}
        for record in self.macs.values():
            networks.setdefault(record.device, set()).add(record.network)
        changed = []
        for device in self.devices.values():
            if networks.get(device.id, set()) & failed_networks:
                continue
            before = device.state
            device.presence.end_round(expected=device.expected)
            self.unsaved.devices.add(device.id)
            if device.state != before:
                changed.append((device, before))
        return changed

    def merge(self, merge: Merge) -> None:
        """Put a MAC into another device; the device that has none left goes, the owner's words on it with it."""
        record = self.macs[merge.mac]
        source, target = self.devices[record.device], self.devices[merge.into]
        record.device = target.id
        target.presence.heard |= source.presence.heard
        self.merges[merge.mac] = merge
        self.unsaved.macs.add(merge.mac)
        self.unsaved.devices.add(target.id)
        if not self.macs_of(source.id):
            target.name = target.name or source.name
            target.notes = target.notes or source.notes
            target.trusted |= source.trusted
            target.expected |= source.expected
            self._remove_device(source.id)

    def confirm(self, mac: str) -> None:
        """The owner says so too: an assumed MAC is the device's."""
        self.merges[mac] = self.merges[mac]._replace(by="owner")
        self.unsaved.macs.add(mac)

    def split(self, mac: str) -> Device:
        """Give a merged MAC a device of its own again, under its own id."""
        self.merges.pop(mac, None)
        record = self.macs[mac]
        record.device = mac
        device = self.devices.setdefault(mac, Device(mac, announced=0))
        self.unsaved.macs.add(mac)
        self.unsaved.devices.add(mac)
        self.unsaved.gone_devices.discard(mac)
        return device

    def forget(self, device: str) -> None:
        """Remove a device with its MACs and their history."""
        for record in self.macs_of(device):
            self._remove_mac(record.mac)
        self._remove_device(device)
        self.drop_meta(SCANNED_META + device)

    def touch(self, device: str) -> None:
        """The owner changed it: it is to be saved."""
        self.unsaved.devices.add(device)

    def set_meta(self, key: str, value: str) -> None:
        """A fact about the registry itself, such as when a network was first swept."""
        if self.meta.get(key) != value:
            self.meta[key] = value
            self.unsaved.meta.add(key)
            self.unsaved.gone_meta.discard(key)

    def drop_meta(self, key: str) -> None:
        if self.meta.pop(key, None) is not None:
            self.unsaved.meta.discard(key)
            self.unsaved.gone_meta.add(key)

    def candidates(self) -> Iterator[Candidate]:
        for record in self.macs.values():
            names = frozenset(name.name for name in record.names.values())
            marked = self.devices[record.device].is_owners
            yield Candidate(record.mac, record.device, record.last, names, record.client_id, marked)

    def _make_room(self) -> None:
        """The least of all goes: one that its owner never mentioned, seen for the shortest time, longest ago."""

        def worth(record: Mac) -> tuple[int, int]:
            return (record.last - record.first) // (3600 * NANOSECONDS), record.last

        victims = [record for record in self.macs.values() if not self.devices[record.device].is_owners]
        if not victims:
            raise RegistryFullError(f"{len(self.macs)} MACs, all of devices that the owner marked")
        victim = min(victims, key=worth)
        self._remove_mac(victim.mac)
        if not self.macs_of(victim.device):
            self._remove_device(victim.device)
        self.evicted += 1

    def _remove_mac(self, mac: str) -> None:
        del self.macs[mac]
        self.merges.pop(mac, None)
        self.unsaved.macs.discard(mac)
        self.unsaved.gone_macs.add(mac)

    def _remove_device(self, device: str) -> None:
        del self.devices[device]
        self.unsaved.devices.discard(device)
        self.unsaved.gone_devices.add(device)


def last_seen(records: Iterable[Mac]) -> int:
    return max((record.last for record in records), default=0)


def _note_address(record: Mac, address: str, at: int) -> None:
    span = record.addresses.get(address)
    if span is not None:
        span.first, span.last = min(span.first, at), max(span.last, at)
        return
    if len(record.addresses) >= MAX_ADDRESSES:
        del record.addresses[min(record.addresses, key=lambda known: record.addresses[known].last)]
    record.addresses[address] = Span(at, at)
