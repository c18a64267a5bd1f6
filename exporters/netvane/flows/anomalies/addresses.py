"""Source addresses that a device should not have: not of this network, or not leased to it."""

import functools
import ipaddress
from collections.abc import Iterator
from typing import Literal

from netvane.common.clock import NANOSECONDS
from netvane.flows.anomalies.learned import MAX_VALUES, Memory, Values
from netvane.flows.anomalies.limits import Limits
from netvane.flows.anomalies.records import DeviceTick, Finding, Home, Tick, is_group

MAX_WAITING = 1_024

_ULA = ipaddress.IPv6Network("fc00::/7")  # RFC 4193: anybody may make up a prefix for the house


class Addresses:
    """Looks at the source addresses of every tick. Addresses that it waits a while for are bounded in number."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], int] = {}

    def feed(self, tick: Tick, home: Home, memory: Memory, limits: Limits) -> Iterator[Finding]:
        for device in tick.devices:
            if device.mac in home.exempt:
                continue
            for address in device.addresses:
                place = place_of(address, home.prefixes)
                if place == "off":
                    yield _off_network(device, address, home.prefixes)
                elif place == "local4" and home.leases is not None:
                    yield from self._lease_of(device, address, home.leases, tick.now, memory=memory, limits=limits)

    def _lease_of(
        self,
        device: DeviceTick,
        address: str,
        leases: frozenset[tuple[str | None, str]],
        now: int,
        *,
        memory: Memory,
        limits: Limits,
    ) -> Iterator[Finding]:
        """An address that was leased once, or set by hand in the learning time of the house, is usual."""
        known = memory.device(device.mac, now).values.setdefault("unleased_address", Values()).known
        if address in known:
            return
        leased = (device.mac, address) in leases or (None, address) in leases
        if leased or now - memory.since < limits.learning_ns:
            self._waiting.pop((device.mac, address), None)
        elif len(self._waiting) < MAX_WAITING or (device.mac, address) in self._waiting:
            if now - self._waiting.setdefault((device.mac, address), now) < limits.lease_grace * NANOSECONDS:
                return
            del self._waiting[device.mac, address]
            yield _unleased(device, address, leases)
        if len(known) < MAX_VALUES:
            known.add(address)


@functools.lru_cache(maxsize=4096)
def place_of(text: str, prefixes: tuple[str, ...]) -> Literal["local4", "local6", "off", "any"]:
    """Where a source address belongs; "any" where that cannot be told, or is none of our business.

    IPv6 is judged only where a global prefix is known.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "any"
    if address.is_link_local or address.is_loopback or is_group(text) or address in _ULA:
        return "any"
    family = [network for network in _networks(prefixes) if network.version == address.version]
    if not family:
        return "any"
    if not any(address in network for network in family):
        return "off"
    return "local4" if address.version == 4 else "local6"


@functools.lru_cache(maxsize=4)
def _networks(prefixes: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [network for network in map(ipaddress.ip_network, prefixes) if network.network_address not in _ULA]


def _off_network(device: DeviceTick, address: str, prefixes: tuple[str, ...]) -> Finding:
    return Finding(
        kind="off_network_address",
        mac=device.mac,
        subject=address,
        evidence={"local_prefixes": len(prefixes)},
        detail=f"sends from {address}, which does not belong to this network",
        address=address,
        packets=True,
    )


def _unleased(device: DeviceTick, address: str, leases: frozenset[tuple[str | None, str]]) -> Finding:
    others = sum(leased == address for _, leased in leases)
    return Finding(
        kind="unleased_address",
        mac=device.mac,
        subject=address,
        evidence={"leases": len(leases), "leases_of_others": others},
        detail=f"uses {address}, which is leased to {'another device' if others else 'nobody'}",
        address=address,
        packets=True,
    )
