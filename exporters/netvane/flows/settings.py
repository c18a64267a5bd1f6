"""The `flows` section of netvane.yml."""

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec

from netvane.common.config import Duration, Section, Size
from netvane.common.settings import InterfaceName
from netvane.flows.anomalies.limits import Limits

RING_UNIT = 1 << 20  # what the kernel is asked for at a time (netvane.flows.ring)
MAX_RING = Size(32 << 20)
MINUTE = 60


class Recorder(Section, frozen=True):
    """The last packets, in a rotating set of files."""

    enabled: bool = True
    full: bool = False  # whole packets, not only their headers
    directory: Path | None = None  # in the run directory, which is a tmpfs, unless given
    size: Size = Size(64 << 20)
    keep: Duration = Duration(3600)

    def problem(self) -> tuple[str, str] | None:
        if self.size < RING_UNIT:
            return "size", "expected at least 1MiB"
        if self.keep < MINUTE:
            return "keep", "expected at least 1m"
        return None


class FlowsSettings(Section, frozen=True):
    """What is captured, and what counts as local."""

    interfaces: tuple[InterfaceName, ...] = ()  # an access point's or else a bridge, where none is given
    promiscuous: bool = False
    local_prefixes: tuple[str, ...] = ()  # beside those that are found
    ring: Size = MAX_RING
    max_devices: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000
    anomalies: Limits = Limits()
    recorder: Recorder = Recorder()
    query_log: Path | None = None  # of dnsmasq or Pi-hole

    def problem(self) -> tuple[str, str] | None:
        if len(set(self.interfaces)) < len(self.interfaces):
            return "interfaces", "one is there twice"
        for text in self.local_prefixes:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                return "local_prefixes", f"expected prefixes such as 198.51.100.0/24: {error}"
        if not RING_UNIT <= self.ring <= MAX_RING or self.ring % RING_UNIT:
            return "ring", "expected a multiple of 1MiB up to 32MiB"
        return None
