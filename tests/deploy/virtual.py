"""A Debian with a kernel of its own, in qemu: for what a container has not, such as radios (mac80211_hwsim).

    with Home() as home, VirtualMachine(home, "trixie") as vane:
        vane.play("site.yml", …)     # as with a Target

It hangs by a TAP device on the home's switch, in the place of the monitor, which gives up its own line. Its processor
is emulated, so that it runs on machines that are virtual themselves, and everything takes ten times as long.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.deploy import rootfs
from tests.deploy.target import Target
from tests.lab import addresses as at
from tests.lab.home import MON_MAC, Home
from tests.lab.processes import run
from tests.lab.wait import eventually

DISK = "6G"
MEMORY = "1536M"
KERNEL = ("kmod", "linux-image-amd64", "zstd")
MASKED = ("getty.target", "serial-getty@ttyS0.service", "systemd-networkd-wait-online.service")
COMMAND_LINE = "root=/dev/vda rw net.ifnames=0 console=ttyS0 panic=-1 quiet"
NETWORK = f"[Match]\nName=eth0\n[Network]\nAddress={at.MON4}/24\nGateway={at.ROUTER4}\n"


def missing() -> str | None:
    """Why none can run here; None where one may."""
    absent = [f"`{name}`" for name in ("qemu-system-x86_64", "mmdebstrap", "mkfs.ext4") if shutil.which(name) is None]
    return f"no {' and no '.join(absent)} on PATH" if absent else None


class VirtualMachine(Target):
    """`packages`: what its owner has installed before; `files`: path to text, what he has written there."""

    boot_seconds = 600.0

    def __init__(
        self, home: Home, suite: str, *, packages: tuple[str, ...] = (), files: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(home, suite)
        self._packages, self._files = packages, files or {}

    def _lower(self) -> Path:
        return rootfs.rootfs(self.suite, more=(*KERNEL, *self._packages), masked=MASKED)

    def _boot(self) -> None:
        self._write({**self._files, "etc/systemd/network/eth0.network": NETWORK})
        wanted = self.root / "etc/systemd/system/multi-user.target.wants"
        (wanted / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
        disk = self.place / "disk"
        run(["mkfs.ext4", "-q", "-d", str(self.root), str(disk), DISK], timeout=300)
        self.home.mon.ip("link set eth0 down")
        switch = self.home.sw
        switch.ip("tuntap add dev vane mode tap", "link set vane master br-lan up")
        kernel, initrd = (next((self.root / "boot").glob(f"{name}-*")) for name in ("vmlinuz", "initrd.img"))
        self._machine = switch.start(
            [
                *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", MEMORY),
                *("-nodefaults", "-display", "none", "-serial", "stdio"),
                *("-kernel", str(kernel), "-initrd", str(initrd), "-append", COMMAND_LINE),
                *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
                *("-netdev", "tap,id=lan,ifname=vane,script=no,downscript=no"),
                *("-device", f"virtio-net-pci,netdev=lan,mac={MON_MAC}", "-device", "virtio-rng-pci"),
            ]
        )
        eventually(lambda: bool(self._boot_id()), within=self.boot_seconds, what="ssh to the virtual machine")
