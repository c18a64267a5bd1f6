"""What happens to the machine itself, where no policy-rc.d of a test machine's hides a mistake."""

from pathlib import Path

import pytest

from tests.deploy.target import Target, playbook_of
from tests.lab.home import Home
from tests.lab.processes import ROOT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

SWITCHES = {
    "netvane_journal_in_memory": "/etc/systemd/journald.conf.d/netvane.conf",
    "netvane_swap_sparingly": "/etc/sysctl.d/60-netvane-swap.conf",
    "netvane_writes_batched": "/etc/sysctl.d/60-netvane-writes.conf",
    "netvane_tmp_in_memory": "/etc/systemd/system/local-fs.target.wants/tmp.mount",
}


def test_switches_that_spare_the_card_go_on_and_off(tmp_path: Path) -> None:
    playbook = playbook_of(tmp_path, "base")
    with Home(gadgets=1, ipv6=False) as home, Target(home, "bookworm") as target:
        target.play(playbook)
        assert present(target) == set(SWITCHES.values())
        assert "Storage=volatile" in target.run("systemd-analyze cat-config systemd/journald.conf").stdout
        assert "changed=0" in target.play(playbook)
        target.play(playbook, **dict.fromkeys(SWITCHES, False))
        assert present(target) == set()


def test_set_up_starts_and_enables_nothing() -> None:
    with Home(gadgets=1, ipv6=False) as home, Target(home, "trixie") as target:
        before = unit_files(target)
        for name in ("setup.sh", "packages.txt"):
            target.run(f"cat >/root/{name}", stdin=(ROOT / "tools" / name).read_text())
        target.run("apt-get update && sh /root/setup.sh /root/packages.txt", timeout=600)
        new = {unit: state for unit, state in unit_files(target).items() if unit not in before}
        assert {"prometheus.service", "prometheus-alertmanager.service"} <= set(new)
        assert "enabled" not in new.values()
        active = target.run("systemctl list-units --all --no-legend --plain --state=active,activating,failed").stdout
        assert not {line.split()[0] for line in active.splitlines()} & set(new)
        assert not (target.root / "usr/sbin/policy-rc.d").exists()


def present(target: Target) -> set[str]:
    """Which switches are on."""
    return set(target.run(f"ls {' '.join(SWITCHES.values())}", check=False).stdout.split())


def unit_files(target: Target) -> dict[str, str]:
    """Unit to state, as enabled or static."""
    lines = target.run("systemctl list-unit-files --no-legend --plain").stdout.splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}
