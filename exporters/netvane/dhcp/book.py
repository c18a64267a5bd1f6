"""What the sources of leases say, turned into events and into news for the archive."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from netvane.common.clock import NANOSECONDS, Clock, rfc3339
from netvane.common.event_schema import Event
from netvane.common.event_schema import Lease as LeaseEvent
from netvane.common.log import get_logger
from netvane.dhcp.archive import PAGE, Archive, Recorded
from netvane.dhcp.holdings import Change, Holdings
from netvane.dhcp.lease import Lease
from netvane.dhcp.passive import UNKNOWN, Identity
from netvane.dhcp.servers import Server

log = get_logger("dhcp.book")

T = TypeVar("T")
MAX_PENDING = 200_000  # leases that wait for a disk that takes nothing


class Append(Protocol):
    """netvane.common.journal.Journal.append."""

    def __call__(self, event: Event, *, mac: str | None = None) -> None: ...


class DevicesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the command line asks for: all devices, or that with one MAC address."""

    mac: str | None = None


class LeaseBook:
    """Opened by `open`, closed by `close`; the archive is used in a thread of its own."""

    def __init__(self, clock: Clock, append: Append, identity: Callable[[str], Identity]) -> None:
        """`identity`: what is known of a MAC address beside what lease files say."""
        self._clock = clock
        self._append = append
        self._identity = identity
        self._archive: Archive | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="archive")
        self._holdings: dict[str, Holdings] = {}
        self._recorded: dict[str, dict[str, Lease]] = {}
        self._kinds: dict[str, str] = {}
        self._pending: list[Recorded] = []
        self.devices_seen = 0

    async def open(self, path: Path) -> set[Server]:
        """Gives back the DHCP servers that were learned. Raises netvane.common.sqlite_file.StoreError."""
        self._archive = await self._in_thread(lambda: Archive(path, self._clock))
        self.devices_seen = await self._in_thread(self._archive.count)
        return await self._in_thread(self._archive.learned_servers)

    async def close(self) -> None:
        """What is pending is written first."""
        if self._archive is not None:
            await self.flush()
            await self._in_thread(self._archive.close)
        self._thread.shutdown()

    async def take(self, source: str, kind: str, leases: Mapping[str, Lease]) -> None:
        """What a source says now: a lease file (its path) of a server of that kind, or ``passive``.

        What a source says the very first time is where things stood, and no news.
        """
        is_first = False
        if source not in self._holdings:
            stored = await self.stored(source)
            is_first = stored is None
            self._holdings[source] = Holdings(stored or {})
            self._recorded[source] = stored or {}
        self._kinds[source] = kind
        changes = self._holdings[source].update(leases, self._now())
        if not is_first:
            self._tell(source, changes)
        self._note(source)

    def expire(self) -> None:
        """Leases of files end by themselves; when overheard ones do is not known."""
        for source, holdings in self._holdings.items():
            if changes := holdings.expire(self._now()):
                self._tell(source, changes)
                self._note(source)

    def forget_source(self, source: str) -> None:
        """It cannot be read any more: what becomes of its leases is unknown until it can be."""
        self._holdings.pop(source, None)
        self._recorded.pop(source, None)

    async def flush(self) -> str | None:
        """Write what is pending; why that did not work, or None."""
        archive, news = self._archive, self._pending
        if archive is None or not news:
            return None
        self._pending = []
        try:
            await self._in_thread(lambda: archive.record(news))
            self.devices_seen = await self._in_thread(archive.count)
        except sqlite3.Error as error:
            self._pending = (news + self._pending)[-MAX_PENDING:]
            return f"the archive cannot be written: {error}"
        return None

    async def learn(self, servers: set[Server]) -> None:
        """Remember these DHCP servers as the ones that should be there."""
        archive = self._archive
        if archive is not None and servers:
            try:
                await self._in_thread(lambda: archive.learn_servers(servers))
            except sqlite3.Error as error:
                log.warning("learned servers are not written down", error=error)

    async def answer(self, arguments: msgspec.Raw) -> AsyncGenerator[bytes, None]:
        """Devices for the command line; see netvane.common.control.Handler."""
        request = msgspec.json.decode(arguments, type=DevicesRequest)
        await self.flush()
        archive = self._archive
        if archive is None:
            return
        found = archive.devices(request.mac)
        while page := await self._in_thread(lambda: list(islice(found, PAGE))):
            for device in page:
                yield msgspec.json.encode(device)

    async def stored(self, source: str) -> dict[str, Lease] | None:
        """What a source said last before this exporter was started; None if it never said anything."""
        archive = self._archive
        if archive is None:
            return None
        await self.flush()
        try:
            return await self._in_thread(lambda: archive.held(source))
        except sqlite3.Error as error:
            log.warning("the archive cannot be read", error=error)
            return None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _tell(self, source: str, changes: list[Change]) -> None:
        for kind, lease in changes:
            full = self._completed(lease)
            event = LeaseEvent(
                change=kind,
                address=full.address,
                source=self._kinds[source],
                expires=None if full.expires is None else rfc3339(full.expires * NANOSECONDS),
                host_name=full.host_name,
                client_id=full.client_id,
                vendor_class=full.vendor_class,
                fingerprint=full.fingerprint,
            )
            self._append(event, mac=full.mac)

    def _note(self, source: str) -> None:
        """Queue for the archive what is not recorded as it is now."""
        recorded = self._recorded[source]
        held = self._holdings[source].held
        more = {address: full for address, lease in held.items() if (full := self._completed(lease)) is not lease}
        if more:
            held = {**held, **more}
        changed = tuple(lease for address, lease in held.items() if recorded.get(address) != lease)
        ended = tuple(address for address in recorded if address not in held)
        self._recorded[source] = held
        # Even with nothing in it, the first news of a source says that it is known from now on.
        if changed or ended or not recorded:
            self._pending.append(Recorded(source, changed, ended, int(self._now())))

    def _completed(self, lease: Lease) -> Lease:
        """With what the network tells of its holder, where the lease file does not."""
        identity = UNKNOWN if lease.mac is None else self._identity(lease.mac)
        if identity is UNKNOWN:
            return lease
        more: dict[str, Any] = {
            name: getattr(identity, name)
            for name in ("client_id", "host_name", "vendor_class", "fingerprint")
            if not getattr(lease, name) and getattr(identity, name)
        }
        return msgspec.structs.replace(lease, **more) if more else lease

    def _now(self) -> float:
        return self._clock.wall_ns() / NANOSECONDS
