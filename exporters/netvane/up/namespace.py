"""`--netns NAME`: the same command again, inside a network namespace that ip-netns(8) made.

nsenter(1) changes the network and nothing else; `ip netns exec` would mount another /sys as well. Like it, the files
of /etc/netns/NAME take the place of those of /etc, so that the namespace has resolvers of its own.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from netvane.up.places import UpError

NAMESPACES = Path("/run/netns")
FILES = Path("/etc/netns")

# $0 is the directory with the files, $@ the command.
_BIND = """
for file in "$0"/*; do
    if [ -f "/etc/${file##*/}" ]; then mount --bind "$file" "/etc/${file##*/}" || exit 1; fi
done
exec "$@"
"""


def is_inside(name: str) -> bool:
    """Whether this process is in the namespace `name`. Raises UpError where there is none."""
    path = _path(name)
    here, there = Path("/proc/self/ns/net").stat(), path.stat()
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _path(name: str) -> Path:
    path = NAMESPACES / name
    if "/" in name or name in {"", ".", ".."} or not path.exists():
        there = sorted(entry.name for entry in NAMESPACES.iterdir()) if NAMESPACES.is_dir() else []
        raise UpError(f"no network namespace {name!r}; there are: {', '.join(there) or 'none'}")
    return path


def enter_command(name: str, command: Sequence[str]) -> list[str]:
    """What runs `command` in the namespace `name`. Raises UpError."""
    inside = ["nsenter", f"--net={_path(name)}", "--"]
    if (FILES / name).is_dir():
        inside += ["unshare", "--mount", "--", "sh", "-c", _BIND, str(FILES / name)]
    return [*inside, *command]


def enter(name: str, command: Sequence[str]) -> NoReturn:
    """Replace this process by `command` in the namespace `name`. Raises UpError."""
    if os.geteuid() != 0:
        raise UpError("--netns needs root")
    inside = enter_command(name, command)
    os.execvp(inside[0], inside)  # noqa: S606 - no shell, on purpose
