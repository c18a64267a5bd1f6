"""What the owner may ask and say about devices: `netvane devices`, over the exporter's socket or its file. Pure.

Whatever is asked for is checked whole before anything is changed.
"""

from collections.abc import Iterator
from typing import Annotated, TypeAlias

import msgspec

from netvane.common.clock import Clock, rfc3339
from netvane.common.event_schema import Device as DeviceEvent
from netvane.common.text import clean_name
from netvane.hosts.evidence import parse_mac
from netvane.hosts.labels import Labels
from netvane.hosts.records import Device, Mac, Merge
from netvane.hosts.registry import MAX_MACS, Registry, last_seen

Text = Annotated[str, msgspec.Meta(max_length=255)]


class OwnerError(ValueError):
    """What was asked for cannot be done; nothing was changed."""


class List(msgspec.Struct, frozen=True, tag_field="action", tag="list", forbid_unknown_fields=True):
    """All devices, or one with its history."""

    device: Text | None = None


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The owner's words about a device, as exported and imported; what is unset stays as it is."""

    device: Text
    name: Text | msgspec.UnsetType | None = msgspec.UNSET
    trusted: bool | msgspec.UnsetType = msgspec.UNSET
    expected: bool | msgspec.UnsetType = msgspec.UNSET
    notes: Text | msgspec.UnsetType | None = msgspec.UNSET
    macs: tuple[Text, ...] = ()


class Change(msgspec.Struct, frozen=True, tag_field="action", tag="change", forbid_unknown_fields=True):
    """Say something about devices; with `create`, also about such as were never seen."""

    entries: tuple[Entry, ...]
    create: bool = False


class MergeInto(msgspec.Struct, frozen=True, tag_field="action", tag="merge", forbid_unknown_fields=True):
    """All MACs of `device` belong to the device `into`."""

    device: Text
    into: Text


class Split(msgspec.Struct, frozen=True, tag_field="action", tag="split", forbid_unknown_fields=True):
    """The merged MAC `mac` is a device of its own."""

    mac: Text


class Forget(msgspec.Struct, frozen=True, tag_field="action", tag="forget", forbid_unknown_fields=True):
    device: Text


Wish: TypeAlias = List | Change | MergeInto | Split | Forget


class Address(msgspec.Struct, frozen=True):
    address: str
    mac: str
    first_seen: str
    last_seen: str


class Report(msgspec.Struct, frozen=True):
    """One device as `netvane devices` shows it; times are RFC 3339. `kind_because` is what the kind rests on.

    `name` is what it is called, `own_name` what its owner calls it. `assumed` are those of `macs` that are taken for
    its own by observation alone; `trusted` does not hold for them.
    """

    device: str
    name: str
    own_name: str | None
    state: str
    trusted: bool
    expected: bool
    vendor: str
    kind: str
    network: str
    macs: tuple[str, ...]
    assumed: tuple[str, ...]
    first_seen: str
    last_seen: str
    notes: str | None
    kind_because: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    services: tuple[str, ...]
    merged: tuple[tuple[str, str], ...]
    addresses: tuple[Address, ...]


