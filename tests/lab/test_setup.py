"""tools/setup.sh with the real apt and dpkg, in a copy of this machine's file system that vanishes afterwards.

A package made here has a service as Debian's Prometheus has: enabled and started by its postinst. An overlay over /
in a mount namespace of the test takes all writes; nothing of this machine changes.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.processes import ROOT

pytestmark = pytest.mark.lab

NAME = "netvane-test-service"
POLICY = "/usr/sbin/policy-rc.d"
LINK = f"/etc/systemd/system/multi-user.target.wants/{NAME}.service"

CONTROL = f"""\
Package: {NAME}
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: a service for a test
"""
UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
SCRIPT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides: netvane-test-service
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop:
### END INIT INFO
echo "$1" >>/started
"""
# What debhelper writes into the postinst of a package with a service.
POSTINST = f"""\
#!/bin/sh
set -e
deb-systemd-helper unmask {NAME}.service >/dev/null || true
if deb-systemd-helper --quiet was-enabled {NAME}.service; then deb-systemd-helper enable {NAME}.service >/dev/null; fi
update-rc.d {NAME} defaults >/dev/null
invoke-rc.d {NAME} start || exit 1
if [ -e /hook ]; then . /hook; fi
"""
# $1: the overlay's directory; $2: the repository; $3: a script for inside.
OVERLAY = """
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cp -r "$2" "$1/root/repository"
chmod -R a+rX "$1/root/repository"
for name in dev proc; do mount --rbind "/$name" "$1/root/$name"; done
mount -t tmpfs tmpfs "$1/root/run"
mkdir "$1/root/run/lock"
exec chroot "$1/root" sh -euc "$3"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An apt repository with the package, where every user may read it."""
    build = tmp_path / "build"
    for path, content, mode in (
        ("DEBIAN/control", CONTROL, 0o644),
        ("DEBIAN/postinst", POSTINST, 0o755),
        (f"lib/systemd/system/{NAME}.service", UNIT, 0o644),
        (f"etc/init.d/{NAME}", SCRIPT, 0o755),
    ):
        (build / path).parent.mkdir(parents=True, exist_ok=True)
        (build / path).write_text(content)
        (build / path).chmod(mode)
    here = tmp_path / "repository"
    here.mkdir()
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", build, here / "package.deb"], check=True, capture_output=True
    )
    digest, size = sha256(here / "package.deb"), (here / "package.deb").stat().st_size
    (here / "Packages").write_text(f"{CONTROL}Filename: ./package.deb\nSize: {size}\nSHA256: {digest}\n")
    (here / "packages.txt").write_text(f"# for a test\ndpkg\n{NAME}\n")
    shutil.copy(ROOT / "tools/setup.sh", here)
    return here


def sha256(path: Path) -> str:
    return subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]


