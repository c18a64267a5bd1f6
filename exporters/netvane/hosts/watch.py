"""The hosts exporter at work: asks all sources for evidence, saves, announces and publishes what came of it."""

import asyncio
import json
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from typing import Any

from netvane.common import exchange, leases, network, rawclient
from netvane.common.clock import NANOSECONDS
from netvane.common.devices import FILE_NAME, PUBLISH_SECONDS, DevicesView
from netvane.common.event_search import Query
from netvane.common.journal import Journal
from netvane.common.leases import LeasesView
from netvane.common.log import get_logger
from netvane.common.network import NetworkView
from netvane.common.raw_messages import SOCKET_NAME, Sighting
from netvane.common.service import Service
from netvane.common.settings import Network
from netvane.common.text import clean_name
from netvane.hosts import kernel, subnets
from netvane.hosts.evidence import Evidence, of_sighting, usable_address
from netvane.hosts.household import Household
from netvane.hosts.keeper import Keeper
from netvane.hosts.mdns import Mdns
from netvane.hosts.mdns_message import Announcement
from netvane.hosts.pings import Pings
from netvane.hosts.reach import Reachability
from netvane.hosts.records import Device, Name
from netvane.hosts.scan import NightlyScan
from netvane.hosts.settings import HostsSettings
from netvane.hosts.snapshot import devices_view
from netvane.hosts.subnets import Plan
from netvane.hosts.sweeps import Sweeps

log = get_logger("hosts.watch")

TICK_SECONDS = 0.25
ANSWER_SECONDS = 1.0  # for the answers to an echo request to all IPv6 nodes
FIRST_ANSWER_SECONDS = 4.0  # in the first round, whose devices are not announced, for those that take their time
RETRY_SECONDS = 5.0  # after a round in which no sweep worked
RECONNECT_SECONDS = 2.0
CONFIRM_SECONDS = 5.0  # for the event store to have an announcement on the disk
PUBLISH_CHECK_SECONDS = 5.0
LEASES_SECONDS = 15.0
NO_NAME = Name("", 0, 0)