class Owner:
    def __init__(self, registry: Registry, labels: Labels, clock: Clock) -> None:
        self._registry = registry
        self._labels = labels
        self._clock = clock

    def reports(self, wish: List) -> Iterator[Report]:
        """Newest first. Raises OwnerError."""
        devices = [self._find(wish.device)] if wish.device is not None else list(self._registry.devices.values())
        of_device: dict[str, list[Mac]] = {}
        for mac in sorted(self._registry.macs.values(), key=lambda mac: mac.first):
            of_device.setdefault(mac.device, []).append(mac)
        devices.sort(key=lambda device: last_seen(of_device.get(device.id, [])), reverse=True)
        for device in devices:
            yield self._report(device, of_device.get(device.id, []))

    def fulfil(self, wish: Change | MergeInto | Split | Forget) -> list[DeviceEvent]:
        """What changed. Raises OwnerError."""
        match wish:
            case Change():
                return self._change(wish)
            case MergeInto():
                return self._merge(wish)
            case Split():
                mac = self._mac(wish.mac)
                if self._registry.macs[mac].device == mac:
                    raise OwnerError(f"{mac} was not merged")
                before = self._registry.macs[mac].device
                return [_event(self._registry.split(mac).id, "split", before, mac)]
            case Forget():
                device = self._find(wish.device)
                self._registry.forget(device.id)
                return [_event(device.id, "forgotten", device.name, None)]

    def _change(self, wish: Change) -> list[DeviceEvent]:
        entries = [(self._id_for(entry, create=wish.create), entry) for entry in wish.entries]
        merges = _merges(entries)
        self._check_room({*merges, *(mac for macs in merges.values() for mac in macs)})
        names = {device_id: _cleaned(entry.name, "name") for device_id, entry in entries}
        notes = {device_id: _cleaned(entry.notes, "notes") for device_id, entry in entries}
        events = []
        for device_id, entry in entries:
            device = self._registry.devices.get(device_id) or self._create(device_id)
            changes = {
                "name": names[device_id],
                "notes": notes[device_id],
                "trusted": entry.trusted,
                "expected": entry.expected,
            }
            for key, value in changes.items():
                before = getattr(device, key)
                if value is msgspec.UNSET or value == before:
                    continue
                setattr(device, key, value)
                self._registry.touch(device.id)
                events.append(_event(device.id, key, _text(before), _text(value)))
            if entry.trusted is True:
                # An import speaks of the MACs that it lists, `netvane devices trust` of all that there are.
                spoken_of = None if not wish.create else merges[device_id]
                events += self._confirm(device, spoken_of)
            for mac in merges[device_id]:
                if mac not in self._registry.macs:
                    self._create(mac)
                known = self._registry.macs[mac]
                if known.device != device.id:
                    events += self._merge_mac(known, device)
        return events

    def _check_room(self, macs: set[str]) -> None:
        """An import pushes nobody out. Raises OwnerError."""
        more = len(macs - self._registry.macs.keys())
        room = MAX_MACS - len(self._registry.macs)
        if more > room:
            raise OwnerError(f"{more} MACs more than there are, and room for {room}: forget devices first")

    def _confirm(self, device: Device, macs: list[str] | None) -> list[DeviceEvent]:
        """Trust reaches the assumed MACs of a device: of these, or all."""
        events = []
        for mac in self._registry.macs_of(device.id):
            if self._registry.is_assumed(mac.mac) and (macs is None or mac.mac in macs):
                self._registry.confirm(mac.mac)
                events.append(_event(device.id, "merged", mac.mac, device.id))
        return events

    def _create(self, mac: str) -> Device:
        """A device that its owner knows before it was ever seen."""
        device = self._registry.add(mac, self._clock.wall_ns(), announced=0)
        device.presence.heard = False
        return device

    def _merge(self, wish: MergeInto) -> list[DeviceEvent]:
        source, target = self._find(wish.device), self._find(wish.into)
        if source is target:
            raise OwnerError(f"{wish.device} and {wish.into} are the same device already")
        return [event for mac in self._registry.macs_of(source.id) for event in self._merge_mac(mac, target)]

    def _merge_mac(self, mac: Mac, target: Device) -> list[DeviceEvent]:
        before = mac.device
        merge = Merge(mac.mac, before, target.id, self._clock.wall_ns(), "owner", "the owner's word")
        self._registry.merge(merge)
        return [_event(target.id, "merged", mac.mac, target.id)]

    def _id_for(self, entry: Entry, *, create: bool) -> str:
        mac = parse_mac(entry.device)
        if create and mac is not None and mac not in self._registry.macs:
            return mac
        return self._find(entry.device).id

    def _find(self, text: str) -> Device:
        """By MAC or by name. Raises OwnerError."""
        mac = parse_mac(text)
        if mac is not None:
            device = self._registry.device_of(mac) or self._registry.devices.get(mac)
            if device is None:
                raise OwnerError(f"no device has the MAC {mac}")
            return device
        now = self._clock.wall_ns()
        wanted = text.casefold()
        found = [
            device
            for device in self._registry.devices.values()
            if self._labels.of(device, self._registry.macs_of(device.id), now).name.casefold() == wanted
        ]
        if len(found) != 1:
            problem = "several devices are" if found else "no device is"
            raise OwnerError(f"{problem} called {clean_name(text) or 'that'}: give its MAC")
        return found[0]

    def _mac(self, text: str) -> str:
        mac = parse_mac(text)
        if mac is None or mac not in self._registry.macs:
            raise OwnerError(f"no device has the MAC {clean_name(text) or ''}")
        return mac

    def _report(self, device: Device, macs: list[Mac]) -> Report:
        label = self._labels.of(device, macs, self._clock.wall_ns())
        addresses = [(span, address, mac.mac) for mac in macs for address, span in mac.addresses.items()]
        addresses.sort(key=lambda entry: -entry[0].last)
        return Report(
            device=device.id,
            name=label.name,
            own_name=device.name,
            state=device.state,
            trusted=device.trusted,
            expected=device.expected,
            vendor=label.vendor,
            kind=label.guess.kind,
            network=next((mac.network for mac in reversed(macs) if mac.network), ""),
            macs=tuple(mac.mac for mac in macs),
            assumed=tuple(mac.mac for mac in macs if self._registry.is_assumed(mac.mac)),
            first_seen=rfc3339(min((mac.first for mac in macs), default=0)),
            last_seen=rfc3339(last_seen(macs)),
            notes=device.notes,
            kind_because=label.guess.because,
            names=tuple((name.name, source) for mac in macs for source, name in mac.names.items()),
            services=tuple(sorted({service for mac in macs for service in mac.services})),
            merged=tuple(
                (mac, merge.reason) for mac, merge in self._registry.merges.items() if merge.into == device.id
            ),
            addresses=tuple(
                Address(address, mac, rfc3339(span.first), rfc3339(span.last)) for span, address, mac in addresses
            ),
        )


