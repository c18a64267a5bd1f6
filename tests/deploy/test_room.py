"""No room left on the machine, and a deployment that broke off: what ran before runs on, and the next one succeeds."""

from pathlib import Path
from typing import Any

import pytest

from tests.deploy import releases
from tests.deploy.target import PlayError, Target, playbook_of
from tests.lab.home import Home

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

SETTINGS: dict[str, Any] = {"netvane_site": "lab", "netvane_exporters": ["dhcp"]}
UNITS = ("netvane-raw", "netvane-dhcp")
DATA = "/var/lib/netvane"
# What the role `base` does.
BEFORE = "useradd --system netvane && install -d -o netvane -g netvane /run/netvane && apt-get --quiet=2 update"


def test_a_full_disk_and_a_run_that_broke_off(tmp_path: Path) -> None:
    playbook = playbook_of(tmp_path, "exporters")
    with Home(gadgets=1, ipv6=False) as home, Target(home, "bookworm") as target:
        target.run(BEFORE)
        for directory, size in (("/opt/netvane", "800m"), (DATA, "64m")):
            target.run(f"mkdir {directory} && mount -t tmpfs -o mode=755,size={size} tmpfs {directory}")
        target.play(playbook, netvane_wheel=str(releases.newer(tmp_path, "0.8.0")), **SETTINGS)
        version = runs(target)
        wheel: dict[str, Any] = {"netvane_wheel": str(releases.newer(tmp_path, "0.9.0"))}

        with pytest.raises(PlayError, match=r"MB\s+free\s+for\s+/opt/netvane\s+on\s+vane-bookworm,\s+700\s+needed"):
            target.play(playbook, **wheel, **SETTINGS)
        assert runs(target) == version

        target.run("mount -o remount,size=2g /opt/netvane")
        target.run(f"dd if=/dev/zero of={DATA}/ballast bs=64k", check=False)  # until there is no more room
        with pytest.raises(PlayError, match=r"No\s+space\s+left\s+on\s+device") as failure:
            target.play(playbook, **wheel, **SETTINGS)
        assert f"version {version} runs again" in " ".join(failure.value.output.split())
        assert runs(target) == version

        target.run(f"rm {DATA}/ballast")
        (new,) = (name for name in target.run("ls /opt/netvane").stdout.split() if name.startswith("0.9.0-"))
        target.run(f"cd /opt/netvane/{new} && rm complete bin/python3 && echo half >bin/netvane")
        target.play(playbook, **wheel, **SETTINGS)
        assert runs(target) == new
        assert target.run("netvane --version").stdout == "netvane 0.9.0\n"
        assert target.run(f"ls -A {DATA}").stdout.split() == ["dhcp"]


def runs(target: Target) -> str:
    """The version that does, all units of it."""
    assert target.run(f"systemctl is-active {' '.join(UNITS)}", check=False).stdout.split() == ["active"] * len(UNITS)
    accepted, link = target.run("cat /opt/netvane/accepted; readlink /opt/netvane/current").stdout.split()
    assert accepted == link
    return accepted
