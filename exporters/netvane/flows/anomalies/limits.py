"""The limits above which something is unusual, and how long it takes to learn what is usual."""

from typing import Annotated

import msgspec

from netvane.common.clock import NANOSECONDS

HOUR = 3600 * NANOSECONDS
DAY = 24 * HOUR

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are packets per second over one tick, except for surges: over a minute.

    `surge_packets_per_second` sets a fixed threshold for a packet class, instead of the learned one. A device is
    judged by what is usual for it after `learning_days`, in at least `learning_active_hours` of which it was seen.
    """

    syn_packets_per_second: Positive = 100.0
    icmp_packets_per_second: Positive = 100.0
    surge_packets_per_second: dict[str, Positive] = {}
    surge_factor: Positive = 3.0
    scanned_ports: Count = 25
    scanned_hosts: Count = 25
    tunnel_names: Count = 50
    upload_factor: Positive = 4.0
    upload_min_bytes: Count = 100_000_000
    learning_days: Positive = 7.0
    learning_active_hours: Count = 24

    @property
    def learning_ns(self) -> int:
        return round(self.learning_days * DAY)
