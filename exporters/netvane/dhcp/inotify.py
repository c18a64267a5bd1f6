"""Being told by the kernel when files in a directory change: inotify(7).

Three calls into the C library through ctypes: their interface is part of the kernel's promise to programs, and a
package around them would bring more code than it saves.
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

# linux/inotify.h
_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_IGNORED, _OVERFLOW = 0x8000, 0x4000
_ONLYDIR = 0x01000000
_CHANGES = (
    _MODIFY
    | _ATTRIB
    | _CLOSE_WRITE
    | _MOVED_FROM
    | _MOVED_TO
    | _CREATE
    | _DELETE
    | _DELETE_SELF
    | _MOVE_SELF
    | _ONLYDIR
)
_EVENT = struct.Struct("=iIII")  # struct inotify_event: watch, mask, cookie, length of the name after it
_BUFFER_BYTES = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Watches directories; readable (`fileno`) when something changed in one."""

    def __init__(self) -> None:
        """Raises OSError: this user has too many of them (fs.inotify.max_user_instances)."""
        self._descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")
        self._directories: dict[int, Path] = {}

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)

    def watch(self, directories: set[Path]) -> set[Path]:
        """Watch these and no others; gives back those that cannot be watched (absent, or not ours to read)."""
        for number, directory in list(self._directories.items()):
            if directory not in directories:
                _libc.inotify_rm_watch(self._descriptor, number)
                del self._directories[number]
        failed = set()
        for directory in directories - set(self._directories.values()):
            try:
                number = _checked(
                    _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _CHANGES), directory
                )
            except OSError:
                failed.add(directory)
            else:
                self._directories[number] = directory
        return failed

    def changed(self) -> Iterator[Path]:
        """Files that something happened to since the last call; a directory itself where all in it may be different."""
        while True:
            try:
                events = os.read(self._descriptor, _BUFFER_BYTES)
            except BlockingIOError:
                return
            at = 0
            while at < len(events):
                number, mask, _, length = _EVENT.unpack_from(events, at)
                name = events[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                yield from self._meant(number, mask, os.fsdecode(name))

    def _meant(self, number: int, mask: int, name: str) -> Iterator[Path]:
        if mask & _OVERFLOW:
            yield from self._directories.values()
            return
        directory = self._directories.get(number)
        if directory is None:
            return
        if mask & (_IGNORED | _MOVE_SELF):  # gone, or another directory has its name now
            _libc.inotify_rm_watch(self._descriptor, number)
            del self._directories[number]
        yield directory / name if name else directory


def _checked(result: int, what: object) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(what))
    return result
