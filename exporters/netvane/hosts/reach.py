"""How well expected devices are reached: delay, jitter and loss of the sweeps and of a light ping. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from netvane.hosts.records import Device
from netvane.hosts.registry import Registry

JITTER_GAIN = 1 / 16  # RFC 3550, section 6.4.1
MAX_REACHED = 100  # expected devices that are measured

Probe: TypeAlias = Literal["arp", "icmp"]


@dataclass(slots=True)
class Reach:
    """Counters of one device; sent less answered is the loss. `rtt` is the last, `jitter` RFC 3550's running mean."""

    sent: int = 0
    answered: int = 0
    rtt: float | None = None
    jitter: float = 0.0
    owes: bool = False

    def asked(self) -> None:
        self.sent += 1
        self.owes = True

    def heard(self, rtt_seconds: float) -> None:
        """An answer; a second one to the same request counts for nothing."""
        if not self.owes:
            return
        self.owes = False
        self.answered += 1
        if self.rtt is not None:
            self.jitter += (abs(rtt_seconds - self.rtt) - self.jitter) * JITTER_GAIN
        self.rtt = rtt_seconds


class Reachability:
    """Of the devices in `registry` that their owner expects; `reached` by device and kind of probe."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.reached: dict[tuple[str, Probe], Reach] = {}

    def expected(self) -> list[Device]:
        """Whom to measure; the others are forgotten."""
        devices = [device for device in self._registry.devices.values() if device.expected][:MAX_REACHED]
        kept = {device.id for device in devices}
        for gone in [key for key in self.reached if key[0] not in kept]:
            del self.reached[gone]
        return devices

    def address_of(self, device: Device) -> tuple[str, str] | None:
        """Where it was heard last, and in which network; IPv4 rather than IPv6. None where it never said."""
        spans = [
            (":" not in address, span.last, address, mac.network)
            for mac in self._registry.macs_of(device.id)
            for address, span in mac.addresses.items()
        ]
        return max(spans)[2:] if spans else None

    def asked(self, device: str, probe: Probe) -> None:
        self.reached.setdefault((device, probe), Reach()).asked()

    def heard(self, device: str, probe: Probe, rtt_seconds: float) -> None:
        if (reach := self.reached.get((device, probe))) is not None:
            reach.heard(rtt_seconds)

    def swept(self, subnets: Iterable[str], rtts: Mapping[str, float]) -> None:
        """All addresses of `subnets` were asked by ARP; `rtts` has the seconds until each MAC answered."""
        networks = [ipaddress.IPv4Network(subnet) for subnet in subnets]
        for device in self.expected():
            place = self.address_of(device)
            answers = [rtts[mac.mac] for mac in self._registry.macs_of(device.id) if mac.mac in rtts]
            was_asked = place is not None and any(ipaddress.ip_address(place[0]) in network for network in networks)
            if answers or was_asked:
                self.asked(device.id, "arp")
            if answers:
                self.heard(device.id, "arp", min(answers))
