"""The `dhcp` section of netvane.yml, and where lease files are looked for."""

from pathlib import Path

import pytest

from netvane.common.config import ConfigError, Document
from netvane.common.settings import SECTIONS
from netvane.dhcp import places
from netvane.dhcp.settings import DhcpSettings


def parse(text: str) -> DhcpSettings:
    return Document.parse(text, Path("netvane.yml"), SECTIONS).section("dhcp", DhcpSettings)


def test_an_absent_section_is_a_working_one() -> None:
    assert parse("") == DhcpSettings()
    chosen = parse("dhcp: {pools: [198.51.100.0/25], known_servers: [198.51.100.1, c0:25:06:1a:2b:01]}")
    assert chosen.known_servers == ("198.51.100.1", "c0:25:06:1a:2b:01")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("lease_files: [leases]", "lease_files: expected absolute paths"),
        ("server_configurations: [dnsmasq.conf]", "server_configurations: expected absolute paths"),
        ("pools: [198.51.100.9-198.51.100.1]", "pools: expected ranges"),
        ("static_addresses: [printer]", "static_addresses: expected IP addresses"),
        ("known_servers: [router]", "known_servers: expected IPv4 or MAC"),
        ("server_check_interval: 1s", "server_check_interval: expected at least 10s"),
        ("server_check_seconds: 60", "server_check_seconds: expected"),
        ("server_checks: true", "unknown key"),
    ],
)
def test_mistakes_are_named(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as error:
        parse(f"dhcp:\n  {line}\n")
    assert "netvane.yml:2: dhcp." in str(error.value)


def test_empty_lease_files_of_servers_never_used_are_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LEASE_FILES", (str(tmp_path / "a"), str(tmp_path / "b-*"), str(tmp_path / "absent")))
    (tmp_path / "a").touch()
    assert places.find_lease_files() == ()
    (tmp_path / "b-1").write_text("1763726400 b8:27:eb:00:00:01 198.51.100.20 * *\n")
    (tmp_path / "b-2").write_text("something else\n")
    assert places.find_lease_files() == (tmp_path / "b-1",)
