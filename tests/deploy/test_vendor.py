"""Loki and Grafana, which Debian does not have: left out, or from a package; without the rest of the appliance."""

import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import vendor
from tests.deploy.target import ANSIBLE, Target
from tests.lab.home import Home

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

# What the roles before these two leave behind.
BEFORE = """
useradd --system netvane
mkdir -p /etc/netvane/rendered /var/lib/netvane /opt/netvane/current/bin
echo '# for a test' >/etc/netvane/rendered/loki.yml
printf '#!/bin/sh\\necho /usr/share/netvane/grafana\\n' >/opt/netvane/current/bin/python
chmod 755 /opt/netvane/current/bin/python
apt-get --quiet=2 update
"""


def only(directory: Path, *roles: str) -> Path:
    """A playbook of these roles."""
    for shared in ("group_vars", "templates"):
        (directory / shared).symlink_to(ANSIBLE / shared)
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "become": True, "roles": list(roles)}]))
    return playbook


def test_left_out_or_from_a_package(tmp_path: Path) -> None:
    playbook = str(only(tmp_path, "loki", "grafana"))
    debs: dict[str, Any] = {
        "netvane_loki_deb": str(vendor.loki(tmp_path)),
        "netvane_grafana_deb": str(vendor.grafana(tmp_path)),
    }
    with Home(gadgets=1, ipv6=False) as home, Target(home, "bookworm") as target:
        target.run(BEFORE)
        played = target.play(playbook)
        assert "loki is left out" in played
        assert "grafana is left out" in played
        assert "failed=0" in played

        target.play(playbook, **debs)
        assert target.run("systemctl is-active netvane-loki netvane-grafana").stdout.split() == ["active", "active"]
        # The packages' own services neither started nor will at the next boot.
        assert target.run("systemctl is-enabled loki grafana-server", check=False).stdout.split() == ["disabled"] * 2
        assert not (target.root / "started-by-its-package").exists()
        secrets = target.run("stat -c '%a %U' /etc/netvane/grafana/password /etc/netvane/grafana/key.pem").stdout
        assert secrets.splitlines() == ["600 grafana"] * 2
        made = target.run("cat /etc/netvane/grafana/password").stdout
        # On the home network, with the machine's own certificate.
        context = ssl.create_default_context(cadata=target.run("cat /etc/netvane/grafana/certificate.pem").stdout)
        plain = home.gadgets[0].ns.connect(target.address, 3000)
        with context.wrap_socket(plain, server_hostname="vane-bookworm.local") as secure:
            assert secure.version() in {"TLSv1.2", "TLSv1.3"}

        again = target.play(playbook, **debs)
        assert "changed=0" in again
        assert target.run("cat /etc/netvane/grafana/password").stdout == made
        target.play(playbook, **debs, netvane_grafana=False)
        assert target.run("systemctl is-active netvane-grafana", check=False).stdout.strip() == "inactive"
