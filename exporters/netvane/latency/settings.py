"""The `latency` section of netvane.yml."""

import itertools
import re
from typing import Annotated, Literal

import msgspec

from netvane.common.config import Duration, Section
from netvane.common.settings import address_family

# 12 buckets with +Inf: from one switch away to a satellite having a bad day. Seconds.
DEFAULT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 2.0)
MAX_BUCKETS = 12
MIN_INTERVAL = 0.2  # seconds; what Linux allows an ordinary user's ping
# The scrape of this exporter is bounded at 2,500 series; its own figures take the rest.
MAX_SERIES = 2_450
SERIES_BESIDE_BUCKETS = 6  # sent, sum, count, jitter, last answer, and one reason for errors

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")


class TargetSettings(Section, frozen=True):
    """One more address to probe."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$")]
    host: str
    role: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "target"
    family: Literal["ipv4", "ipv6"] | None = None
    interval: Duration | None = None

    def problem(self) -> tuple[str, str] | None:
        version = address_family(self.host)
        if version is None and not _HOST_NAME.fullmatch(self.host):
            return "host", f"expected an address or a host name, got {self.host!r}"
        if version is not None and self.family not in {None, f"ipv{version}"}:
            return "family", f"{self.host} is not an {self.family} address"
        if self.role == "router":
            return "role", "router is for the default router, which is found by itself (or set under network)"
        if self.interval is not None and self.interval < MIN_INTERVAL:
            return "interval", "expected at least 200ms"
        return None

    @property
    def family_number(self) -> int:
        """4 or 6; a host name without `family` is asked for its IPv4 address."""
        version = address_family(self.host)
        return version if version is not None else 6 if self.family == "ipv6" else 4


class LatencySettings(Section, frozen=True):
    """ICMP probes: to the default router by themselves, and to `targets`."""

    interval: Duration = Duration(1)
    payload_bytes: Annotated[int, msgspec.Meta(ge=16, le=1400)] = 16
    buckets: tuple[float, ...] = DEFAULT_BUCKETS
    targets: tuple[TargetSettings, ...] = ()

    def problem(self) -> tuple[str, str] | None:
        if self.interval < MIN_INTERVAL:
            return "interval", "expected at least 200ms"
        rising = all(low < high for low, high in itertools.pairwise(self.buckets))
        if not rising or not 1 <= len(self.buckets) < MAX_BUCKETS or self.buckets[0] <= 0:
            return "buckets", f"expected 1 to {MAX_BUCKETS - 1} rising numbers of seconds"
        names = [target.name for target in self.targets]
        if twice := next((name for name in names if names.count(name) > 1 or name in {"router", "router6"}), None):
            return "targets", f"the name {twice!r} is taken"
        addresses = [(target.host.lower(), target.family_number) for target in self.targets]
        if same := next((host for host, family in addresses if addresses.count((host, family)) > 1), None):
            return "targets", f"{same} is there twice"
        series = (len(self.targets) + 2) * (len(self.buckets) + 1 + SERIES_BESIDE_BUCKETS)
        if series > MAX_SERIES:
            return "targets", f"{series} series with these buckets, more than {MAX_SERIES}: fewer targets or buckets"
        return None
