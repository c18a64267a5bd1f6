"""Where `netvane up` keeps things, to whom they belong, and the lock that makes it the only one there.

    DATA/             root's, 0755           RUN/            root's, its group netvane may add to it (1775)
    DATA/up.lock      root's                 RUN/up/         root's, readable for netvane: what `up` writes
    DATA/<part>/      netvane's, 0700        RUN/*.sock, *.json   the parts' own
    DATA/grafana.password   netvane's, 0600

Root writes only where nobody else can: otherwise a part that was taken over could put a symbolic link there and have
root overwrite another file. Without root all of it belongs to whoever runs `up`, 0700.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from netvane.common.settings import Storage
from netvane.up.privileges import Identity, can

PASSWORD_BYTES = 18
LONGEST_SOCKET_PATH = 107  # sun_path of unix(7) without its final zero byte


class UpError(Exception):
    """`up` cannot go on: one line for whoever typed it."""


class Places(NamedTuple):
    data: Path
    run: Path

    @property
    def own(self) -> Path:
        return self.run / "up"

    @property
    def notify(self) -> Path:
        return self.own / "notify"

    @property
    def rendered(self) -> Path:
        return self.own / "rendered"

    @property
    def grafana(self) -> Path:
        """The parts' copy of grafana.ini, provisioning and dashboards, for the same reason as `configuration`."""
        return self.own / "grafana"

    @property
    def grafana_password(self) -> Path:
        """Of the user `admin`; beside Grafana's own directory, where only root can put a file."""
        return self.data / "grafana.password"

    @property
    def configuration(self) -> Path:
        """The parts' copy of netvane.yml: the original may lie in a home directory that they cannot enter."""
        return self.own / "netvane.yml"


def choose(storage: Storage, data: Path | None, run: Path | None) -> Places:
    """The command line's directories, else the file's; without root the defaults lie in the user's own directories."""
    default = Storage()
    if os.geteuid() != 0:
        home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "netvane"
        if data is None and storage.data_dir == default.data_dir:
            data = home
        if run is None and storage.run_dir == default.run_dir:
            runtime = os.environ.get("XDG_RUNTIME_DIR")
            run = Path(runtime) / "netvane" if runtime else (data or storage.data_dir) / "run"
    return Places((data or storage.data_dir).absolute(), (run or storage.run_dir).absolute())


def lock(data: Path) -> int:
    """Make `data` and keep everybody else out for as long as the returned descriptor is open. Raises UpError."""
    path = data / "up.lock"
    try:
        data.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise UpError(f"the data directory {data} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        raise UpError(f"already running with the data directory {data}, as process {holder or 'unknown'}") from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def make(places: Places, who: Identity | None) -> None:
    """Make what lies in the run directory. Raises UpError."""
    longest = places.notify / "alertmanager"
    if len(os.fsencode(longest)) > LONGEST_SOCKET_PATH:
        raise UpError(f"the run directory's name is too long for sockets in it: {places.run}")
    try:
        places.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if who is not None:
            os.chown(places.run, 0, who.gid)
            places.run.chmod(0o1775)
        for path in (places.own, places.notify):
            _own_directory(path, who)
    except OSError as error:
        raise UpError(f"the run directory {places.run} cannot be written: {error.strerror}") from error


def _own_directory(path: Path, who: Identity | None) -> None:
    """A directory of `up`'s own that the parts may enter and read. Raises OSError, UpError."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise UpError(f"{path} is not a directory of {'root' if who else 'yours'}: remove it")
    if who is not None:
        os.chown(path, 0, who.gid)
        path.chmod(0o750)


def make_state(directories: Iterable[Path], who: Identity | None) -> None:
    """The parts' own directories, each for its user only. Raises UpError."""
    for path in directories:
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            if who is not None and path.lstat().st_uid != who.uid:
                os.chown(path, who.uid, who.gid, follow_symlinks=False)
        except OSError as error:
            raise UpError(f"{path} cannot be made: {error.strerror}") from error
        if not can(who, "-w", path):
            user = f"the user {who.name}" if who else "you"
            raise UpError(f"{path} cannot be written by {user} (each directory above it has to be open to enter)")


def make_password(path: Path, who: Identity | None) -> None:
    """A password that nobody else has, in a file for the parts' user only; one that is there stays. Raises OSError."""
    if path.exists():
        return
    owner = None if who is None else (who.uid, who.gid)
    _replace(path, secrets.token_urlsafe(PASSWORD_BYTES).encode() + b"\n", owner, 0o600)


def write_for_parts(path: Path, content: bytes, who: Identity | None) -> None:
    """Replace a file in `up`'s own directory, readable for the parts. Raises OSError."""
    _replace(path, content, *((None, 0o600) if who is None else ((0, who.gid), 0o640)))


def _replace(path: Path, content: bytes, owner: tuple[int, int] | None, mode: int) -> None:
    """Whoever looks sees the old file or the new one, whole; nobody else could ever open what is in the making."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if owner is not None:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
    temporary.replace(path)