def _merges(entries: list[tuple[str, Entry]]) -> dict[str, list[str]]:
    """The MACs that each device is to have. Raises OwnerError where one is none, or is wanted for two devices."""
    merges: dict[str, list[str]] = {}
    wanted_for: dict[str, str] = {}
    for device_id, entry in entries:
        if device_id in merges:
            raise OwnerError(f"{device_id} is there twice")
        macs = merges[device_id] = []
        for text in (device_id, *entry.macs):
            mac = parse_mac(text)
            if mac is None:
                raise OwnerError(f"{device_id}: among its MACs is one that is none")
            if wanted_for.setdefault(mac, device_id) != device_id:
                raise OwnerError(f"{mac} is there twice: with {wanted_for[mac]} and with {device_id}")
            if mac != device_id:
                macs.append(mac)
    return merges


def _cleaned(text: str | msgspec.UnsetType | None, key: str) -> str | msgspec.UnsetType | None:
    """None takes the owner's word away. Raises OwnerError where nothing printable stays of it."""
    if text is None or text is msgspec.UNSET or text == "":
        return text or None if text is not msgspec.UNSET else msgspec.UNSET
    clean = clean_name(text)
    if clean is None:
        raise OwnerError(f"{key}: nothing in it can be printed")
    return clean


def _event(device: str, change: str, previous: str | None, current: str | None) -> DeviceEvent:
    return DeviceEvent(device=device, change=change, by="owner", previous=previous, current=current)


def _text(value: object) -> str | None:
    return {True: "true", False: "false"}.get(value, str(value)) if value is not None else None  # type: ignore[call-overload]  # a dict of bools asked for anything
