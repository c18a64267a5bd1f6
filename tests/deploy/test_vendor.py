"""Loki and Grafana, which Debian does not have: left out, or from a package; without the rest of the appliance."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import repository, vendor
from tests.deploy.target import Target, playbook_of
from tests.lab import addresses as at
from tests.lab.home import Home

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

ADDRESS = at.ANCHORS4[2]

# What the roles before these two leave behind.
BEFORE = """
useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin netvane
mkdir -p /etc/netvane/rendered /var/lib/netvane /opt/netvane/current/bin
echo '# for a test' >/etc/netvane/rendered/loki.yml
printf '#!/bin/sh\\necho /usr/share/netvane/grafana\\n' >/opt/netvane/current/bin/python
chmod 755 /opt/netvane/current/bin/python
apt-get --quiet=2 update
"""


def test_left_out_or_from_a_package(tmp_path: Path) -> None:
    playbook = playbook_of(tmp_path, "loki", "grafana")
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


def test_from_the_vendor_s_repository(tmp_path: Path) -> None:
    playbook, base = playbook_of(tmp_path, "loki", "grafana"), playbook_of(tmp_path / "base", "base")
    signer, stranger = repository.key(tmp_path, "vendor"), repository.key(tmp_path, "stranger")
    wanted, unwanted = [vendor.loki(tmp_path), vendor.grafana(tmp_path)], [vendor.loki(tmp_path, "4.0.0")]
    root = repository.repository(tmp_path, [*wanted, *unwanted, vendor.openssl(tmp_path)], signer)
    url = f"http://{ADDRESS}:{repository.PORT}"
    settings: dict[str, Any] = {"netvane_vendor_repository": url, "netvane_vendor_key": str(signer)}
    with Home(gadgets=1, ipv6=False) as home, Target(home, "bookworm") as target:
        target.run(BEFORE)
        target.run(f"echo 'Acquire::http::Proxy::{ADDRESS} \"DIRECT\";' >/etc/apt/apt.conf.d/98vendor")

        unreachable = flat(target.play(playbook, **settings))
        assert "loki was not to be had:" in unreachable
        assert "Connection refused" in unreachable
        assert "grafana is left out" in unreachable
        assert "failed=0" in unreachable
        target.run("apt-get update --error-on=any")  # nothing of it is in apt's way

        with repository.served(home.net, root, ADDRESS):
            unsigned = flat(
                target.play(playbook, **{**settings, "netvane_vendor_key": str(stranger), "netvane_grafana": False})
            )
            assert "NO_PUBKEY" in unsigned
            assert "loki is left out" in unsigned

            target.play(playbook, **settings)
            assert target.run("systemctl is-active netvane-loki netvane-grafana").stdout.split() == ["active"] * 2
            versions = target.run("dpkg-query -W -f '${Package} ${Version}\n' loki grafana openssl").stdout
            assert {"loki 3.5.0", "grafana 12.1.0"} < set(versions.splitlines())
            assert "openssl 99" not in versions
            upgrades = target.run("apt-get --simulate upgrade").stdout
            assert not any(f"Inst {name} " in upgrades for name in ("loki", "grafana", "openssl"))
            assert not (target.root / "started-by-its-package").exists()
            assert target.run("stat -c '%a %U' /etc/apt/keyrings/netvane-vendor.asc").stdout == "644 root\n"

            assert "changed=0" in target.play(playbook, **settings)

        target.run("touch -d yesterday /var/lib/apt/lists /var/lib/apt/periodic/update-success-stamp")
        assert "failed=0" in target.play(base, **settings)  # gone, it is in nobody's way
        assert target.run("apt-get update --error-on=any && systemctl is-active netvane-loki").stdout.endswith(
            "active\n"
        )


def flat(output: str) -> str:
    """Without the line breaks that Ansible puts into long messages."""
    return " ".join(output.split())
