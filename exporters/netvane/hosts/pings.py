"""The exporter's echo requests: to all IPv6 nodes each round, to those whose MAC is not known, to expected devices."""

import asyncio
from collections.abc import Callable

from netvane.common.clock import Clock
from netvane.hosts.echo import ALL_NODES, Echo
from netvane.hosts.evidence import Evidence
from netvane.hosts.household import Household
from netvane.hosts.reach import Reachability
from netvane.hosts.subnets import Plan

MAX_INTRODUCED = 256  # nodes per round whose MAC the kernel is made to find out


class Pings:
    """`place` takes evidence with the interface that it came by."""

    def __init__(
        self,
        clock: Clock,
        household: Household,
        reachability: Reachability,
        place: Callable[[Evidence, str | None], None],
    ) -> None:
        self._clock = clock
        self._household = household
        self._reachability = reachability
        self._place = place
        self._echo = Echo(clock, self._answered)
        self._plan = Plan((), (), ())
        self._introduced = 0
        self.open = self._echo.open
        self.close = self._echo.close

    def begin_round(self, plan: Plan) -> None:
        self._plan = plan
        self._introduced = 0
        for interface in {attached.interface for attached in plan.attached}:
            self._echo.send(ALL_NODES, interface)

    async def run(self, interval: Callable[[], float]) -> None:
        """The light ping of expected devices."""
        while True:
            await asyncio.sleep(interval())
            for device in self._reachability.expected():
                place = self._reachability.address_of(device)
                if place is None or not self._echo.is_open:
                    continue
                address, network = place
                self._reachability.asked(device.id, "icmp")
                self._echo.send(address, self._plan.interface_of(network) if address.startswith("fe80:") else None)

    def _answered(self, address: str, interface: str | None, rtt_seconds: float) -> None:
        mac = self._household.holders.get(address)
        if mac is None:
            # The kernel finds out its MAC when it is spoken to, and tells it as a neighbour.
            self._introduced += 1
            if self._introduced <= MAX_INTRODUCED:
                self._echo.send(address, interface)
            return
        device = self._household.registry.device_of(mac)
        if device is not None:
            self._reachability.heard(device.id, "icmp", rtt_seconds)
        self._place(Evidence(mac, self._clock.wall_ns(), "ping", address=address, rtt_seconds=rtt_seconds), interface)