class Machine:
    """Runs scripts in the copy; each one in a fresh copy."""

    def __init__(self, repository: Path, overlay: Path) -> None:
        self._repository, self._overlay = repository, overlay

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        before = f"""
            rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* {POLICY} /started
            echo 'deb [trusted=yes] file:/repository ./' >/etc/apt/sources.list
            rm -f /sbin/runlevel
            printf '#!/bin/sh\\necho N 2\\n' >/sbin/runlevel  # a running machine, in invoke-rc.d's eyes
            chmod 755 /sbin/runlevel
        """
        # A shell cannot trap what its parent ignores, as whoever runs the tests in the background does.
        signals = ["env", "--default-signal=HUP,INT,TERM"]
        inside = [*signals, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", OVERLAY, "sh"]
        return subprocess.run(
            [*inside, self._overlay, self._repository, before + script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def shows(self, script: str) -> list[str]:
        """The lines that a script prints after a line `--`. Raises AssertionError where it fails."""
        done = self.run(script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.partition("--\n")[2].splitlines()


@pytest.fixture
def machine(repository: Path, tmp_path: Path) -> Machine:
    if parts := [name for name in ("/etc", "/usr", "/var") if Path(name).is_mount()]:
        pytest.skip(f"an overlay over / does not hold {', '.join(parts)}: file systems of their own here")
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    return Machine(repository, overlay)


SETUP = "/repository/setup.sh /repository/packages.txt"
LOOK = f"""
    dpkg-query --show --showformat='${{db:Status-Status}}\\n' {NAME}
    for path in /started {LINK} {POLICY}; do if [ -e "$path" ] || [ -L "$path" ]; then echo "$path"; fi; done
"""


def test_apt_alone_would_start_and_enable_the_service(machine: Machine) -> None:
    """What the other tests would not notice if this package did nothing."""
    assert machine.shows(f"apt-get -qq update; apt-get -qq install {NAME}; echo --; {LOOK}") == [
        "installed",
        "/started",
        LINK,
    ]


def test_installs_without_starting_or_enabling_and_leaves_no_policy(machine: Machine) -> None:
    assert machine.shows(f"{SETUP}; echo --; {LOOK}") == ["installed"]


def test_a_second_run_has_nothing_to_do_and_needs_no_apt(machine: Machine) -> None:
    script = (
        f"{SETUP}; printf '#!/bin/sh\\nexit 1\\n' >/usr/local/bin/apt-get; chmod 755 /usr/local/bin/apt-get; echo --"
    )
    assert machine.shows(f"PATH=/usr/local/bin:$PATH; {script}; {SETUP}; {LOOK}") == ["installed"]


def test_an_upgrade_does_not_enable_it_either(machine: Machine) -> None:
    script = f"{SETUP}; dpkg --force-all -i /repository/package.deb; echo --; {LOOK}"
    assert LINK not in machine.shows(script)


def test_an_administrators_policy_is_kept(machine: Machine) -> None:
    look = f"stat --format='%i %a %Y' {POLICY}"
    own = f"printf '#!/bin/sh\\nexit 101 # mine\\n' >{POLICY}; chmod 751 {POLICY}; {look} >/before"
    after = f"{look} | cmp - /before; grep -c mine {POLICY}"
    assert machine.shows(f"{own}; {SETUP}; echo --; {after}; {LOOK}") == ["1", "installed", POLICY]


def test_a_policy_that_a_killed_run_left_is_taken_away(machine: Machine) -> None:
    killed = f"echo 'kill -9 $(cat /pid)' >/hook; sh -c 'echo $$ >/pid; exec {SETUP}' || true; rm /hook"
    again = f"cat {POLICY}; until dpkg --purge {NAME}; do sleep 0.1; done; {SETUP}"  # apt outlives it, with its lock
    assert machine.shows(f"{killed}; {again}; echo --; {LOOK}") == ["installed"]


@pytest.mark.parametrize("number", ["INT", "TERM", "HUP"])
def test_a_signal_while_apt_runs(machine: Machine, number: str) -> None:
    script = f"echo 'kill -{number} $(cat /pid)' >/hook; sh -c 'echo $$ >/pid; exec {SETUP}' && exit 1; echo --; {LOOK}"
    assert machine.shows(script) == ["installed"]


def test_a_package_that_fails(machine: Machine) -> None:
    done = machine.run(f"echo 'exit 1' >/hook; {SETUP} && exit 9; echo --; {LOOK}")
    assert done.stdout.partition("--\n")[2].split() == ["half-configured"]
    assert done.stderr.splitlines()[-1] == (
        f"setup: not all of these packages could be installed; apt's reason stands above: {NAME}"
    )


def test_the_user_is_made_once(machine: Machine) -> None:
    script = (
        f"sed -i /^netvane:/d /etc/passwd /etc/shadow /etc/group /etc/gshadow; {SETUP} | grep user; {SETUP}; echo --"
    )
    told = machine.run(f"{script}; getent passwd netvane | cut -d: -f6,7; getent group netvane | wc -l")
    assert told.stdout.splitlines()[0] == "setup: made the system user netvane, which the parts run as"
    assert told.stdout.partition("--\n")[2].split() == ["/nonexistent:/usr/sbin/nologin", "1"]


def test_not_root_is_told_what_is_missing(machine: Machine) -> None:
    done = machine.run(f"setpriv --reuid=65534 --regid=65534 --clear-groups {SETUP}; echo --; {LOOK} || true")
    assert done.stderr.splitlines()[0] == (
        "setup: Debian packages are missing: run `sudo make setup`, or: "
        f"sudo apt-get install --no-install-recommends {NAME}"
    )
    assert done.stdout == "--\n"
