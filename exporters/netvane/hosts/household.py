"""The household: takes evidence of all kinds, keeps the registry, and says what is worth telling.

No I/O: `tell` takes events, times come from a clock, and what must be saved before it is told waits in
`unannounced`.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.event_schema import Anomaly, Event
from netvane.common.event_schema import Device as DeviceEvent
from netvane.common.log import get_logger
from netvane.hosts import vendors
from netvane.hosts.anomalies import ActiveAnomalies, ClaimWatch, Finding
from netvane.hosts.evidence import CLAIMS, Evidence
from netvane.hosts.identity import Candidate, claimed_names, find_tie
from netvane.hosts.labels import Labels
from netvane.hosts.newcomers import Newcomers
from netvane.hosts.presence import State
from netvane.hosts.records import Device, Merge
from netvane.hosts.registry import Registry, RegistryFullError

log = get_logger("hosts")

TOGETHER_SECONDS = 600  # who was heard within this time is here when a name is claimed
BOTH_ALIVE_SECONDS = 60
ROUTER_META = "router "  # + address -> MAC
LEARNED_META = "learned "  # + network -> when its first sweep was over, Unix ns
FOUND_META = "found "  # + network -> how many devices that sweep found
MAX_HOLDERS = 20_000

Tell = Callable[[Event, str | None, str | None], None]  # event, MAC, name


class Learned(NamedTuple):
    """The first sweep of a network."""

    network: str
    at: int
    devices: int


class Household:
    def __init__(self, registry: Registry, clock: Clock, tell: Tell) -> None:
        self.registry = registry
        self.labels = Labels(registry)
        self.newcomers = Newcomers()
        self.claims = ClaimWatch(registry.are_one)
        self.anomalies = ActiveAnomalies()
        self.holders: dict[str, str] = {}  # address -> the MAC that last claimed it
        self.pieces: dict[str, int] = {}  # evidence by source
        self.urgent = False  # something must be saved now
        self._clock = clock
        self._tell = tell
        self._round_began = clock.wall_ns()
        for record in registry.macs.values():
            for address, span in record.addresses.items():
                self.claims.remember(address, record.mac, span.first, span.last)
                self.holders.setdefault(address, record.mac)

    def take(self, piece: Evidence) -> None:
        """Evidence from any source."""
        self.pieces[piece.source] = self.pieces.get(piece.source, 0) + 1
        for finding in self.claims.observe(piece):
            self._note(finding)
        if piece.address is not None and piece.source in CLAIMS and not self.newcomers.flooded:
            if len(self.holders) >= MAX_HOLDERS:
                self.holders.clear()
            self.holders[piece.address] = piece.mac
        if piece.mac in self.registry.macs:
            self._apply(piece)
        elif piece.source != "lease":  # a lease of somebody who was never seen
            self._admit(self.newcomers.offer(piece, self._clock.wall_ns()))
            if flood := self.newcomers.flood():
                numbers = {"turned_away": float(flood.turned_away)}
                detail = "many made-up MAC addresses at once: none of them is taken for a device"
                self._note(Finding("mac_flood", None, None, None, detail, numbers))

    def tick(self) -> None:
        """Several times a second: let newcomers in whose wait is over."""
        self._admit(self.newcomers.due(self._clock.wall_ns()))

    def begin_round(self) -> None:
        self.newcomers.sweep_begins()

    def end_round(self, swept: Collection[str], failed: frozenset[str]) -> None:
        """The sweeps of these networks worked; those of `failed` did not."""
        now = self._clock.wall_ns()
        self.newcomers.sweep_ends(now)
        is_first = any(self.is_learning(network) for network in swept)
        self._admit(self.newcomers.all_held() if is_first else self.newcomers.due(now))
        if swept:
            for device, before in self.registry.end_round(failed):
                self._presence_changed(device, before)
            self._round_began = now
        for network in swept:
            if self.registry.meta.get(LEARNED_META + network) is None:
                self._learned(network, now)
        for address, router in self.claims.routers.items():
            if router.mac:
                self.registry.set_meta(ROUTER_META + address, router.mac)
        self.labels.forget()

    def watch_routers(self, addresses: set[str]) -> None:
        prefix = len(ROUTER_META)
        known = {key[prefix:]: mac for key, mac in self.registry.meta.items() if key.startswith(ROUTER_META)}
        self.claims.watch_routers(addresses, known)

    def is_learning(self, network: str | None) -> bool:
        """Whether the first sweep (of that network, where it is known) is still to be finished."""
        if network is not None:
            return LEARNED_META + network not in self.registry.meta
        return not any(key.startswith(LEARNED_META) for key in self.registry.meta)

    def learned(self) -> list[Learned]:
        found = []
        for key, value in list(self.registry.meta.items()):
            if key.startswith(LEARNED_META):
                network = key.removeprefix(LEARNED_META)
                found.append(Learned(network, int(value), int(self.registry.meta.get(FOUND_META + network, 0))))
        return found

    def unannounced(self) -> list[Device]:
        """New devices that nobody was told of yet."""
        return [device for device in self.registry.devices.values() if device.announced is None]

    def announcement(self, device: Device) -> DeviceEvent:
        macs = self.registry.macs_of(device.id)
        addresses = [address for mac in macs for address in mac.addresses]
        return DeviceEvent(
            device=device.id,
            change="new",
            by="observation",
            previous=None,
            current="present",
            address=min(addresses, key=lambda address: (":" in address, address), default=None),
            vendor=vendors.vendor(device.id),
            source=next((source for mac in macs for source in mac.sources), None),
            network=macs[0].network or None,
        )

    def name(self, device: Device) -> str | None:
        return self.labels.of(device, self.registry.macs_of(device.id), self._clock.wall_ns()).name or None

    def name_of(self, device_id: str) -> str | None:
        device = self.registry.devices.get(device_id)
        return None if device is None else self.name(device)

    def tell_of(self, event: DeviceEvent) -> None:
        """An event about a device that is, or was, in the registry."""
        self._tell(event, event.device, self.name_of(event.device))

    def _admit(self, pieces: list[Evidence]) -> None:
        for piece in pieces:
            if piece.mac not in self.registry.macs:
                announced = 0 if piece.source == "self" or self.is_learning(piece.network) else None
                try:
                    self.registry.add(piece.mac, piece.at, announced=announced)
                except RegistryFullError as error:
                    log.warning("a device was not registered", mac=piece.mac, error=error)
                    continue
                self.urgent = True
            self._apply(piece)

    def _apply(self, piece: Evidence) -> None:
        record = self.registry.macs[piece.mac]
        known = (record.client_id, {name.name for name in record.names.values()})
        before = self.registry.apply(piece, heard_since=self._round_began)
        if before is not None:
            self._presence_changed(self.registry.devices[record.device], before)
        if (record.client_id, {name.name for name in record.names.values()}) != known:
            self._identify(piece)
        self._doubt(piece)

    def _identify(self, piece: Evidence) -> None:
        """It said a name or an id that it had not said before."""
        record = self.registry.macs[piece.mac]
        device = self.registry.devices[record.device]
        names = frozenset(name.name for name in record.names.values())
        mine = Candidate(record.mac, device.id, record.last, names, record.client_id, device.is_owners)
        others = list(self.registry.candidates())
        if not device.is_owners and len(self.registry.macs_of(device.id)) == 1:
            tie = find_tie(mine, record.first, others)
            if tie is not None:
                self.registry.merge(Merge(record.mac, device.id, tie.device, piece.at, "observation", tie.reason))
                self._merged(record.mac, tie.device, tie.reason)
                return
        for name, other in claimed_names(mine, others, piece.at - TOGETHER_SECONDS * NANOSECONDS):
            self._note(_name_claimed(name, record.mac, other.mac))

    def _merged(self, mac: str, device: str, reason: str) -> None:
        self.urgent = True
        trusted = self.registry.is_trusted(self.registry.macs[mac])
        log.info("a device has a new MAC", device=device, mac=mac, reason=reason, trusted=trusted)
        self.tell_of(
            DeviceEvent(device=device, change="merged", by="observation", previous=mac, current=device, source=reason)
        )

    def _doubt(self, piece: Evidence) -> None:
        """Two MACs tied together by observation that talk at the same time are two devices."""
        if not self.registry.is_assumed(piece.mac):
            return
        record = self.registry.macs[piece.mac]
        for other in self.registry.macs_of(record.device):
            alive = other.last > record.first and 0 <= piece.at - other.last < BOTH_ALIVE_SECONDS * NANOSECONDS
            if other.mac != piece.mac and alive:
                self.registry.split(piece.mac).announced = None  # a stranger after all
                self.urgent = True
                name = next((name.name for name in record.names.values()), "")
                self._note(_name_claimed(name, piece.mac, other.mac))
                return

    def _learned(self, network: str, now: int) -> None:
        count = len({record.device for record in self.registry.macs.values() if record.network == network})
        self.registry.set_meta(LEARNED_META + network, str(now))
        self.registry.set_meta(FOUND_META + network, str(count))
        self.urgent = True
        log.info("first sweep", network=network, devices=count)
        summary = DeviceEvent(
            device="", change="first_sweep", by="observation", previous=None, current=str(count), network=network
        )
        self._tell(summary, None, None)

    def _presence_changed(self, device: Device, before: State) -> None:
        after = device.state
        # Quiet is how sleepers are: what is told is that somebody has left or is back.
        if "away" in {before, after}:
            self.tell_of(
                DeviceEvent(device=device.id, change="presence", by="observation", previous=before, current=after)
            )

    def _note(self, finding: Finding) -> None:
        if not self.anomalies.note(finding, self._clock.wall_ns()):
            return
        log.warning("anomaly", anomaly=finding.anomaly, mac=finding.mac, peer=finding.peer, detail=finding.detail)
        device = self.registry.device_of(finding.mac) if finding.mac is not None else None
        event = Anomaly(
            anomaly=finding.anomaly, evidence=dict(finding.numbers), detail=finding.detail, address=finding.address
        )
        self._tell(event, finding.mac, None if device is None else self.name(device))


def _name_claimed(name: str, mac: str, peer: str) -> Finding:
    return Finding("name_claimed", mac, peer, None, f"{mac} calls itself {name}, which is the name of {peer}", {})
