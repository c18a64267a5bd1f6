"""The `hosts` section of netvane.yml."""

import ipaddress
from typing import Annotated

import msgspec

from netvane.common.config import Duration, Section

# Seconds; a sweep of a /24 takes one and a half.
_RANGES = (
    ("interval", 2, 86400, "2s to 1d"),
    ("sweep_limit", 1, 900, "1s to 15m"),
    ("ping_interval", 1, 3600, "1s to 1h"),
)


class Scan(Section, frozen=True):
    """What runs on the devices: a port scan at night, one device after the other. Off unless asked for."""

    enabled: bool = False
    hour: Annotated[int, msgspec.Meta(ge=0, le=23)] = 3
    top_ports: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    system: bool = False
    time_limit: Duration = Duration(120)

    def problem(self) -> tuple[str, str] | None:
        return None if 10 <= self.time_limit <= 900 else ("time_limit", "expected 10s to 15m")


class HostsSettings(Section, frozen=True):
    """Who is on the network."""

    interval: Duration = Duration(300)
    subnets: tuple[str, ...] = ()
    largest_subnet: Annotated[int, msgspec.Meta(ge=20, le=30)] = 22
    sweep_limit: Duration = Duration(60)
    max_devices: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000
    address_metrics: bool = False
    mdns: bool = True
    ping_interval: Duration = Duration(15)
    scan: Scan = Scan()

    def problem(self) -> tuple[str, str] | None:
        for key, low, high, expected in _RANGES:
            if not low <= getattr(self, key) <= high:
                return key, f"expected {expected}"
        for text in self.subnets:
            if not _is_sweepable(text):
                return "subnets", f"expected IPv4 networks such as 192.168.1.0/24, got {text!r}"
        if len(set(self.subnets)) < len(self.subnets):
            return "subnets", "one of them is there twice"
        return None


def _is_sweepable(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return not (network.is_multicast or network.is_loopback)
