"""The limits above which something is unusual, and how long it takes to learn what is usual."""

from typing import Annotated

import msgspec

from netvane.common.clock import NANOSECONDS
from netvane.common.config import Duration, Section, Size
from netvane.flows.classnames import CLASSES

HOUR = 3600 * NANOSECONDS
DAY = 24 * HOUR

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Limits(Section, frozen=True):
    """The `flows.anomalies` section of netvane.yml.

    Rates are packets per second over one tick, some four seconds, except for surges: over a minute.

    `surge_packets_per_second` sets a fixed threshold for a packet class, instead of the learned one. A device is
    judged by what is usual for it after `learning_days`, in at least `learning_active_hours` of which it was seen.
    """

    syn_packets_per_second: Positive = 100.0
    icmp_packets_per_second: Positive = 100.0
    surge_packets_per_second: dict[str, Positive] = msgspec.field(default_factory=dict)
    surge_factor: Positive = 3.0
    scanned_ports: Count = 25
    scanned_hosts: Count = 25
    lease_grace: Duration = Duration(180)  # the list of leases comes a little after the lease
    tunnel_names: Count = 50
    upload_factor: Positive = 4.0
    upload_min_bytes: Size = Size(100_000_000)
    learning_days: Positive = 7.0
    learning_active_hours: Count = 24

    def problem(self) -> tuple[str, str] | None:
        unknown = sorted(self.surge_packets_per_second.keys() - set(CLASSES))
        if unknown:
            known = ", ".join(CLASSES)
            return "surge_packets_per_second", f"no such packet class: {unknown[0]}; expected some of {known}"
        if self.upload_min_bytes < 1:
            return "upload_min_bytes", "expected at least 1B"
        return None

    @property
    def learning_ns(self) -> int:
        return round(self.learning_days * DAY)
