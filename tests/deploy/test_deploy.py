"""The appliance on a booted Debian, from the first deployment to the last trace of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import releases
from tests.deploy.target import PlayError, Target
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.sinks import WebhookSink
from tests.lab.wait import eventually

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1800)]

EXPORTERS = ("latency", "hosts", "dhcp")
UNITS = tuple(f"netvane-{name}.service" for name in ("raw", *EXPORTERS, "node-exporter", "alertmanager", "prometheus"))
JOBS = {*EXPORTERS, "node", "alertmanager", "prometheus"}
SECRET = "correct-horse-battery"
EXPOSURE = 2.0


@pytest.fixture
def home() -> Iterator[Home]:
    with Home(gadgets=2) as home:
        yield home


def variables(hook: WebhookSink) -> dict[str, Any]:
    return {
        "netvane_site": "lab",
        "netvane_config": {
            "latency": latency_settings(),
            "hosts": {"interval": "5s", "ping_interval": "2s"},
            "notify": {"webhook": {"url": hook.url, "username": "vane", "password_file": "/etc/netvane/secrets/hook"}},
        },
        "netvane_secrets": {"hook": SECRET},
    }


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_life(home: Home, suite: str, tmp_path: Path) -> None:
    lamp, people = home.gadgets
    with WebhookSink(people.ns, people.address) as hook, Target(home, suite) as target:
        settings = variables(hook)
        before = everything(target)
        assert SECRET not in target.play("site.yml", "-vv", "--diff", **settings)

        all_is_well(target)
        hardened(target)
        nothing_secret_to_see(target)

        expect(target, lamp.mac)
        with home.fault.gadget_unplugged(lamp):
            assert changed(target.play("site.yml", **settings)) == 0
            if suite == "trixie":
                assert changed(target.play("site.yml", "--check", "--diff", **settings)) == 0
            assert hook.wait_for("ExpectedDeviceMissing", within=300).labels["device"] == lamp.mac
        assert "webhook" in target.play("test-alert.yml", **settings)

        target.reboot()
        all_is_well(target)

        if suite == "trixie":
            upgrades(target, settings, tmp_path)
        target.play("uninstall.yml")
        assert everything(target) == before


def upgrades(target: Target, settings: dict[str, Any], place: Path) -> None:
    """One that fails leaves what was there; one that works keeps the data."""
    version = accepted(target)
    with pytest.raises(PlayError, match="this release is broken on purpose") as failure:
        target.play("upgrade.yml", netvane_wheel=str(releases.broken(place, "0.8.0")), **settings)
    assert f"version {version} runs again" in failure.value.output
    assert accepted(target) == version
    all_is_well(target)

    known = devices(target)
    target.play("upgrade.yml", netvane_wheel=str(releases.newer(place, "0.9.0")), **settings)
    assert accepted(target).startswith("0.9.0-")
    assert target.run("netvane --version").stdout == "netvane 0.9.0\n"
    all_is_well(target)
    assert known <= devices(target)

    target.play("site.yml", netvane_version=version, **settings)
    assert accepted(target) == version
    all_is_well(target)


def test_mistakes_and_an_unreachable_mirror_are_told_before_anything_is_changed(home: Home) -> None:
    with Target(home, "trixie") as target:
        before = everything(target)
        for mistake, words in (
            ({"netvane_sight": "lab"}, "there is no variable netvane_sight"),
            ({"netvane_site": None}, r"no\s+value\s+for\s+netvane_site"),
            ({"netvane_versions_kept": "many"}, "netvane_versions_kept"),
            ({"netvane_exporters": ["latency", "weather"]}, "weather"),
            ({"netvane_config": ["a list"]}, "netvane_config"),
            ({"netvane_remote_write": {"adress": "x"}}, r"netvane_remote_write\.adress"),
            ({"netvane_access_point_channel": 14}, "netvane_access_point_channel"),
            ({"netvane_access_point_allow": [{"to": "198.51.100.5", "protocol": "tcp"}]}, "port"),
            ({"netvane_backup_kept": None}, r"no\s+value\s+for\s+netvane_backup_kept"),
        ):
            with pytest.raises(PlayError, match=words):
                target.play("site.yml", **mistake)
        target.run("echo 'Acquire::http::Proxy \"http://127.0.0.1:9\";' >/etc/apt/apt.conf.d/99nowhere")
        with pytest.raises(PlayError, match=r"connect\s+to\s+127\.0\.0\.1:9"):
            target.play("site.yml")
        assert everything(target) == before


def test_a_32_bit_system_is_refused_with_the_reason(home: Home) -> None:
    with Target(home, "bookworm", architecture="i386") as target:
        before = everything(target)
        with pytest.raises(PlayError, match=r"runs\s+a\s+32-bit\s+system\s+\(x86_64\s+kernel,\s+32-bit\s+programs\)"):
            target.play("site.yml")
        assert everything(target) == before


def all_is_well(target: Target) -> None:
    """Every unit active, every exporter ready, all of them scraped, the verdict ok."""
    for unit in UNITS:
        eventually(lambda unit=unit: is_active(target, unit), within=120, what=unit)  # type: ignore[misc]

    target.await_prometheus()

    def scraped() -> bool:
        return {row["metric"]["job"] for row in target.query("up == 1")} == JOBS

    eventually(scraped, within=180, what="a scrape of every job")
    eventually(lambda: verdict(target) == "ok", within=120, what="the verdict ok")
    assert {row["metric"]["site"] for row in target.query("up")} == {"lab"}
    assert target.run("systemctl --failed --no-legend --plain").stdout == ""


def is_active(target: Target, unit: str) -> bool:
    return target.run(f"systemctl is-active {unit}", check=False).stdout == "active\n"


def verdict(target: Target) -> str:
    rows = target.query("netvane_verdict == 1")
    return rows[0]["metric"]["verdict"] if rows else ""


def hardened(target: Target) -> None:
    """systemd has nothing to say about the units, and rates each as little exposed."""
    verify = target.run(f"systemd-analyze verify {' '.join(UNITS)} netvane.target")
    assert verify.stdout + verify.stderr == ""
    for unit in UNITS:
        found = re.search(r"exposure level for \S+: ([\d.]+)", target.run(f"systemd-analyze security {unit}").stdout)
        assert found is not None
        assert float(found[1]) <= EXPOSURE, unit
    # Of Netvane's processes only the helper has a capability, and none is root's.
    report = target.run("ps -C netvane,python3,prometheus,prometheus-aler,prometheus-node -o pid=,user=,unit=").stdout
    processes = [line.split() for line in report.splitlines() if "netvane-" in line]
    assert {unit for _, _, unit in processes} == set(UNITS)
    for pid, user, unit in processes:
        status = target.run(f"grep CapEff /proc/{pid}/status").stdout.split()[1]
        assert user == "netvane", unit
        assert int(status, 16) == (1 << 13 if unit == "netvane-raw.service" else 0), unit


def nothing_secret_to_see(target: Target) -> None:
    modes = target.run("stat -c '%a %U' /etc/netvane/secrets/hook /etc/netvane/rendered/alertmanager.yml").stdout
    assert modes == "600 netvane\n600 netvane\n"
    everywhere = "/etc/systemd /etc/netvane /opt/netvane/current/units /run/netvane /var/log"
    assert set(target.run(f"grep -rlF {SECRET} {everywhere}", check=False).stdout.split()) <= {
        "/etc/netvane/secrets/hook",
        "/etc/netvane/rendered/alertmanager.yml",
    }
    assert SECRET not in target.run("cat /proc/[0-9]*/cmdline; journalctl --no-pager").stdout


def everything(target: Target) -> dict[str, str]:
    """What a deployment adds to: packages, users, units, settings of the system, and whatever is called netvane."""
    looks = {
        "packages": "dpkg-query -W -f '${Package} ${db:Status-Status}\\n' | grep -v not-installed | sort",
        "users": "cut -d: -f1 /etc/passwd | grep -vx prometheus | sort",  # Debian's package leaves its user behind
        "units": "systemctl list-unit-files --no-legend --plain --state=enabled | sort",
        "files": "find /etc/systemd /etc/sysctl.d /etc/tmpfiles.d /opt /usr/local -type f -o -type l | sort",
        "ours": "find / -xdev -iname '*netvane*' -not -path '/proc/*' -not -path '/var/backups/*' | sort",
    }
    return {name: target.run(look, check=False).stdout for name, look in looks.items()}


def expect(target: Target, mac: str) -> None:
    """Wait until the device was seen, then make it one that has to be there."""
    eventually(lambda: mac in devices(target), within=240, what="the first sweep")
    target.run(f"netvane devices expect {mac}")


def devices(target: Target) -> set[str]:
    rows = target.query("netvane_device_info")
    return {row["metric"]["mac"] for row in rows}


def accepted(target: Target) -> str:
    return target.run("cat /opt/netvane/accepted").stdout.strip()


def changed(output: str) -> int:
    found = re.search(r"changed=(\d+)", output)
    assert found is not None, output
    return int(found[1])
