"""The `dhcp` section of netvane.yml."""

import re
from pathlib import Path
from typing import Annotated

import msgspec

from netvane.common.config import Duration, Section
from netvane.common.settings import address_family
from netvane.dhcp.pools import parse_pool

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class DhcpSettings(Section, frozen=True):
    """Leases, their archive, and the watch for DHCP servers."""

    lease_files: tuple[Path, ...] = ()
    server_configurations: tuple[Path, ...] = ()
    pools: tuple[str, ...] = ()
    expiry_per_lease: bool = False
    dhcp_only: bool = False
    static_addresses: tuple[str, ...] = ()
    server_check: bool = True
    server_check_interval: Duration = Duration(3600)
    server_check_seconds: Annotated[float, msgspec.Meta(ge=1, le=8)] = 6.0
    known_servers: tuple[str, ...] = ()

    def problem(self) -> tuple[str, str] | None:
        for key, paths in (("lease_files", self.lease_files), ("server_configurations", self.server_configurations)):
            if relative := next((path for path in paths if not path.is_absolute()), None):
                return key, f"expected absolute paths, got {str(relative)!r}"
        if bad := next((text for text in self.pools if not _is_pool(text)), None):
            return "pools", f"expected ranges such as 198.51.100.100-198.51.100.199, got {bad!r}"
        if bad := next((text for text in self.static_addresses if address_family(text) is None), None):
            return "static_addresses", f"expected IP addresses, got {bad!r}"
        if bad := next((text for text in self.known_servers if not _is_server(text)), None):
            return "known_servers", f"expected IPv4 or MAC addresses (in lower case, with colons), got {bad!r}"
        if self.server_check_interval < 10:
            return "server_check_interval", "expected at least 10s"
        return None


def _is_pool(text: str) -> bool:
    try:
        parse_pool(text)
    except ValueError:
        return False
    return True


def _is_server(text: str) -> bool:
    return address_family(text) == 4 or _MAC.fullmatch(text) is not None
