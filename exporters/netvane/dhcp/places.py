"""Where DHCP servers keep their leases and their configuration, as their makers and packagers set them up."""

from glob import glob
from pathlib import Path

from netvane.dhcp import formats

LEASE_FILES = (
    "/var/lib/misc/dnsmasq.leases",  # Debian
    "/var/lib/dnsmasq/dnsmasq.leases",  # Fedora
    "/etc/pihole/dhcp.leases",
    "/tmp/dhcp.leases",  # noqa: S108 - OpenWrt; only read, and not believed where it is damaged
    "/var/lib/NetworkManager/dnsmasq-*.leases",  # a shared connection
    "/var/lib/kea/kea-leases4.csv",
    "/var/lib/kea/kea-leases6.csv",
    "/var/lib/dhcp/dhcpd.leases",  # Debian
    "/var/lib/dhcp/dhcpd6.leases",
    "/var/lib/dhcpd/dhcpd.leases",  # Fedora
    "/var/lib/dhcpd/dhcpd6.leases",
)
SERVER_CONFIGURATIONS = (
    "/etc/dnsmasq.conf",
    "/etc/dnsmasq.d/*.conf",
    "/etc/pihole/dnsmasq.conf",
    "/etc/kea/kea-dhcp4.conf",
    "/etc/kea/kea-dhcp6.conf",
)
_HEAD_BYTES = 65_536


def find_lease_files() -> tuple[Path, ...]:
    """Those that are there and hold leases, or may not be read: packages install empty ones for servers never used."""
    return tuple(path for path in _existing(LEASE_FILES) if _is_used(path))


def find_server_configurations() -> tuple[Path, ...]:
    return _existing(SERVER_CONFIGURATIONS)


def _existing(patterns: tuple[str, ...]) -> tuple[Path, ...]:
    found: list[Path] = []
    for pattern in patterns:
        found += [Path(name) for name in sorted(glob(pattern))] if "*" in pattern else _there(Path(pattern))  # noqa: PTH207 - absolute pattern
    return tuple(found)


def _there(path: Path) -> list[Path]:
    try:
        path.stat()
    except PermissionError:  # in a folder of its server's own
        return [path]
    except OSError:
        return []
    return [path]


def _is_used(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return formats.recognize(file.read(_HEAD_BYTES)) is not None
    except OSError:
        return True
