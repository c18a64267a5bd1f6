"""How a part tells that it works: over sd_notify(3), or by the answer of its HTTP endpoint."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from netvane.up.part import RUNNING, Address, State
from netvane.up.privileges import Identity

ANSWER_SECONDS = 5.0


def parse_notification(message: bytes) -> dict[str, str]:
    """``NAME=value`` per line; lines without a ``=`` say nothing."""
    lines = message.decode(errors="replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


class NotifySocket:
    """The service manager's end of sd_notify(3) for one part, at `path`."""

    def __init__(self, path: Path, who: Identity | None, on_message: Callable[[dict[str, str]], None]) -> None:
        """Open it. Raises OSError."""
        self.path = path
        self._on_message = on_message
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        path.chmod(0o600)
        if who is not None:
            os.chown(path, who.uid, who.gid)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._receive)

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._on_message(parse_notification(self._socket.recv(4096)))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self.path.unlink(missing_ok=True)


def notified_state(status: str) -> State:
    """What a ``STATUS=`` of a part that is ready means: ``degraded: why`` or anything else for all is well."""
    word, _, why = status.partition(": ")
    return State("degraded", why) if word == "degraded" else RUNNING


async def asked_state(address: Address, path: str) -> State:
    """RUNNING if a GET of `path` is answered with 200, degraded with the reason otherwise."""
    address = address.near
    url = f"http://{address}{path}"
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            status = await _get(address, path)
    except TimeoutError:
        return State("degraded", f"{url} does not answer within {ANSWER_SECONDS:.0f} s")
    except OSError as error:
        return State("degraded", f"{url} does not answer: {os.strerror(error.errno or 0)}")
    return RUNNING if status == "200" else State("degraded", f"{url} answers {status or 'no HTTP'}")


async def _get(address: Address, path: str) -> str:
    """The status code; empty when the answer is not HTTP. Raises OSError."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        version, _, rest = (await reader.readline()).decode(errors="replace").partition(" ")
        return rest[:3] if version.startswith("HTTP/") else ""
    except ValueError:  # a line without an end
        return ""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
