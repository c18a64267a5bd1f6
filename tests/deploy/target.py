"""A booted Debian to deploy to: systemd-nspawn(1) in the namespace of a home's monitor, reached over ssh.

    with Home() as home, Target(home, "trixie") as target:
        target.play("site.yml", netvane_site="lab")      # ansible-playbook, run from the router's namespace
        target.run("systemctl is-active netvane-latency")

The root file system is an overlay over the cached one, its writable half in memory, and gone afterwards. It outlives a
reboot. The target reaches the mirror of Debian through `PackageProxy`, and nothing else outside the lab.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.deploy import rootfs
from tests.deploy.proxy import PackageProxy
from tests.lab import addresses as at
from tests.lab.home import Home
from tests.lab.processes import ROOT, CommandError, Process, run
from tests.lab.rack import unmount_below
from tests.lab.wait import eventually

ANSIBLE = ROOT / "ansible"
PROXY_PORT = 3128
PLAY_SECONDS = 3000.0
PROMETHEUS = "http://127.0.0.1:9090"
READER = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
READ = f"python3 -c '{READER}' '{{}}'"  # with a URL
REBOOTS = 133  # systemd-nspawn's exit code when its system wants to start anew


def playbook_of(directory: Path, *roles: str) -> str:
    """A playbook of these roles in `directory`, which looks like the repository to it; `exporters` needs a wheel."""
    place = directory / ANSIBLE.name
    place.mkdir(parents=True)
    for shared in (ANSIBLE / "group_vars", ANSIBLE / "templates", ROOT / "requirements.lock"):
        (directory / shared.relative_to(ROOT)).symlink_to(shared)
    playbook = place / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "become": True, "roles": list(roles)}]))
    return str(playbook)


class PlayError(CommandError):
    """A playbook failed; `output` is what ansible-playbook wrote."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output


