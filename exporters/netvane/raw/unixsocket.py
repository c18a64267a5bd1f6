"""The file and the listening end of a Unix stream socket: unix(7)."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BACKLOG = 32


class SocketError(Exception):
    """There can be no socket at that path: it is taken, or its directory is missing or not writable."""


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A listening socket, mode 0660, in the place of one that a dead helper left; its file goes with it.

    Raises SocketError.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as channel:
        try:
            _clear(path)
            _bind(channel, path)
        except OSError as error:
            raise SocketError(f"{path}: {error.strerror}") from error
        inode = path.stat().st_ino
        try:
            channel.listen(_BACKLOG)
            yield channel
        finally:
            with suppress(FileNotFoundError):
                if path.stat().st_ino == inode:  # not a successor's
                    path.unlink()


def _bind(channel: socket.socket, path: Path) -> None:
    before = os.umask(0o117)  # what makes it 0660; this process has one thread
    try:
        channel.bind(str(path))
    finally:
        os.umask(before)


def _clear(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketError(f"{path} is not a socket")
        if _answers(path):
            raise SocketError(f"another netvane raw listens on {path}")
        path.unlink()
    except FileNotFoundError:
        return


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # so many wait there that somebody must be listening
            return True
    return True
