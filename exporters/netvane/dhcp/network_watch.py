"""What `netvane raw` sees and asks for this exporter: DHCP messages, addresses in use, and which servers answer."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from netvane.common import rawclient
from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.event_schema import Anomaly
from netvane.common.log import get_logger
from netvane.common.metrics import Metric
from netvane.common.network import NetworkView
from netvane.common.raw_messages import SOCKET_NAME, DhcpOffer, Sighting
from netvane.common.rawclient import RawUnavailable
from netvane.dhcp import metrics
from netvane.dhcp.book import Append, LeaseBook
from netvane.dhcp.metrics import Checks
from netvane.dhcp.passive import Overheard
from netvane.dhcp.servers import Servers
from netvane.dhcp.settings import DhcpSettings
from netvane.dhcp.unleased import AddressesInUse

log = get_logger("dhcp.network")

RETRY_SECONDS = 5.0
CHECK_RETRY_SECONDS = 60.0
ANSWER_SECONDS = 2.0  # for `netvane raw` beside the time that it listens


class NetworkWatch:
    """Two tasks for as long as they run: `listen` and `check_servers`."""

    def __init__(self, run_dir: Path, clock: Clock, append: Append) -> None:
        self.overheard = Overheard()
        self.addresses = AddressesInUse()
        self.servers = Servers(())
        self.overheard_changed = False
        self._socket = run_dir / SOCKET_NAME
        self._clock = clock
        self._append = append
        self._settings = DhcpSettings()
        self._reconfigured = asyncio.Event()
        self._counts = Counter(ok=0, failed=0)
        self._last_success = 0.0

    def configure(self, settings: DhcpSettings) -> None:
        self._settings = settings
        self.servers.configured = frozenset(settings.known_servers)
        self._reconfigured.set()

    def collect(self) -> Iterable[Metric]:
        answers = dict(self.servers.answers)
        known = {server: self.servers.is_known(server) for server in answers}
        return metrics.servers(answers, known, Checks(self._counts, self._last_success))

    async def listen(self, state: Callable[[str | None], None]) -> None:
        """Take in what is seen, until cancelled; `state` hears why nothing is, and None once something is."""
        while True:
            try:
                async with contextlib.aclosing(rawclient.subscribe(self._socket)) as reports:
                    async for report in reports:
                        state(None)
                        if isinstance(report, Sighting):
                            self._take(report)
            except RawUnavailable as error:
                state(str(error))
            await asyncio.sleep(RETRY_SECONDS)

    async def check_servers(self, network: Callable[[], NetworkView], book: LeaseBook) -> None:
        """Ask on a timer which DHCP servers there are, until cancelled."""
        while True:
            self._reconfigured.clear()
            seconds = float(self._settings.server_check_interval)
            if self._settings.server_check and not await self._check(network(), book):
                seconds = min(seconds, CHECK_RETRY_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._reconfigured.wait()

    async def _check(self, network: NetworkView, book: LeaseBook) -> bool:
        if network.interface is None:
            return False
        listening = self._settings.server_check_seconds
        try:
            found = await rawclient.discover(
                self._socket, network.interface, seconds=listening, deadline=listening + ANSWER_SECONDS
            )
            error = found.error
        except RawUnavailable as unavailable:
            error = str(unavailable)
        if error is not None:
            self._counts["failed"] += 1
            log.warning("no check for DHCP servers", reason=error)
            return False
        self._counts["ok"] += 1
        self._last_success = self._wall()
        learned = set(self.servers.learned)
        self._tell(self.servers.checked(found.offers, network.router, self._wall()))
        if fresh := self.servers.learned - learned:
            log.info("DHCP servers learned", servers=", ".join(f"{server.address} ({server.mac})" for server in fresh))
            await book.learn(fresh)
        return True

    def _take(self, sighting: Sighting) -> None:
        now = self._clock.monotonic_ns() / NANOSECONDS
        self.addresses.take(sighting, now)
        if self.overheard.take(sighting, now):
            self.overheard_changed = True
        server = sighting.server
        if sighting.kind == "dhcp4" and server is not None and sighting.message in {"offer", "ack"}:
            address = server.server_id or sighting.address
            if address is not None:
                offer = DhcpOffer(
                    address, sighting.mac, server.offered, server.routers, server.dns, server.lease_seconds
                )
                self._tell(self.servers.heard(offer, self._wall()))

    def _tell(self, unknown: Iterable[DhcpOffer]) -> None:
        for offer in unknown:
            log.warning("unknown DHCP server", server=offer.server, mac=offer.mac, offers=offer.offered)
            gives = [f"address {offer.offered}", f"router {', '.join(offer.routers) or 'none'}"]
            gives.append(f"name servers {', '.join(offer.dns) or 'none'}")
            self._append(
                Anomaly(
                    anomaly="rogue_dhcp_server",
                    evidence={"servers": float(len(self.servers.answers)), "lease_seconds": offer.lease_seconds},
                    detail=f"DHCP server {offer.server} ({offer.mac}) is not a known one; it offers {', '.join(gives)}",
                    address=offer.server,
                ),
                mac=offer.mac,
            )

    def _wall(self) -> float:
        return self._clock.wall_ns() / NANOSECONDS
