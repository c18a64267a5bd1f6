"""Whether a part can have its port, and who has it otherwise.

Sources: proc(5) for /proc/net/tcp and /proc/PID/fd; cgroups(7) for the unit that systemd started a
process for.
"""

import contextlib
import errno
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from netvane.common import link
from netvane.common.system_file import text_of
from netvane.up.part import Address

_LISTENING = "0A"  # TCP_LISTEN of include/net/tcp_states.h, in hexadecimal


def problem(address: Address) -> str | None:
    """Why nobody could listen on `address` now; None where it is free."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)  # another one may have bound with SO_REUSEADDR too: only now the kernel decides
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {address.port} is taken by {_holder(address.port)}"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"no interface has the address {address.host}"
        return f"cannot listen on {address}: {error.strerror}"
    return None


def has_loopback() -> bool:
    """Whether the parts can reach each other: a new network namespace starts with its loopback interface down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return link.is_running(control, "lo")


def _holder(port: int) -> str:
    inodes = {inode for table in ("tcp", "tcp6") for inode in listeners(text_of(Path("/proc/net", table)), port)}
    for process in Path("/proc").glob("[0-9]*"):
        if not inodes.isdisjoint(_sockets(process)):
            return describe(text_of(process / "comm").strip(), process.name, text_of(process / "cgroup"))
    return "another program"  # of another user: only root may look at its descriptors


def listeners(table: str, port: int) -> Iterator[str]:
    """The inodes of the sockets that listen on `port` in the text of /proc/net/tcp or tcp6."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            yield fields[9]


def describe(program: str, pid: str, cgroup: str) -> str:
    """``prometheus (pid 7, prometheus.service: `systemctl disable --now prometheus.service` stops it)``."""
    unit = re.search(r"/([^/\s]+\.service)$", cgroup, re.MULTILINE)
    if unit is None or unit[1].startswith("user@"):
        return f"{program} (pid {pid})"
    return f"{program} (pid {pid}, {unit[1]}: `systemctl disable --now {unit[1]}` stops it)"


def _sockets(process: Path) -> Iterator[str]:
    """The inodes of a process's sockets; none of a process that is gone or somebody else's."""
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]
