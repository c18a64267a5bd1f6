"""Watches the verdict: asks the evidence every second, and makes each change an event with the path at that moment."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from netvane.common import rawclient
from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.event_schema import Hop, Numbers, Verdict
from netvane.common.log import get_logger
from netvane.common.raw_messages import SOCKET_NAME
from netvane.latency.prober import Target
from netvane.latency.series import Series
from netvane.latency.verdict import RouterEvidence, judge

log = get_logger("latency.watch")

STEP_SECONDS = 1.0
TRACE_SECONDS = 6.0

Snapshot = list[tuple[Target, Series]]


class VerdictWatch:
    """`append` takes the event; `degraded` is told when there is no helper to trace paths."""

    def __init__(
        self, run_dir: Path, clock: Clock, append: Callable[[Verdict], None], degraded: Callable[[str | None], None]
    ) -> None:
        self._raw = run_dir / SOCKET_NAME
        self._clock = clock
        self._append = append
        self._degraded = degraded
        self._verdict: str | None = None

    async def run(self, snapshot: Callable[[], Snapshot]) -> None:
        """Until cancelled."""
        while True:
            await self._step(snapshot())
            await asyncio.sleep(STEP_SECONDS)

    async def _step(self, snapshot: Snapshot) -> None:
        now = self._clock.monotonic_ns()
        routers = {target.name: evidence(series, now) for target, series in snapshot if target.role == "router"}
        verdict = judge(list(routers.values()))
        if verdict is None or verdict == self._verdict:
            return
        previous, self._verdict = self._verdict, verdict
        log.info("verdict", verdict=verdict, previous=previous)
        path, path_error = await self._trace(destination(snapshot))
        numbers: Numbers = {}
        for name, router in routers.items():
            numbers[f"{name}_missed"] = router.missed
            numbers[f"{name}_silent_seconds"] = router.silent_seconds
        self._append(Verdict(verdict=verdict, previous=previous, evidence=numbers, path=path, path_error=path_error))

    async def _trace(self, address: str | None) -> tuple[tuple[Hop, ...] | None, str | None]:
        if address is None:
            return None, "nothing to trace to"
        try:
            trace = await rawclient.trace(self._raw, address, deadline=TRACE_SECONDS)
        except rawclient.RawUnavailable as error:
            self._degraded(f"no path traces: {error}")
            return None, str(error)
        self._degraded(None)
        hops = tuple(Hop(ttl=hop.ttl, address=hop.address, rtt_seconds=hop.rtt_seconds) for hop in trace.hops)
        return hops, trace.error


def evidence(series: Series, now_ns: int) -> RouterEvidence:
    """What a router's counters say at `now_ns` (monotonic)."""
    silent = None if series.silent_since_ns is None else (now_ns - series.silent_since_ns) / NANOSECONDS
    return RouterEvidence(series.sent_since_answer, silent, ever_answered=series.last_answer_ns > 0)


def destination(snapshot: Snapshot) -> str | None:
    """Where a trace goes: the first target beyond the router, else the router itself."""
    known = [target for target, _ in snapshot if target.address is not None]
    beyond = [target for target in known if target.role != "router"]
    return next((target.address for target in beyond + known), None)
