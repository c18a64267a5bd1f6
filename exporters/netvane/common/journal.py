"""What an exporter has to have events: its store, the shipper to Loki, and the socket that the command line asks."""

import asyncio
import contextlib
import socket
import sqlite3
from collections.abc import Callable, Iterable, Mapping

from netvane.common import events_metrics, settings
from netvane.common.clock import SystemClock
from netvane.common.config import Document
from netvane.common.control import ControlError, ControlServer, Handler, events_handler, socket_path
from netvane.common.event_inbox import Limits
from netvane.common.event_schema import Event, Kind
from netvane.common.event_search import Query
from netvane.common.events import Entry, EventStore, event_file_of
from netvane.common.loki import Shipper, shipper_for
from netvane.common.loki_http import LokiHttp
from netvane.common.metrics import Metric
from netvane.common.service import Service, ServiceError
from netvane.common.sqlite_file import StoreError


class Journal:
    """Opened by `start`, closed by `stop`; between the two `append` may be called from any thread."""

    def __init__(self, document: Document, service: Service, requests: Mapping[str, Handler] | None = None) -> None:
        """`requests`: what else the socket answers, beside ``events``. Raises ConfigError."""
        self._service = service
        self._site, self._loki = _check(document, service)
        self._requests = requests or {}
        self._store: EventStore | None = None
        self._shipper: Shipper | None = None
        self._control: ControlServer | None = None
        self._shipping = asyncio.Lock()

    async def start(self) -> None:
        """Raises ServiceError: another process holds the store, it is a newer Netvane's, the socket cannot be had."""
        service = self._service
        try:
            self._store = EventStore(
                event_file_of(service.storage.data_dir, service.name),
                site=self._site,
                host=socket.gethostname(),
                clock=service.clock,
                limits=Limits(max_bytes=service.storage.events_max),
            )
            self._control = ControlServer(
                socket_path(service.run_dir, service.name),
                {"events": events_handler(self._store), **self._requests},
            )
            await self._control.start()
        except (StoreError, ControlError) as error:
            await self.stop()
            raise ServiceError(str(error)) from error
        self._ship()

    def reload(self, document: Document) -> Callable[[], None]:
        """Check the new settings, raising ConfigError, and give back what takes them."""
        checked = _check(document, self._service)

        def take() -> None:
            # Even if nothing changed: the files that hold the password and the authority may have. Beside the loop,
            # because a push that hangs may keep the old shipper for a moment.
            self._site, self._loki = checked
            self._service.spawn("loki", self._ship_anew())

        return take

    async def stop(self) -> None:
        if self._control is not None:
            await self._control.stop()
        # Together within service.STOP_SECONDS; what is not shipped by then is shipped after the next start.
        if self._shipper is not None:
            await asyncio.to_thread(self._shipper.stop, 1.0)
        if self._store is not None:
            await asyncio.to_thread(self._store.close, 2.5)

    def append(
        self, event: Event, *, mac: str | None = None, device_name: str | None = None, ts: int | None = None
    ) -> None:
        """Store `event`, which happened at `ts` (Unix ns; now if not given); never waits, never raises."""
        if self._store is not None:
            self._store.append(event, mac=mac, device_name=device_name, ts=ts)

    def append_all(self, entries: Iterable[Entry], *, waited: float) -> None:
        """The same for many at once, which `waited` (seconds) elsewhere; they wait that much less here."""
        if self._store is not None:
            self._store.append_all(entries, waited=waited)

    async def append_confirmed(self, event: Event, *, mac: str | None = None, device_name: str | None = None) -> bool:
        """Store `event` as of now; True once it is on the disk, False where it could not be stored."""
        if self._store is None:
            return False
        return await asyncio.wrap_future(self._store.append_confirmed(event, mac=mac, device_name=device_name))

    def flush(self) -> None:
        """Wait until what was appended before is committed, where the disk takes it. A thread's business."""
        if self._store is not None:
            self._store.flush()

    async def search(self, query: Query) -> list[bytes]:
        """The bodies that match, newest first; none where the store cannot be read."""
        store = self._store

        def search() -> list[bytes]:
            with contextlib.suppress(sqlite3.Error):
                if store is not None:
                    return [body.encode() for body in store.search(query)]
            return []

        return await asyncio.to_thread(search)

    async def newest(self, event: Kind) -> bytes | None:
        """The body of the newest event of that kind; None where there is none, or the store cannot be read."""
        return next(iter(await self.search(Query(event=event, limit=1))), None)

    def collect(self) -> Iterable[Metric]:
        return () if self._store is None else events_metrics.collect(self._store, self._shipper)

    async def _ship_anew(self) -> None:
        async with self._shipping:
            if self._shipper is not None:
                await asyncio.to_thread(self._shipper.stop)
            self._ship()

    def _ship(self) -> None:
        service = self._service
        assert self._store is not None  # noqa: S101 - called by start and, through reload, after it
        self._shipper = shipper_for(
            self._loki, self._store, site=self._site, host=socket.gethostname(), job=service.name, clock=service.clock
        )
        if self._shipper is not None:
            self._shipper.start()


def _check(document: Document, service: Service) -> tuple[str, settings.Loki]:
    loki = settings.loki_of(document, service.loki_url)
    if loki.url is not None:
        LokiHttp(loki, loki.url, SystemClock())  # reads the files that it names, and complains of them
    return settings.site_of(document), loki
