"""Reading a lease file whole, with those that belong to it."""

import errno
import os
from pathlib import Path
from typing import NamedTuple

from netvane.dhcp import formats, kea_leases
from netvane.dhcp.lease import Damage, Format, Lease

MAX_BYTES = 256 * 2**20


class FileState(NamedTuple):
    """What tells one state of a file from another."""

    path: Path
    device: int
    inode: int
    size: int
    modified_ns: int


class Contents(NamedTuple):
    """What a lease file said; `states` are those of its siblings and then its own, from before it was read."""

    lease_format: Format | None
    states: tuple[FileState, ...]
    leases: dict[str, Lease]
    damage: tuple[tuple[Path, Damage], ...]
    complete: bool


def look(path: Path, lease_format: Format | None) -> tuple[FileState, ...]:
    """The state of the lease file at `path`, after those of what else is to be read for it. Raises OSError."""
    siblings = _siblings(path) if lease_format in {"kea4", "kea6"} else []
    return tuple(_state(file) for file in (*siblings, path))


def read(path: Path, known_format: Format | None) -> Contents:
    """Parse the lease file at `path`; an empty one is in the format that it had. Blocks. Raises OSError."""
    own_state = _state(path)
    text = _text(own_state)
    lease_format = formats.recognize(text) or (known_format if not text.strip() else None)
    siblings = look(path, lease_format)[:-1]
    leases: dict[str, Lease] = {}
    damage: list[tuple[Path, Damage]] = []
    for state in siblings:
        older = formats.parse(_text(state), lease_format)
        leases.update(older.leases)
        damage += [(state.path, found) for found in older.damage]
    parsed = formats.parse(text, lease_format)
    leases.update(parsed.leases)
    damage += [(path, found) for found in parsed.damage]
    return Contents(lease_format, (*siblings, own_state), leases, tuple(damage), parsed.complete)


def is_growth(before: tuple[FileState, ...], after: tuple[FileState, ...]) -> bool:
    """Whether nothing but more at its end can have come to the lease file: then what was read is still true."""
    *siblings, own = before
    *later_siblings, later = after
    return siblings == later_siblings and own[:3] == later[:3] and own.size <= later.size


def _siblings(path: Path) -> list[Path]:
    for group in kea_leases.SIBLINGS:
        found = [file for suffix in group if (file := path.with_name(path.name + suffix)).exists()]
        if found:
            return found
    return []


def _state(path: Path) -> FileState:
    status = path.stat()
    return FileState(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _text(state: FileState) -> bytes:
    if state.size > MAX_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(state.path))
    with state.path.open("rb") as file:
        return file.read(MAX_BYTES)
