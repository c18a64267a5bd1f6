"""Running `netvane raw` in a namespace as it is run in earnest: without any privilege but one capability."""

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from netvane.common import rawclient
from netvane.common.raw_messages import SOCKET_NAME, InterfaceStatus, Sighting, Status, Trace
from tests.lab.netns import Namespace
from tests.lab.processes import PYTHON_ENV, ROOT, Process
from tests.lab.wait import eventually

NOBODY = 65534
COMMAND = [sys.executable, "-m", "netvane.cli", "raw"]


@functools.cache
def unprivileged() -> int:
    """The user to be: nobody, or where nobody cannot read this Python and these files, whoever owns them."""
    command = [*_as_user(NOBODY, None), sys.executable, "-c", "import netvane.cli"]
    done = subprocess.run(command, env={**os.environ, **PYTHON_ENV}, capture_output=True, check=False, timeout=60)
    return ROOT.stat().st_uid if done.returncode else NOBODY


def as_unprivileged(capability: str | None = "net_raw") -> list[str]:
    """The command line's beginning that gives everything up but one capability."""
    return _as_user(unprivileged(), capability)


def _as_user(user: int, capability: str | None) -> list[str]:
    kept = f"-all,+{capability}" if capability else "-all"
    return [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"),
        *(f"--bounding-set={kept}", f"--inh-caps={kept}", f"--ambient-caps={kept}"),
        *(() if user else ("--securebits=+noroot",)),
    ]


@dataclass
class RunningRaw:
    """The helper and its socket, with the client's calls made blocking."""

    process: Process
    socket: Path

    def trace(self, destination: str, *, max_ttl: int = 30, probes: int = 3, deadline: float = 10.0) -> Trace:
        question = rawclient.trace(self.socket, destination, max_ttl=max_ttl, probes=probes, deadline=deadline)
        return asyncio.run(question)

    def status(self) -> Status:
        return asyncio.run(rawclient.status(self.socket, deadline=10.0))

    def interface(self, name: str = "eth0") -> InterfaceStatus | None:
        return next((found for found in self.status().interfaces if found.name == name), None)

    def is_answering(self) -> bool:
        assert self.process.running, self.process.output()
        try:
            return bool(self.status())
        except rawclient.RawUnavailable:
            return False

    def is_listening(self, interface: str = "eth0") -> bool:
        found = self.interface(interface) if self.is_answering() else None
        return found is not None and found.state == "listening"

    def sighting(self, wanted: Callable[[Sighting], bool], *, within: float = 15.0) -> Sighting:
        """The first one, of those already known or to come, that is `wanted`."""

        async def look() -> Sighting:
            async with asyncio.timeout(within), contextlib.aclosing(rawclient.subscribe(self.socket)) as reports:
                async for report in reports:
                    if isinstance(report, Sighting) and wanted(report):
                        return report
            raise AssertionError("a subscription ended by itself")

        return asyncio.run(look())

    def known(self) -> list[Sighting]:
        """All latest sightings that the helper holds."""

        async def collect() -> list[Sighting]:
            count = (await rawclient.status(self.socket)).recent
            async with contextlib.aclosing(rawclient.subscribe(self.socket)) as reports:
                found = [await anext(reports) for _ in range(count)]
            return [report for report in found if isinstance(report, Sighting)]

        return asyncio.run(collect())


@contextlib.contextmanager
def running_raw(
    namespace: Namespace, directory: Path, *flags: str, interface: str | None = "eth0", programs: str | None = None
) -> Iterator[RunningRaw]:
    """`netvane raw` in `namespace`, listening on `interface` (None: nothing is waited for but its socket).

    It looks for programs in the directories `programs`; by default in those of these tests.

    Its run directory is below `directory`, which everybody must be able to enter.
    """
    run_dir = directory / "raw"
    run_dir.mkdir(exist_ok=True)
    os.chown(run_dir, unprivileged(), unprivileged())
    environment = [] if programs is None else ["env", f"PATH={programs}"]
    command = [*as_unprivileged(), *environment, *COMMAND, f"--run-dir={run_dir}", "--log.level=debug", *flags]
    with namespace.start(command, env=PYTHON_ENV) as process:
        raw = RunningRaw(process, run_dir / SOCKET_NAME)
        ready = (lambda: raw.is_listening(interface)) if interface else raw.is_answering
        eventually(ready, within=20, what="netvane raw ready")
        yield raw
