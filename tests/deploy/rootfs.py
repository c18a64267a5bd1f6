"""Root file systems of Debian for the booted targets: made once by mmdebstrap, then only read."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.lab.processes import ROOT

CACHE = Path("/var/cache/netvane/deploy")
# What Raspberry Pi OS Lite has as well; nothing that the playbook installs.
PACKAGES = (
    *("ca-certificates", "dbus", "iproute2", "iputils-ping", "openssh-server", "procps", "python3"),
    *("python3-apt", "sudo", "systemd", "systemd-sysv"),
)
# What a container has no use for, and what would wait for hardware.
MASKED = ("getty.target", "systemd-modules-load.service", "systemd-networkd-wait-online.service")
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}


def rootfs(
    suite: str, *, architecture: str = "amd64", more: Sequence[str] = (), masked: Sequence[str] = MASKED
) -> Path:
    """The root file system of `suite`, with `more` packages, made if it is not cached yet.

    Raises subprocess.CalledProcessError.
    """
    packages = (*PACKAGES, *more)
    recipe = repr((suite, architecture, mirror(), packages, masked, apt_options()))
    path = CACHE / f"{suite}-{architecture}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with being_made(path) as place:
        if place is None:
            return path
        root = place / "root"
        debian(suite, root, packages, architecture=architecture)
        for unit in masked:
            (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
        # mmdebstrap leaves no package lists, but their folder is new: Ansible would take them for fresh.
        os.utime(root / "var/lib/apt/lists", (0, 0))
        root.chmod(0o755)
        root.rename(path)
    return path


def debian(suite: str, destination: Path, packages: Sequence[str], *, architecture: str = "amd64") -> None:
    """Make a small Debian in a directory or a tar file. Raises subprocess.CalledProcessError."""
    subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"),
            *(f"--architectures={architecture}", *(f"--aptopt={option}" for option in apt_options())),
            *(suite, str(destination), mirror()),
        ],
        check=True,
    )


@contextmanager
def being_made(path: Path) -> Iterator[Path | None]:
    """A folder to make what is cached at `path` in, beside it; None where it is there. One process at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            yield None
            return
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=CACHE) as place:
            yield Path(place)


def mirror() -> str:
    """Where this machine gets Debian itself from: the first http URI of its apt configuration."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        uri, release, component = line.split()
        if component == "main" and re.fullmatch(r"bookworm|trixie", release):
            return uri.rstrip("/")
    raise LookupError("no mirror of Debian's main component in this machine's apt configuration")


def apt_options() -> list[str]:
    """This machine's own settings about how old a mirror may be."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if re.match(r"Acquire::(Check-Valid-Until|Check-Date) ", line)]


def mirror_hosts() -> frozenset[str]:
    return frozenset({urlsplit(mirror()).hostname or ""})


def wheelhouse(suite: str) -> Path:
    """The wheels of requirements.lock for the suite's Python, downloaded by this machine's pip if not cached yet."""
    lock = ROOT / "requirements.lock"
    version = PYTHON[suite]
    path = CACHE / f"wheels-{version}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with being_made(path) as place:
        if place is None:
            return path
        platforms = [f"--platform=manylinux_{glibc}_x86_64" for glibc in ("2_17", "2_26", "2_27", "2_28", "2_34")]
        python = [f"--python-version={version}", "--implementation=cp", f"--abi=cp{version.replace('.', '')}"]
        subprocess.run(
            [
                *(shutil.which("python3") or "python3", "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--only-binary=:all:", "--require-hashes", f"--requirement={lock}", f"--dest={place}/wheels"),
                *(*python, "--abi=abi3", "--abi=none", "--platform=manylinux2014_x86_64", "--platform=any", *platforms),
            ],
            check=True,
        )
        (place / "wheels").rename(path)
    return path
