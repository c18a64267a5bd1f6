"""A machine dies; its backup goes on a new one, with another Debian."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.target import PlayError, Target
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.wait import eventually

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

SETTINGS: dict[str, Any] = {"netvane_site": "lab", "netvane_config": {"latency": latency_settings()}}


def test_a_new_machine_knows_what_the_old_one_knew(tmp_path: Path) -> None:
    with Home(gadgets=1, ipv6=False) as home:
        (lamp,) = home.gadgets
        with Target(home, "bookworm") as old:
            old.play("site.yml", **SETTINGS, netvane_backup=True)
            eventually(lambda: lamp.mac in old.run("netvane devices list").stdout, within=90, what="the lamp")
            old.run(f"netvane devices name {lamp.mac} 'Lamp of the hall'")
            told = "netvane_backup_last_success_timestamp_seconds"
            eventually(lambda: old.query(told), within=150, what="the nightly backup in Prometheus")
            eventually(lambda: old.query("up{job='hosts'}"), within=90, what="the first scrape of hosts")
            seen = time.time()
            old.play("backup.yml", netvane_backup_fetched=str(tmp_path))
            assert old.run("systemctl is-active netvane-hosts netvane-prometheus").stdout.split() == ["active"] * 2
        (backup,) = (tmp_path / "vane-bookworm").iterdir()
        assert backup.stat().st_mode & 0o777 == 0o600
        damaged = tmp_path / "damaged.tar.gz"
        damaged.write_bytes(backup.read_bytes()[:-1000])

        with Target(home, "trixie") as new:
            new.play("site.yml", **SETTINGS)
            with pytest.raises(PlayError, match=r"is\s+no\s+backup\s+of\s+Netvane,\s+or\s+is\s+damaged"):
                new.play("restore.yml", "-e", f"netvane_restore={damaged}")
            assert "Lamp of the hall" not in new.run("netvane devices list").stdout
            new.play("restore.yml", "-e", f"netvane_restore={backup}")
            units = "netvane-latency netvane-hosts netvane-dhcp netvane-prometheus netvane-alertmanager"
            assert new.run(f"systemctl is-active {units}").stdout.split() == ["active"] * 5
            assert "Lamp of the hall" in new.run("netvane devices list").stdout
            new.await_prometheus()
            assert new.query(f"up{{job='hosts'}} @ {seen:.3f}")
            assert new.run("ls -A /var/lib/netvane | grep partial", check=False).stdout == ""
            played = new.play("site.yml", **SETTINGS)
            assert "failed=0" in played
