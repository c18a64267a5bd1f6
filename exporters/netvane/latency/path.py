"""The path into the Internet: traced through `netvane raw` at the start, hourly, and when the route has changed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from netvane.common import rawclient
from netvane.common.event_schema import Hop
from netvane.common.log import get_logger
from netvane.common.raw_messages import SOCKET_NAME, Trace

log = get_logger("latency.path")

AGAIN_SECONDS = 3600.0
RETRY_SECONDS = 20.0
TRACE_SECONDS = 6.0
FIRST_HOPS = {2: "hop2", 3: "hop3"}  # TTL -> name of the target; TTL 1 is the router


class PathWatch:
    """`found(hops)` is called with name -> address of the provider's first hops after each trace that got through;
    `degraded(reason)` when there is no helper to trace, with None once there is.
    """

    def __init__(
        self, run_dir: Path, found: Callable[[dict[str, str]], None], degraded: Callable[[str | None], None]
    ) -> None:
        self._raw = run_dir / SOCKET_NAME
        self._found = found
        self._degraded = degraded
        self._changed = asyncio.Event()
        self._path: tuple[str | None, ...] = ()
        self.hops = 0
        self.changes = 0

    def route_changed(self) -> None:
        self._changed.set()

    async def run(self, destination: Callable[[], str | None]) -> None:
        """Until cancelled. Only a path that reaches its end is believed: a broken one says where it ends, not where
        the provider begins.
        """
        while True:
            self._changed.clear()
            address = destination()
            trace = None if address is None else await self.trace(address)
            reached = trace is not None and trace.reached
            if trace is not None and reached:
                self._take(trace, address)
            try:
                async with asyncio.timeout(AGAIN_SECONDS if reached else RETRY_SECONDS):
                    await self._changed.wait()
                await asyncio.sleep(1.0)  # a route comes with a burst of changes
            except TimeoutError:
                pass

    async def trace(self, address: str) -> Trace | None:
        """The path to `address`; None where there is no helper that answers."""
        try:
            trace = await rawclient.trace(self._raw, address, deadline=TRACE_SECONDS)
        except rawclient.RawUnavailable as error:
            self._degraded(f"no path traces: {error}")
            return None
        self._degraded(None)
        return trace

    def _take(self, trace: Trace, destination: str | None) -> None:
        path = tuple(hop.address for hop in trace.hops)
        known = {hop.ttl: hop.address for hop in trace.hops if hop.address not in {None, destination}}
        # A hop that kept silent this time is no other path: routers answer only so many traces a second.
        if self._path and any(old and new and old != new for old, new in zip(self._path, path, strict=False)):
            self.changes += 1
            log.info("path changed", path=" ".join(address or "*" for address in path))
        self._path, self.hops = path, len(path)
        self._found({name: address for ttl, name in FIRST_HOPS.items() if (address := known.get(ttl))})


def as_hops(trace: Trace) -> tuple[Hop, ...]:
    """For an event."""
    return tuple(Hop(ttl=hop.ttl, address=hop.address, rtt_seconds=hop.rtt_seconds) for hop in trace.hops)