class Watch:
    """Works from `start` to `stop`."""

    def __init__(
        self, service: Service, journal: Journal, household: Household, keeper: Keeper, settings: HostsSettings
    ) -> None:
        self.household = household
        self.keeper = keeper
        self.settings = settings
        self.network = Network()
        self.plan = Plan((), (), ())
        self.reachability = Reachability(household.registry)
        self._service = service
        self._journal = journal
        self._clock = service.clock
        self._raw = service.run_dir / SOCKET_NAME
        self.sweeps = Sweeps(self._raw, service.clock, household.take)
        self._neighbours = kernel.NeighbourWatch(service.clock, self._place)
        self._pings = Pings(service.clock, household, self.reachability, self._place)
        self._mdns = Mdns(self._mdns_heard)
        self._mdns_interface: str | None = None
        self._scan = NightlyScan(self._raw, household)
        self._published: DevicesView | None = None
        self._published_ns = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, settings: Network) -> None:
        self.network = settings
        for part, opening in (("neighbours", self._neighbours.open), ("ping", self._pings.open)):
            try:
                opening()
            except OSError as error:
                hint = "; net.ipv4.ping_group_range forbids it?" if part == "ping" else ""
                self._service.set_degraded(part, f"no {part}: {error.strerror}{hint}")
        work: dict[str, Coroutine[Any, Any, None]] = {
            "tick": self._tick(),
            "persist": self._persist(),
            "rounds": self._rounds(),
            "listen": self._listen(),
            "pings": self._pings.run(lambda: self.settings.ping_interval),
            "publish": self._publish(),
            "leases": self._read_leases(),
            "scan": self._scan.run(lambda: self.settings.scan),
        }
        self._tasks = [self._service.spawn(name, task) for name, task in work.items()]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._neighbours.close()
        self._pings.close()
        self._mdns.close()
        await self.keeper.save()

    async def _tick(self) -> None:
        while True:
            self._service.beat()
            self.household.tick()
            await asyncio.sleep(TICK_SECONDS)

    async def _persist(self) -> None:
        """A new device is on the disk before anybody is told of it."""
        await self._recall_announced()
        while True:
            if (self.household.urgent and self.keeper.may_retry()) or self.keeper.is_due():
                self.household.urgent = False
                self.household.urgent |= not await self.keeper.save()
                reason = None if self.keeper.writable else "the registry cannot be written; changes wait in memory"
                self._service.set_degraded("registry", reason)
            for device in self.household.unannounced():
                await self._announce(device)
            await asyncio.sleep(TICK_SECONDS)

    async def _announce(self, device: Device) -> None:
        event, name = self.household.announcement(device), self.household.name(device)
        log.info("new device", device=device.id, name=name, vendor=event.vendor, address=event.address)
        with suppress(TimeoutError):  # a full disk: the event waits in memory, and is not told twice
            async with asyncio.timeout(CONFIRM_SECONDS):
                await self._journal.append_confirmed(event, mac=device.id, device_name=name)
        device.announced = self._clock.wall_ns()
        self.household.registry.touch(device.id)
        self.household.urgent = True

    async def _recall_announced(self) -> None:
        """Whose announcement was stored just before this exporter was killed is not announced again."""
        for device in self.household.unannounced():
            bodies = await self._journal.search(Query(event="device", mac=device.id, limit=50))
            if any(json.loads(body).get("change") == "new" for body in bodies):
                device.announced = self._clock.wall_ns()
                self.household.registry.touch(device.id)

    async def _rounds(self) -> None:
        while True:
            began = self._clock.monotonic_ns()
            self._look_around()
            self.household.begin_round()
            self._mdns.ask()
            self._pings.begin_round(self.plan)
            swept = await self.sweeps.attached(self.plan.attached, self.settings.sweep_limit)
            self.reachability.swept(swept.worked, swept.rtts)
            is_first = any(self.household.is_learning(network) for network in swept.worked)
            await asyncio.sleep(FIRST_ANSWER_SECONDS if is_first else ANSWER_SECONDS)
            self.household.end_round(swept.worked, swept.failed)
            await self.sweeps.routed(self.plan.routed, self.settings.sweep_limit)
            pause = self.settings.interval - (self._clock.monotonic_ns() - began) / NANOSECONDS
            await asyncio.sleep(max(0.0, pause if swept.worked else min(pause, RETRY_SECONDS)))

    def _look_around(self) -> None:
        """The network may have become another since the last round."""
        settings = self.settings
        try:
            interfaces = kernel.interfaces()
        except OSError as error:
            self._service.set_degraded("interfaces", f"the kernel does not tell its interfaces: {error.strerror}")
            return
        self._service.set_degraded("interfaces", None)
        plan = subnets.plan(
            interfaces, settings.subnets, only=self.network.interface, largest_prefix=settings.largest_subnet
        )
        if plan != self.plan:
            self.plan = plan
            self.sweeps.keep(plan)
            log.info("subnets", attached=[a.subnet for a in plan.attached], routed=plan.routed)
            refused = "; ".join(f"{refused.subnet} is not swept: {refused.reason}" for refused in plan.refused)
            self._service.set_degraded("subnets", refused or None)
        view = network.find(self.network)
        self.household.watch_routers({address for address in _routers(view) if address is not None})
        now = self._clock.wall_ns()
        swept = {attached.interface for attached in plan.attached}
        own = set()
        for interface in interfaces:
            if interface.name not in swept or interface.mac is None:
                continue
            own.add(interface.mac)
            for text in interface.addresses:
                address = text.partition("/")[0]
                subnet = plan.network_of(address, interface.name)
                self.household.take(Evidence(interface.mac, now, "self", network=subnet, address=address))
        self.household.claims.own = frozenset(own)
        self._listen_to_mdns(view.interface or next(iter(sorted(swept)), None))

    def _listen_to_mdns(self, interface: str | None) -> None:
        wanted = interface if self.settings.mdns else None
        if wanted == self._mdns_interface:
            return
        try:
            self._mdns.close()
            if wanted is not None:
                self._mdns.open(wanted)
        except OSError as error:
            self._service.set_degraded("mdns", f"no mDNS: {error.strerror}")
            return
        self._mdns_interface = wanted
        self._service.set_degraded("mdns", None)

    async def _listen(self) -> None:
        """What `netvane raw` hears on the interfaces that are swept, for as long as there is one."""
        while True:
            interfaces = self._swept_interfaces()
            try:
                async with aclosing(rawclient.subscribe(self._raw, interfaces)) as reports:
                    async for report in reports:
                        self._service.set_degraded("raw", None)
                        if isinstance(report, Sighting):
                            piece = of_sighting(report)
                            self._place(piece, report.interface)
                        if interfaces != self._swept_interfaces():
                            break
            except rawclient.RawUnavailable as error:
                self._service.set_degraded("raw", f"no sweeps and no passive listener: {error}")
            await asyncio.sleep(RECONNECT_SECONDS)

    def _swept_interfaces(self) -> tuple[str, ...]:
        return tuple(sorted({attached.interface for attached in self.plan.attached}))

    def _place(self, piece: Evidence, interface: str | None = None) -> None:
        self.household.take(piece._replace(network=self.plan.network_of(piece.address, interface)))

    def _mdns_heard(self, sender: str, announcement: Announcement) -> None:
        mac = self.household.holders.get(usable_address(sender) or "")
        if mac is None:
            return
        # Who speaks for several is a proxy: whose names those are is not known.
        name = announcement.host_names[0] if len(announcement.host_names) == 1 else None
        now = self._clock.wall_ns()
        self._place(Evidence(mac, now, "mdns", host_name=name, services=announcement.services))

    async def _read_leases(self) -> None:
        """The names in ``leases.json``; who holds a lease may be out all the same."""
        while True:
            view = exchange.read(
                self._service.run_dir / leases.FILE_NAME, LeasesView, leases.MAX_AGE_SECONDS, self._clock
            )
            for lease in view.leases if view is not None else ():
                record = self.household.registry.macs.get(lease.mac or "")
                name = clean_name(lease.host_name) if lease.host_name is not None else None
                if record is not None and name is not None and record.names.get("lease", NO_NAME).name != name:
                    self.household.take(Evidence(record.mac, self._clock.wall_ns(), "lease", host_name=name))
            await asyncio.sleep(LEASES_SECONDS)

    async def _publish(self) -> None:
        while True:
            await asyncio.sleep(PUBLISH_CHECK_SECONDS)
            now = self._clock.monotonic_ns()
            view = devices_view(self.household, self._clock.wall_ns())
            if view == self._published and now - self._published_ns < PUBLISH_SECONDS * NANOSECONDS:
                continue
            try:
                exchange.publish(self._service.run_dir / FILE_NAME, view, self._clock)
            except OSError as error:
                self._service.set_degraded("exchange", f"{FILE_NAME} cannot be published: {error.strerror}")
                continue
            self._service.set_degraded("exchange", None)
            self._published, self._published_ns = view, now


def _routers(view: NetworkView) -> tuple[str | None, ...]:
    return view.router, view.router6.partition("%")[0] if view.router6 is not None else None
