"""The `flows` section of netvane.yml."""

import ipaddress
from typing import Annotated

import msgspec

from netvane.common.config import Section, Size
from netvane.common.settings import InterfaceName

RING_UNIT = 1 << 20  # what the kernel is asked for at a time (netvane.flows.ring)
MAX_RING = Size(32 << 20)


class FlowsSettings(Section, frozen=True):
    """What is captured, and what counts as local."""

    interfaces: tuple[InterfaceName, ...] = ()  # an access point's or else a bridge, where none is given
    promiscuous: bool = False
    local_prefixes: tuple[str, ...] = ()  # beside those that are found
    ring: Size = MAX_RING
    max_devices: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000

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
