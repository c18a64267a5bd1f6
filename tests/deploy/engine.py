"""A Docker engine of the tests' own, in a network namespace: the machine's own network and engine stay as they are."""

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from tests.deploy.rootfs import CACHE, apt_options, being_made, debian, mirror, wheelhouse
from tests.lab.netns import Namespace
from tests.lab.processes import ROOT, Process
from tests.lab.wait import eventually

SUITE = "bookworm"
# What exporters/Dockerfile installs.
PACKAGES = ("libcap2-bin", "nmap", "python3", "python3-venv", "wireshark-common")
PROGRAMS = (
    *("docker", "docker-compose", "dockerd", "containerd", "runc", "mmdebstrap", "busybox"),
    *("prometheus", "prometheus-alertmanager", "prometheus-node-exporter"),
)
# What the images of others have for their volumes, and whose it is.
VOLUMES = {"prometheus": 65534, "alertmanager": 65534, "loki": 10001}
# pip inside the image has the wheels beside it and asks nobody else.
PIP_CONF = b"[global]\nno-index = true\nfind-links = /wheels\n"


def missing() -> str | None:
    """Why no engine can run here; None where one may."""
    absent = [f"`{name}`" for name in PROGRAMS if shutil.which(name) is None]
    return f"no {' and no '.join(absent)} on PATH" if absent else None


class Engine:
    def __init__(self, namespace: Namespace, socket: Path) -> None:
        self.namespace = namespace
        self._socket = socket

    def run(self, *command: str, timeout: float = 120) -> str:
        """What docker(1) or docker-compose(1) prints. Raises AssertionError where it fails."""
        environment = {"DOCKER_HOST": f"unix://{self._socket}", "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def answers(self, process: Process) -> bool:
        assert process.running, process.output()
        return self._socket.exists() and "Server Version" in self.run("docker", "info")


@contextmanager
def engine(namespace: Namespace, directory: Path) -> Iterator[Engine]:
    """One that runs in `namespace` and keeps everything in `directory`, whose name has to be short (unix(7))."""
    started = Engine(namespace, directory / "s")
    command = [
        # Its mounts are its own; and shared, as systemd has them, for what the node exporter wants of `/`.
        *("unshare", "--mount", "--propagation=shared", "--"),
        *("dockerd", f"--data-root={directory}/data", f"--exec-root={directory}/x", f"--pidfile={directory}/pid"),
        *(f"--host=unix://{directory}/s", "--default-ulimit=nofile=1024:4096"),
    ]
    with namespace.start(command) as process:
        eventually(lambda: started.answers(process), within=60, what="the engine")
        try:
            yield started
        finally:
            process.stop(grace=60)


def base_image() -> Path:
    """A Debian with what exporters/Dockerfile would install, wheels, and directories for volumes, as a tar file.

    Made by mmdebstrap where it is not cached yet. Raises subprocess.CalledProcessError.
    """
    wheels = wheelhouse(SUITE)
    recipe = repr((SUITE, mirror(), PACKAGES, VOLUMES, apt_options(), wheels.name))
    path = CACHE / f"container-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.tar"
    with being_made(path) as place:
        if place is None:
            return path
        base = place / "base.tar"
        debian(SUITE, base, PACKAGES)
        with tarfile.open(base, "a") as archive:
            archive.add(wheels, "wheels")
            for name, owner in VOLUMES.items():
                directory = tarfile.TarInfo(name)
                directory.type, directory.mode = tarfile.DIRTYPE, 0o755
                directory.uid = directory.gid = owner
                archive.addfile(directory)
            member = tarfile.TarInfo("etc/pip.conf")
            member.size = len(PIP_CONF)
            archive.addfile(member, BytesIO(PIP_CONF))
        base.rename(path)
    return path


def build(engine: Engine, name: str) -> None:
    """Netvane's own image from the local base, without any network. Raises AssertionError."""
    engine.run("docker", "import", str(base_image()), f"{name}-base", timeout=300)
    engine.run(
        *("docker", "build", "--quiet", "--network=none", f"--build-arg=BASE={name}-base"),
        *("--file=exporters/Dockerfile", f"--tag={name}", "."),
        timeout=600,
    )


def compose(project: str, environment: Path, *files: Path) -> Sequence[str]:
    """The beginning of a docker-compose command line."""
    flags = [f"--file={file}" for file in (ROOT / "docker-compose.yml", *files)]
    return (
        "docker-compose",
        f"--project-name={project}",
        f"--project-directory={ROOT}",
        *flags,
        f"--env-file={environment}",
    )
