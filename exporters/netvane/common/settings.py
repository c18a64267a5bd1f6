"""The sections of netvane.yml that several exporters share, and the list of all of them."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated

import msgspec

from netvane.common.config import ConfigError, Document, Section, Size

SECTIONS = frozenset(
    {"site", "network", "storage", "loki", "notify", "alerts", "dhcp", "flows", "hosts", "latency", "up"}
)

DEFAULT_FILE = Path("/etc/netvane/netvane.yml")

SiteName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
InterfaceName = Annotated[str, msgspec.Meta(pattern=r"^[^/\s]{1,15}$")]


class Network(Section, frozen=True):
    """What is watched; whatever is not given is found on the machine."""

    interface: InterfaceName | None = None
    router: str | None = None
    router6: str | None = None
    resolvers: tuple[str, ...] = ()

    def problem(self) -> tuple[str, str] | None:
        for key, text, version in (("router", self.router, 4), ("router6", self.router6, 6)):
            if text is not None and address_family(text) != version:
                return key, f"expected an IPv{version} address, got {text!r}"
        for text in self.resolvers:
            if address_family(text) is None:
                return "resolvers", f"expected IP addresses, got {text!r}"
        return None


class Storage(Section, frozen=True):
    """Where state is kept: `data_dir` on a disk, `run_dir` (sockets and snapshots) on a tmpfs."""

    data_dir: Path = Path("/var/lib/netvane")
    run_dir: Path = Path("/run/netvane")
    events_max: Size = Size(2_000_000_000)


class Loki(Section, frozen=True):
    """Where events are shipped to; nowhere unless `url` is set."""

    url: str | None = None
    tenant: str | None = None
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None

    def problem(self) -> tuple[str, str] | None:
        if self.url is not None and not re.match(r"^https?://[^/\s]+", self.url):
            return "url", f"expected http://… or https://…, got {self.url!r}"
        if (self.username is None) != (self.password_file is None):
            return "username", "username and password_file go together"
        return None


def load(file: Path | None) -> Document:
    """Read `file`, or the default file where there is one, or nothing at all. Raises ConfigError."""
    if file is None and os.access(DEFAULT_FILE, os.F_OK):
        file = DEFAULT_FILE
    return Document.load(file, SECTIONS)


def site_of(document: Document) -> str:
    """The name of this home: a label on every metric and event; `home` unless set."""
    return document.text("site", SiteName, "home")


def storage_of(document: Document, data_dir: Path | None, run_dir: Path | None) -> Storage:
    """The `storage` section with what the command line overrides."""
    storage = document.section("storage", Storage)
    return Storage(
        data_dir=data_dir or storage.data_dir, run_dir=run_dir or storage.run_dir, events_max=storage.events_max
    )


def loki_of(document: Document, url: str | None) -> Loki:
    """The `loki` section with the address that the command line has; empty for none. Raises ConfigError."""
    loki = document.section("loki", Loki)
    if url is None:
        return loki
    loki = msgspec.structs.replace(loki, url=url or None)
    if problem := loki.problem():
        raise ConfigError(f"--loki.url: {problem[1]}")
    return loki


def address_family(text: str) -> int | None:
    """4 or 6 for an IP address, None for anything else."""
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return None