class Target:
    """`suite`: bookworm or trixie; `architecture` as dpkg(1) has it. Its address is the monitor's, its user root."""

    boot_seconds = 60.0

    def __init__(self, home: Home, suite: str, *, architecture: str = "amd64") -> None:
        self.home, self.suite, self.architecture = home, suite, architecture
        self.address = at.MON4
        self.place = home.rack.directory / f"target-{suite}"
        self._key = self.place / "key"
        self._machine: Process | None = None
        self._proxy = PackageProxy(home.gw, at.ROUTER4, PROXY_PORT, hosts=rootfs.mirror_hosts())

    @property
    def root(self) -> Path:
        """Its files, as seen from outside."""
        return self.place / "root"

    def __enter__(self) -> Self:
        lower = self._lower()
        self.place.mkdir()
        self._proxy.__enter__()
        try:
            run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(self.place)])
            for name in ("upper", "work", "root"):
                (self.place / name).mkdir()
            layers = f"lowerdir={lower},upperdir={self.place}/upper,workdir={self.place}/work"
            run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)])
            self._furnish()
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at_: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._machine is not None:
            self._machine.stop()
        unmount_below(self.place)
        self._proxy.__exit__(None, None, None)

    def run(
        self, command: str, *, stdin: str | None = None, check: bool = True, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """A shell command in the target, over ssh. Raises CommandError (with `check`)."""
        return self.home.gw.run(
            ["ssh", *self._ssh_options(), f"root@{self.address}", command], stdin=stdin, check=check, timeout=timeout
        )

    def get(self, url: str) -> str:
        """The body of a page that only the target itself can reach. Raises CommandError where it is no page."""
        return self.run(READ.format(url)).stdout

    def await_prometheus(self) -> None:
        """Its unit is active before it answers, which plays wait for and a boot or a restored backup does not."""
        ready = READ.format(f"{PROMETHEUS}/-/ready")
        eventually(lambda: self.run(ready, check=False).returncode == 0, within=60, what="Prometheus")

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The answer of the target's Prometheus: a list of `{"metric": labels, "value": [time, text]}`."""
        quoted = promql.replace('"', "%22").replace(" ", "%20").replace("+", "%2B").replace("'", "%27")
        answer = json.loads(self.get(f"{PROMETHEUS}/api/v1/query?query={quoted}"))
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def play(
        self, playbook: str, *flags: str, timeout: float = PLAY_SECONDS, check: bool = True, **variables: Any
    ) -> str:
        """What `ansible-playbook` wrote. Raises PlayError (with `check`)."""
        variables = {"netvane_wheelhouse": str(rootfs.wheelhouse(self.suite)), **variables}
        inventory = self.place / "inventory.json"
        host = {
            "ansible_host": self.address,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self._key),
            "ansible_ssh_common_args": " ".join(self._ssh_options()),
            **variables,
        }
        inventory.write_text(json.dumps({"all": {"hosts": {f"vane-{self.suite}": host}}}))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), playbook, *flags]
        done = subprocess.run(
            self.home.gw.command(command),
            cwd=ANSIBLE,
            env={**os.environ, **self._environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        output = done.stdout + done.stderr
        if check and done.returncode != 0:
            raise PlayError(output)
        return output

    def reboot(self) -> None:
        """Back once ssh answers from a new boot."""
        before = self._boot_id()
        self.run("systemctl reboot", check=False)
        eventually(lambda: self._boot_id() not in {"", before}, within=self.boot_seconds, what="the reboot")

    def _lower(self) -> Path:
        """The root file system that it begins with, which stays as it is."""
        return rootfs.rootfs(self.suite, architecture=self.architecture)

    def _furnish(self) -> None:
        """Key, names, proxy: what the owner of a Pi has given it before."""
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)])
        public = self._key.with_suffix(".pub").read_text()
        proxy = [*rootfs.apt_options(), f'Acquire::http::Proxy "{self._proxy.url}";']
        (self.root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        self._write(
            {
                "root/.ssh/authorized_keys": public,
                "etc/hostname": f"vane-{self.suite}\n",
                "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 vane-{self.suite}\n",
                "etc/resolv.conf": f"nameserver {at.ROUTER4}\n",
                "etc/apt/apt.conf.d/99lab": "\n".join(proxy) + "\n",
            }
        )

    def _write(self, files: Mapping[str, str]) -> None:
        """Files of the root file system that is not booted yet: path to text."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_text(text)
            path.chmod(0o644)

    def _boot(self) -> None:
        nspawn = [
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", f"--machine={self.home.rack.prefix}"),
            *("--register=no", "--keep-unit", "--console=pipe", "--resolv-conf=off", "--capability=all"),
            f"--network-namespace-path={self.home.mon.path}",
        ]
        # The variable: the network's sysctls are the namespace's own, all others this machine's and read-only in there.
        # Its own /run/systemd/nspawn, for what it mounts there; again and again, as long as it is a reboot.
        script = (
            "mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn\n"
            f'while :; do "$@" & wait $!; code=$?; [ $code -eq {REBOOTS} ] || exit $code; done'
        )
        command = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "boot", *nspawn]
        self._machine = self.home.rack.processes.start(command, env={"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"})
        eventually(lambda: bool(self._boot_id()), within=self.boot_seconds, what="ssh to the target")

    def _boot_id(self) -> str:
        if self._machine is None or not self._machine.running:
            raise RuntimeError("the target is gone: " + (self._machine.output() if self._machine else ""))
        done = self.run("cat /proc/sys/kernel/random/boot_id", check=False)
        return done.stdout if done.returncode == 0 else ""

    def _ssh_options(self) -> list[str]:
        return [
            *("-i", str(self._key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "BatchMode=yes"),
        ]

    def _environment(self) -> dict[str, str]:
        return {
            "ANSIBLE_HOME": str(self.place / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.place / "cp"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_DEPRECATION_WARNINGS": "True",
        }
