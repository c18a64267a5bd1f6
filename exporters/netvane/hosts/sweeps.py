"""The sweeps: every few minutes all subnets, one after the other, never two at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from netvane.common import rawclient
from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.log import get_logger
from netvane.common.raw_messages import NmapRequest
from netvane.hosts.evidence import Evidence, is_device_mac, usable_address
from netvane.hosts.subnets import Attached, Plan

log = get_logger("hosts.sweeps")


@dataclass(slots=True)
class SweepState:
    """The last sweep of one subnet; times Unix ns, 0 for never. `error` is why it failed."""

    method: str
    error: str | None = None
    duration_seconds: float = 0.0
    last_success_ns: int = 0
    hosts: int = 0
    sweeps: int = 0
    failures: int = 0


class Swept(NamedTuple):
    """The subnets whose sweep worked and those where it failed; seconds until a MAC answered, by MAC."""

    worked: frozenset[str]
    failed: frozenset[str]
    rtts: Mapping[str, float]


class Sweeps:
    """`found` takes evidence, in the loop."""

    def __init__(self, raw: Path, clock: Clock, found: Callable[[Evidence], None]) -> None:
        self._raw = raw
        self._clock = clock
        self._found = found
        self.states: dict[str, SweepState] = {}  # by subnet

    def keep(self, plan: Plan) -> None:
        """Forget the subnets that are no longer swept."""
        wanted = {attached.subnet for attached in plan.attached} | set(plan.routed)
        for subnet in self.states.keys() - wanted:
            del self.states[subnet]

    async def attached(self, subnets: Iterable[Attached], seconds: float) -> Swept:
        """Sweep by ARP."""
        worked: set[str] = set()
        failed: set[str] = set()
        rtts: dict[str, float] = {}
        for subnet, interface in subnets:
            began = self._clock.monotonic_ns()
            error, found = await self._arp(subnet, interface, seconds)
            self._note(subnet, "arp", began, error, len(found))
            (failed if error else worked).add(subnet)
            rtts |= found
        return Swept(frozenset(worked), frozenset(failed), rtts)

    async def routed(self, subnets: Iterable[str], seconds: float) -> None:
        """Sweep by nmap. Beyond a router nobody's MAC is seen: hosts there are counted and not known."""
        for subnet in subnets:
            began = self._clock.monotonic_ns()
            request = NmapRequest(subnet, seconds=float(seconds))
            try:
                result = await rawclient.nmap(self._raw, request)
                error, hosts = result.error, len(result.hosts)
            except rawclient.RawUnavailable as unavailable:
                error, hosts = str(unavailable), 0
            self._note(subnet, "nmap", began, error, hosts)

    async def _arp(self, subnet: str, interface: str, seconds: float) -> tuple[str | None, dict[str, float]]:
        try:
            sweep = await rawclient.arp_sweep(self._raw, interface, subnet, deadline=seconds)
        except rawclient.RawUnavailable as unavailable:
            return str(unavailable), {}
        now = self._clock.wall_ns()
        rtts: dict[str, float] = {}
        for answer in sweep.answers:
            mac, address, rtt = answer.mac, usable_address(answer.address), answer.rtt_seconds
            # Whatever a helper says is checked, as everything from outside.
            if is_device_mac(mac) and address is not None and 0 <= rtt <= seconds:
                rtts[mac] = min(rtt, rtts.get(mac, rtt))
                # Not the end of the sweep: a phone that answered may have changed its MAC since.
                at = now - round(min(max(answer.age_seconds, 0.0), seconds) * NANOSECONDS)
                self._found(Evidence(mac, at, "sweep", network=subnet, address=address, rtt_seconds=rtt))
        return sweep.error, rtts

    def _note(self, subnet: str, method: str, began_ns: int, error: str | None, hosts: int) -> None:
        state = self.states.setdefault(subnet, SweepState(method))
        state.duration_seconds = (self._clock.monotonic_ns() - began_ns) / NANOSECONDS
        state.sweeps += 1
        if error is not None:
            state.failures += 1
            if error != state.error:
                log.warning("sweep failed", subnet=subnet, method=method, error=error)
        else:
            if state.error is not None:
                log.info("sweeps work again", subnet=subnet, method=method)
            state.last_success_ns, state.hosts = self._clock.wall_ns(), hosts
        state.error = error
