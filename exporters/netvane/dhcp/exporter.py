"""The dhcp exporter: puts lease files, what is overheard, archive, events and metrics together."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from itertools import islice

import msgspec

from netvane.common import exchange, network, settings
from netvane.common.clock import NANOSECONDS
from netvane.common.config import Document
from netvane.common.journal import Journal
from netvane.common.leases import FILE_NAME, MAX_LEASES, PUBLISH_SECONDS, LeasesView, PublishedLease, holders
from netvane.common.log import get_logger
from netvane.common.metrics import GaugeMetricFamily, Metric
from netvane.common.network import NetworkView
from netvane.common.service import Service, ServiceError, private_directory
from netvane.common.sqlite_file import StoreError
from netvane.dhcp import metrics, places, pools
from netvane.dhcp.archive import archive_file
from netvane.dhcp.book import LeaseBook
from netvane.dhcp.lease import Lease
from netvane.dhcp.network_watch import NetworkWatch
from netvane.dhcp.pools import Pool
from netvane.dhcp.reader import Reader
from netvane.dhcp.settings import DhcpSettings
from netvane.dhcp.unleased import Unleased
from netvane.dhcp.watched_file import WatchedFile

log = get_logger("dhcp")

TICK_SECONDS = 1.0
FLUSH_SECONDS = 5.0  # how long the archive may lag behind, and an SD card rest
SEARCH_SECONDS = 30.0  # how often lease files are looked for
PASSIVE = "passive"


class DhcpExporter:
    """See netvane.common.service.Exporter."""

    def __init__(self, document: Document, service: Service) -> None:
        self._service = service
        self._settings, self._network = _check(document)
        self._journal = Journal(document, service, {"leases": self._answer})
        self._watch = NetworkWatch(service.run_dir, service.clock, self._journal.append)
        self._book = LeaseBook(service.clock, self._journal.append, self._watch.overheard.identity)
        self._reader = Reader(service.clock, self._file_news)
        self._view = NetworkView()
        self._pools: tuple[Pool, ...] = ()
        self._overheard: dict[str, Lease] = {}
        self._unleased: list[Unleased] = []
        self._published = 0.0
        self._publish_now = True
        self._tasks: list[asyncio.Task[None]] = []

    def reload(self, document: Document) -> None:
        checked = _check(document)
        take_journal = self._journal.reload(document)
        self._settings, self._network = checked
        take_journal()
        self._configure()

    async def start(self) -> None:
        private_directory(self._service.data_dir)
        try:
            learned = await self._book.open(archive_file(self._service.storage.data_dir))
        except StoreError as error:
            await self._book.close()
            raise ServiceError(str(error)) from error
        self._watch.servers.learned = learned
        self._watch.overheard.restore((await self._book.stored(PASSIVE) or {}).values(), self._now())
        try:
            await self._journal.start()
        except ServiceError:
            await self._book.close()
            raise
        self._configure()
        if not self._reader.files:  # so that already the first lease that is overheard is news
            self._overheard = dict(self._watch.overheard.leases)
            await self._book.take(PASSIVE, PASSIVE, self._overheard)
        self._tasks = [
            self._service.spawn("reader", self._reader.run(self._service.beat)),
            self._service.spawn("listener", self._watch.listen(self._raw_state)),
            self._service.spawn("server checks", self._watch.check_servers(lambda: self._view, self._book)),
            self._service.spawn("upkeep", self._upkeep()),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._book.close()
        await self._journal.stop()

    def collectors(self) -> dict[str, Callable[[], Iterable[Metric]]]:
        return {
            "leases": self._collect_leases,
            "lease_files": lambda: metrics.files(self._reader.files),
            "servers": self._watch.collect,
            "addresses": lambda: metrics.unleased(self._unleased),
            "events": self._journal.collect,
        }

    def _answer(self, arguments: msgspec.Raw) -> AsyncGenerator[bytes, None]:
        return self._book.answer(arguments)

    def _configure(self) -> None:
        self._watch.configure(self._settings)
        self._view = network.find(self._network)
        self._find_files(say=True)
        self._publish_now = True

    def _find_files(self, *, say: bool) -> None:
        chosen = self._settings.lease_files or places.find_lease_files()
        before = {file.path for file in self._reader.files}
        # One that was found stays, so that it is missed where it is taken away.
        paths = chosen if self._settings.lease_files or say else (*before, *chosen)
        self._reader.configure(paths)
        if say or set(paths) - before:
            if paths:
                log.info("lease files", files=", ".join(map(str, paths)))
            else:
                log.info("lease files off: none found; leases are overheard through netvane raw")
        for path in before - set(paths):
            self._service.set_degraded(str(path), None)
            self._book.forget_source(str(path))
        self._pools = self._find_pools()

    def _find_pools(self) -> tuple[Pool, ...]:
        if self._settings.pools:
            return tuple(pools.parse_pool(text) for text in self._settings.pools)
        found: list[Pool] = []
        for path in self._settings.server_configurations or places.find_server_configurations():
            try:
                found += pools.from_configuration(path.read_text(encoding="utf-8", errors="replace"))
            except OSError as error:
                problem: str | None = f"{path}: {error.strerror}"
            else:
                problem = None
            self._service.set_degraded(f"pools of {path}", problem)
        return tuple(dict.fromkeys(found))[: pools.MAX_POOLS] if self._reader.files else ()

    async def _file_news(self, file: WatchedFile) -> None:
        problem = None if file.problem is None else f"{file.path}: {file.problem}"
        self._service.set_degraded(str(file.path), problem)
        self._publish_now = True
        if file.problem is not None:
            self._book.forget_source(str(file.path))
        elif file.lease_format is not None or not file.damage:  # an empty file says that there are no leases
            await self._book.take(str(file.path), metrics.server_of(file), file.leases)

    def _raw_state(self, reason: str | None) -> None:
        self._service.set_degraded("raw", reason)

    async def _upkeep(self) -> None:
        """What has to be done now and then."""
        flushed = searched = self._now()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self._now()
            self._book.expire()
            if now - searched >= SEARCH_SECONDS:
                searched = now
                self._view = network.find(self._network)
                self._find_files(say=False)
            if now - flushed >= FLUSH_SECONDS:
                flushed = now
                self._service.set_degraded("archive", await self._book.flush())
                await self._take_overheard(now)
            if self._watch.overheard_changed:
                await self._take_overheard(now)
            self._look_for_unleased(now)
            self._publish(now)

    async def _take_overheard(self, now: float) -> None:
        if self._reader.files:
            return
        self._watch.overheard_changed = False
        ended = {lease.address: lease for lease in self._watch.overheard.forget(now)}
        leases = dict(self._watch.overheard.leases)
        if leases != self._overheard:
            self._overheard, self._publish_now = leases, True
            await self._book.take(PASSIVE, PASSIVE, ended | leases)

    def _look_for_unleased(self, now: float) -> None:
        view = self._leases_view() if self._settings.dhcp_only else LeasesView()
        if not view.complete:
            self._unleased = []
            return
        found = self._watch.addresses.without_lease(holders(view), frozenset(view.exempt), self._view.subnet, now)
        for use in set(found) - set(self._unleased):
            log.warning("address without a lease", address=use.address, mac=use.mac, lease=use.lack)
        self._unleased = found

    def _sources(self) -> list[tuple[str, str, dict[str, Lease]]]:
        """Server, file and leases of each source."""
        if self._reader.files:
            return [(metrics.server_of(file), str(file.path), file.leases) for file in self._reader.files]
        return [(PASSIVE, "", self._overheard)]

    def _leases_view(self) -> LeasesView:
        wall = self._service.clock.wall_ns() / NANOSECONDS
        active = (
            PublishedLease(lease.address, lease.mac, lease.host_name, lease.expires)
            for _, _, leases in self._sources()
            for lease in leases.values()
            if lease.state_at(wall) == "active" and "/" not in lease.address
        )
        published = tuple(islice(active, MAX_LEASES))
        files = self._reader.files
        readable = bool(files) and all(file.believed and file.problem is None for file in files)
        routers = [address for address in (self._view.router, self._view.router6) if address is not None]
        servers = [server.address for server in self._watch.servers.learned] + list(self._settings.known_servers)
        return LeasesView(
            leases=published,
            complete=readable and next(active, None) is None,
            dhcp_only=self._settings.dhcp_only,
            exempt=tuple(dict.fromkeys((*routers, *servers, *self._settings.static_addresses))),
        )

    def _publish(self, now: float) -> None:
        if not self._publish_now and now - self._published < PUBLISH_SECONDS:
            return
        self._publish_now, self._published = False, now
        try:
            exchange.publish(self._service.run_dir / FILE_NAME, self._leases_view(), self._service.clock)
        except OSError as error:
            self._service.set_degraded("exchange", f"{FILE_NAME} cannot be published: {error.strerror}")
        else:
            self._service.set_degraded("exchange", None)

    def _collect_leases(self) -> Iterable[Metric]:
        now, sources = self._service.clock.wall_ns() / NANOSECONDS, self._sources()
        yield from metrics.leases(sources, now)
        if self._settings.expiry_per_lease:
            yield from metrics.expiries(sources, now)
        active = (
            lease.address for _, _, leases in sources for lease in leases.values() if lease.state_at(now) == "active"
        )
        yield from metrics.pools(pools.used(self._pools, active))
        yield GaugeMetricFamily(
            "netvane_dhcp_devices_seen", "Devices that ever held a lease.", value=self._book.devices_seen
        )

    def _now(self) -> float:
        return self._service.clock.monotonic_ns() / NANOSECONDS


def _check(document: Document) -> tuple[DhcpSettings, settings.Network]:
    return document.section("dhcp", DhcpSettings), document.section("network", settings.Network)
