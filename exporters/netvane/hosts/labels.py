"""How devices are called and described where people see it: name, vendor and kind.

A label that changes makes a new series: what was observed changes at most once an hour; the owner's word counts at
once.
"""

from typing import NamedTuple

from netvane.common.clock import NANOSECONDS
from netvane.hosts import kinds, vendors
from netvane.hosts.kinds import Guess
from netvane.hosts.records import Device, Mac
from netvane.hosts.registry import NAME_SOURCES, Registry

HOLD_NS = 3600 * NANOSECONDS


class Label(NamedTuple):
    """`at` is when it was last changed, Unix ns; `guess` what the kind rests on."""

    name: str
    vendor: str
    guess: Guess
    at: int


class Labels:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._held: dict[str, Label] = {}

    def of(self, device: Device, macs: list[Mac], now_ns: int) -> Label:
        """`macs` are the device's, first seen first."""
        held = self._held.get(device.id)
        if held is not None and held.name and 0 <= now_ns - held.at < HOLD_NS and device.name in {None, held.name}:
            return held
        observed = observed_names(macs)
        vendor = maker(macs)
        names = [device.name, *observed] if device.name else observed
        services = {service for mac in macs for service in mac.services}
        guess = kinds.guess(vendor, services, names)
        name = names[0] if names else ""
        if held is not None and (held.name, held.vendor, held.guess) == (name, vendor, guess):
            return held
        self._held[device.id] = label = Label(name, vendor, guess, now_ns)
        return label

    def forget(self) -> None:
        """Drop devices that are gone."""
        for device in self._held.keys() - self._registry.devices.keys():
            del self._held[device]


def observed_names(macs: list[Mac]) -> list[str]:
    """The best first."""
    found: list[str] = []
    for source in NAME_SOURCES:
        known = [mac.names[source] for mac in macs if source in mac.names]
        found += [name.name for name in sorted(known, key=lambda name: -name.last) if name.name not in found]
    return found


def maker(macs: list[Mac]) -> str:
    """The vendor of the first MAC that has a known one."""
    found = [vendors.vendor(mac.mac) for mac in macs]
    return next(
        (name for name in found if name not in {vendors.RANDOMISED, vendors.UNKNOWN}), found[0] if found else ""
    )
