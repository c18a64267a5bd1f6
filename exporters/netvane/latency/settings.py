"""The `latency` section of netvane.yml."""

import itertools
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from netvane.common.config import Duration, Section
from netvane.common.settings import address_family

# 12 buckets with +Inf: from one switch away to a satellite having a bad day. Seconds.
DEFAULT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 2.0)
MAX_BUCKETS = 12
MIN_INTERVAL = 0.2  # seconds; what Linux allows an ordinary user's ping
# The scrape of this exporter is bounded at 2,500 series; its own figures take the rest.
MAX_SERIES = 2_400
SERIES_BESIDE_BUCKETS = 6  # sent, sum, count, jitter, last answer, and one reason for errors

TargetName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$")]
Transport = Literal["udp", "tcp", "dot"]  # of DNS
RESERVED = ("router", "router6", "hop2", "hop3")
MAX_SITES = 100
MAX_RESOLVERS = 3  # as many as resolv.conf(5) has

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")


class TargetSettings(Section, frozen=True):
    """One more address to probe."""

    name: TargetName
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


class AnchorSettings(Section, frozen=True):
    """A well-known host that answers pings; `hostname` is the name that must lead to its addresses."""

    name: TargetName
    ipv4: str | None = None
    ipv6: str | None = None
    hostname: str | None = None

    def problem(self) -> tuple[str, str] | None:
        for key, text, version in (("ipv4", self.ipv4, 4), ("ipv6", self.ipv6, 6)):
            if text is not None and address_family(text) != version:
                return key, f"expected an IPv{version} address, got {text!r}"
        if self.ipv4 is None and self.ipv6 is None:
            return "ipv4", "expected an ipv4 or ipv6 address, or both"
        if self.hostname is not None and not _HOST_NAME.fullmatch(self.hostname):
            return "hostname", f"expected a host name, got {self.hostname!r}"
        return None


# Public resolvers on anycast addresses: near everywhere, hardly ever down, and pinged by half the world already.
DEFAULT_ANCHORS = (
    AnchorSettings(name="cloudflare", ipv4="1.1.1.1", ipv6="2606:4700:4700::1111", hostname="one.one.one.one"),
    AnchorSettings(name="google", ipv4="8.8.8.8", ipv6="2001:4860:4860::8888", hostname="dns.google"),
    AnchorSettings(name="quad9", ipv4="9.9.9.9", ipv6="2620:fe::fe", hostname="dns9.quad9.net"),
)


class DnsSettings(Section, frozen=True):
    """Questions to each of the machine's resolvers, by UDP, TCP and TLS (DoT); null turns one off."""

    interval: Duration | None = Duration(5)
    tcp_interval: Duration | None = Duration(60)
    dot_interval: Duration | None = Duration(60)

    @property
    def intervals(self) -> dict[Transport, Duration]:
        """Those that are on."""
        all_of_them: dict[Transport, Duration | None] = {
            "udp": self.interval,
            "tcp": self.tcp_interval,
            "dot": self.dot_interval,
        }
        return {transport: interval for transport, interval in all_of_them.items() if interval is not None}


class SiteSettings(Section, frozen=True):
    """TCP connections to widely used web sites, one after the other; without `names` to the list that comes along."""

    interval: Duration | None = Duration(10)
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 443
    names: tuple[str, ...] = ()

    def problem(self) -> tuple[str, str] | None:
        wrong = next((name for name in self.names if not _HOST_NAME.fullmatch(name)), None)
        if wrong is not None:
            return "names", f"expected host names, got {wrong!r}"
        if len(self.names) > MAX_SITES:
            return "names", f"expected at most {MAX_SITES}"
        return None


class WebSettings(Section, frozen=True):
    """Pages: one that must be an empty 204 (a captive portal answers in its place), and one over HTTPS."""

    captive_url: str = "http://connectivitycheck.gstatic.com/generate_204"
    captive_interval: Duration | None = Duration(10)
    https_url: str = "https://www.gstatic.com/generate_204"  # small: it is fetched 1,440 times a day
    https_interval: Duration | None = Duration(60)
    ca_file: Path | None = None

    def problem(self) -> tuple[str, str] | None:
        for key, scheme, url in (("captive_url", "http", self.captive_url), ("https_url", "https", self.https_url)):
            try:
                parts = urlsplit(url)
                fine = parts.scheme == scheme and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            except ValueError:
                fine = False
            if not fine or not url.isascii() or any(character.isspace() for character in url):
                return key, f"expected {scheme}://…, got {url!r}"
        return None


class LatencySettings(Section, frozen=True):
    """Probes: routers, the provider's first hops, anchors, resolvers and web by themselves, and `targets`."""

    interval: Duration = Duration(1)
    slow_interval: Duration = Duration(5)
    payload_bytes: Annotated[int, msgspec.Meta(ge=16, le=1400)] = 16
    buckets: tuple[float, ...] = DEFAULT_BUCKETS
    targets: tuple[TargetSettings, ...] = ()
    anchors: tuple[AnchorSettings, ...] = DEFAULT_ANCHORS
    dns: DnsSettings = DnsSettings()
    sites: SiteSettings = SiteSettings()
    web: WebSettings = WebSettings()

    def problem(self) -> tuple[str, str] | None:
        for key, interval in (("interval", self.interval), ("slow_interval", self.slow_interval)):
            if interval < MIN_INTERVAL:
                return key, "expected at least 200ms"
        rising = all(low < high for low, high in itertools.pairwise(self.buckets))
        if not rising or not 1 <= len(self.buckets) < MAX_BUCKETS or self.buckets[0] <= 0:
            return "buckets", f"expected 1 to {MAX_BUCKETS - 1} rising numbers of seconds"
        names = [*RESERVED, *(anchor.name for anchor in self.anchors), *(target.name for target in self.targets)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            return "targets", f"the name {twice!r} is taken"
        addresses = [(target.host.lower(), target.family_number) for target in self.targets]
        if same := next((host for host, family in addresses if addresses.count((host, family)) > 1), None):
            return "targets", f"{same} is there twice"
        if self.series > MAX_SERIES:
            return "targets", f"{self.series} series, more than {MAX_SERIES}: fewer targets or buckets"
        return None

    @property
    def site_names(self) -> tuple[str, ...]:
        """The web sites of the pool: the owner's, or the list that comes along."""
        if self.sites.names:
            return self.sites.names
        text = (resources.files("netvane.latency") / "sites.txt").read_text(encoding="ascii")
        return tuple(line for line in text.splitlines() if line and not line.startswith("#"))

    @property
    def series(self) -> int:
        """About how many series this makes."""
        icmp = len(RESERVED) + 2 * len(self.anchors) + len(self.targets)
        dns = MAX_RESOLVERS * len(self.dns.intervals)
        web = sum(interval is not None for interval in (self.web.captive_interval, self.web.https_interval))
        pool = self.sites.interval is not None
        per_target = len(self.buckets) + 1 + SERIES_BESIDE_BUCKETS
        return (icmp + dns + web + pool) * per_target + pool * (len(self.sites.names) or MAX_SITES)
