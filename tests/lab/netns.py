"""Network namespaces: run commands, start processes and open sockets in them.

`ip netns exec` mounts another /sys; nsenter(1) changes the network and nothing else.
"""

import ctypes
import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from tests.lab.processes import CommandError, Process, Processes, run, words

T = TypeVar("T")

NETNS = Path("/run/netns")
# Where ip-netns(8) looks for the files that stand in for those of /etc inside a namespace.
NETNS_ETC = Path("/etc/netns")
CLONE_NEWNET = 0x40000000  # <linux/sched.h>

_libc = ctypes.CDLL(None, use_errno=True)


def enter(path: Path) -> None:
    """Move the calling thread, and only it, into a network namespace; setns(2) (os.setns came with Python 3.12)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(path))
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    text: str


class Namespace:
    """One machine of the lab. A rack makes it and takes it away."""

    def __init__(self, name: str, processes: Processes) -> None:
        self.name = name
        self.path = NETNS / name
        self._processes = processes

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"

    @property
    def resolv_conf(self) -> Path:
        return NETNS_ETC / self.name / "resolv.conf"

    def use_resolvers(self, *addresses: str) -> None:
        """Give what is run and started here from now on an /etc/resolv.conf of its own."""
        self.resolv_conf.parent.mkdir(parents=True, exist_ok=True)
        self.resolv_conf.write_text("".join(f"nameserver {address}\n" for address in addresses))

    def command(self, command: str | Sequence[str]) -> list[str]:
        """The command line that runs `command` in here; each step replaces itself, so the process id stays.

        Raises CommandError where its program is not installed, which must not look like an answer of it.
        """
        inner = words(command)
        if shutil.which(inner[0]) is None:
            raise CommandError(f"{inner[0]} is not installed")
        inside = ["nsenter", f"--net={self.path}", "--"]
        if self.resolv_conf.exists():
            script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
            inside += ["unshare", "--mount", "sh", "-c", script, str(self.resolv_conf)]
        return inside + inner

    def run(
        self, command: str | Sequence[str], *, stdin: str | None = None, check: bool = True, timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end. Raises CommandError (with `check`) and subprocess.TimeoutExpired."""
        return run(self.command(command), stdin=stdin, check=check, timeout=timeout)

    def start(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        piped: bool = False,
    ) -> Process:
        """Start and go on; the rack ends it if nobody did before."""
        return self._processes.start(self.command(command), env=env, log=log, piped=piped)

    def ip(self, *lines: str) -> None:
        """Several ip(8) command lines in one go: ``ns.ip("link set eth0 up", "addr add …")``."""
        run(["ip", "-n", self.name, "-batch", "-"], stdin="\n".join(lines))

    def nft(self, ruleset: str) -> None:
        self.run("nft -f -", stdin=ruleset)

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function`, called in a thread that is inside; a socket it opens stays inside for good."""

        def inside() -> T:
            enter(self.path)
            return function()

        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(inside).result()

    def sysctl(self, values: Mapping[str, object]) -> None:
        """`{"net.ipv4.ip_forward": 1}`. /proc/sys/net shows the namespace of the thread that opens it."""

        def write() -> None:
            for key, value in values.items():
                Path("/proc/sys", key.replace(".", "/")).write_text(str(value))

        self.call(write)

    def listen(self, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return self.call(lambda: socket.create_server((address, port), family=family))

    def connect(self, address: str, port: int, *, timeout: float = 5.0) -> socket.socket:
        return self.call(lambda: socket.create_connection((address, port), timeout))

    def http(
        self,
        url: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Response:
        """Talk HTTP from in here to an address (a name would be looked up outside). Redirects are not followed.

        Raises OSError when nobody answers, http.client.HTTPException when it is not HTTP.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.sock = self.connect(host, port, timeout=timeout)
        try:
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            return Response(response.status, dict(response.headers), response.read().decode(errors="replace"))
        finally:
            connection.close()
