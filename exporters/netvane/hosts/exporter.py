"""The hosts exporter: puts registry, sources, events, metrics and the owner's requests together."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable

import msgspec

from netvane.common import settings
from netvane.common.config import Document
from netvane.common.control import ControlError
from netvane.common.journal import Journal
from netvane.common.log import get_logger
from netvane.common.metrics import Metric
from netvane.common.service import Service, ServiceError, private_directory
from netvane.common.sqlite_file import StoreError
from netvane.hosts import metrics, untold, vendors
from netvane.hosts.household import Household
from netvane.hosts.keeper import Keeper
from netvane.hosts.owner import List, Owner, OwnerError, Wish
from netvane.hosts.registry_file import RegistryFile, registry_path
from netvane.hosts.settings import HostsSettings
from netvane.hosts.watch import Watch

log = get_logger("hosts")

OPEN_RETRY_SECONDS = 5.0

_wishes: msgspec.json.Decoder[Wish] = msgspec.json.Decoder(Wish)


class HostsExporter:
    """See netvane.common.service.Exporter."""

    def __init__(self, document: Document, service: Service) -> None:
        self._service = service
        self._hosts, self._network = _check(document)
        self._journal = Journal(document, service, {"devices": self._answer})
        self._file: RegistryFile | None = None
        self._opening: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._restored_ns = 0

    def reload(self, document: Document) -> None:
        checked = _check(document)
        take_journal = self._journal.reload(document)
        self._hosts, self._network = checked
        take_journal()
        if self._watch is not None:
            self._watch.settings, self._watch.network = checked

    async def start(self) -> None:
        private_directory(self._service.data_dir)
        await vendors.load()
        try:
            self._file = RegistryFile(registry_path(self._service.storage.data_dir), self._service.clock)
            is_open = self._open()
        except StoreError as error:
            if self._file is not None:
                self._file.close()
            raise ServiceError(str(error)) from error
        await self._journal.start()
        if is_open:
            self._begin()
        else:
            self._opening = self._service.spawn("open", self._open_later())

    async def stop(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._watch is not None:
            await self._watch.stop()
        await self._journal.stop()
        if self._file is not None:
            self._file.close()

    def collectors(self) -> dict[str, Callable[[], Iterable[Metric]]]:
        def now() -> int:
            return self._service.clock.wall_ns()

        def of_watch(collect: Callable[[Watch], Iterable[Metric]]) -> Callable[[], Iterable[Metric]]:
            return lambda: () if self._watch is None else collect(self._watch)

        return {
            "devices": of_watch(lambda w: metrics.devices(w.household, self._hosts.max_devices, now())),
            "counts": of_watch(lambda w: metrics.counts(w.household, w.plan, self._hosts.max_devices, now())),
            "addresses": of_watch(
                lambda w: (
                    metrics.address_info(w.household, self._hosts.max_devices, now())
                    if self._hosts.address_metrics
                    else ()
                )
            ),
            "anomalies": of_watch(lambda w: metrics.anomalies(w.household, now())),
            "sweeps": of_watch(lambda w: metrics.sweeps(w.sweeps.states)),
            "reach": of_watch(lambda w: metrics.reach(w.reachability.reached)),
            "registry": self._collect_registry,
            "events": self._journal.collect,
        }

    def _collect_registry(self) -> Iterable[Metric]:
        watch = self._watch
        macs = 0 if watch is None else len(watch.household.registry.macs)
        return metrics.registry(None if watch is None else watch.keeper, macs, self._restored_ns)

    def _open(self) -> bool:
        """Whether the registry is open; where its file is out of reach, that is said. Raises StoreError."""
        assert self._file is not None  # noqa: S101 - made by `start`
        service = self._service
        try:
            opened = self._file.open()
        except (sqlite3.Error, OSError) as error:
            service.set_degraded("registry", f"{self._file.path} cannot be opened, so nothing is watched: {error}")
            return False
        service.set_degraded("registry", None)
        if opened.restored is not None:
            self._restored_ns = service.clock.wall_ns()
            log.error("registry was replaced", reason=opened.restored)
            service.set_degraded("registry copy", opened.restored)

        household = Household(
            opened.registry,
            service.clock,
            lambda event, mac, name: self._journal.append(event, mac=mac, device_name=name),
        )
        keeper = Keeper(self._file, opened.registry, service.clock)
        self._watch = Watch(service, self._journal, household, keeper, self._hosts)
        return True

    def _begin(self) -> None:
        assert self._watch is not None  # noqa: S101 - made by `_open`
        household = self._watch.household
        for at, event in untold.take(household.registry):
            self._journal.append(event, mac=event.device, device_name=household.name_of(event.device), ts=at)
            household.urgent = True
        self._watch.start(self._network)

    async def _open_later(self) -> None:
        """A locked file or a full disk passes; without knowing who was here before, everybody would be new."""
        while True:
            for _ in range(int(OPEN_RETRY_SECONDS)):
                self._service.beat()
                await asyncio.sleep(1.0)
            if await asyncio.to_thread(self._open):
                self._begin()
                return

    async def _answer(self, arguments: msgspec.Raw) -> AsyncGenerator[bytes, None]:
        """A request of `netvane devices`."""
        wish = _wishes.decode(arguments)
        watch = self._watch
        if watch is None:
            raise ControlError("the registry is not open yet")
        household = watch.household
        owner = Owner(household.registry, household.labels, self._service.clock)
        try:
            if isinstance(wish, List):
                for report in owner.reports(wish):
                    yield msgspec.json.encode(report)
                return
            events = owner.fulfil(wish)
        except OwnerError as error:
            raise ControlError(str(error)) from error
        is_saved = await watch.keeper.save(owners=True)
        for event in events:
            household.tell_of(event)
            yield msgspec.json.encode(event)
        if not is_saved:
            raise ControlError("done, but the registry cannot be written at the moment: it will be when it can")


def _check(document: Document) -> tuple[HostsSettings, settings.Network]:
    return document.section("hosts", HostsSettings), document.section("network", settings.Network)
