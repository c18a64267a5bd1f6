"""The Unix socket on which a running exporter answers the command line.

Both ways are lines of JSON. A request is ``{"request": "events", "arguments": {…}}``; its answer is any number of
``{"item": …}``, ended by ``{"done": <how many>}`` or ``{"error": "<text>"}``. Requests on a connection are answered
one after the other; whatever is not a request ends its own connection only.

    ControlError            the answer was an error, or broke off
    └─ ControlAbsentError   nobody listens
"""

import asyncio
import errno
import socket
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec

from netvane.common.event_search import Query
from netvane.common.events import EventStore
from netvane.common.log import get_logger

log = get_logger("control")

REQUEST_BYTES = 64 * 1024
LINE_BYTES = 4 * 2**20  # of an answer: the largest event and room around it
CONNECTIONS = 16
DEADLINE_SECONDS = 10.0  # for a client to finish a request, and to take what was sent to it
PAGE_ITEMS = 100

# Arguments as they came in -> JSON values. Raises msgspec.ValidationError for arguments that it cannot use.
Handler = Callable[[msgspec.Raw], AsyncGenerator[bytes, None]]


class ControlError(Exception):
    """The answer was an error, or there was no whole answer; the text says which."""


class ControlAbsentError(ControlError):
    """Nobody listens on the socket: the exporter is not running."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    request: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    item: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    done: int | None = None
    error: str | None = None


def socket_path(run_dir: Path, exporter: str) -> Path:
    """Where an exporter listens."""
    return run_dir / f"{exporter}.sock"


def parse_request(line: bytes) -> Request:
    """Raises ControlError."""
    try:
        return msgspec.json.decode(line, type=Request)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ControlError(f"not a request: {error}") from error


class ControlServer:
    """Answers on the loop that starts it; a slow or silent client costs nobody else anything."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler], deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._path = path
        self._handlers = handlers
        self._deadline = deadline_seconds
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, for the owner and the group only. Raises ControlError."""
        self._listener = _listen(self._path)
        self._watch()

    async def stop(self) -> None:
        """Close every connection and remove the socket."""
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _watch(self) -> None:
        # Not asyncio's own server: that one loses a connection which it accepts while it is being stopped.
        if self._listener is not None and self._listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:  # the client has left again
            return
        except OSError as error:  # no file descriptor is free: the client waits, and the loop must not spin
            log.warning("control connection not accepted", error=error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(1, self._watch)
            return
        if len(self._tasks) >= CONNECTIONS:
            with connection, suppress(OSError):
                connection.send(_line(Answer(error="too many connections")))
            return
        connection.setblocking(False)
        task = asyncio.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(partial(_close, connection))  # also where it is cancelled before it has begun

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=REQUEST_BYTES)
        try:
            while await self._answer_one(reader, writer):
                pass
            writer.close()
            async with asyncio.timeout(self._deadline):
                await writer.wait_closed()
        except (OSError, TimeoutError) as error:  # gone, or no longer taking what it asked for
            log.debug("control connection ended", error=error)
        except Exception:  # a handler's mistake: said, and nobody else's trouble
            log.exception("request failed")
        finally:
            writer.transport.abort()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        try:
            async with asyncio.timeout(self._deadline):
                line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return False
        except asyncio.LimitOverrunError:
            await self._send(writer, Answer(error=f"not a request: longer than {REQUEST_BYTES} bytes"))
            return False
        count = 0
        try:
            async with aclosing(self._items(line)) as items:
                async for item in items:
                    await self._send(writer, Answer(item=msgspec.Raw(item)))
                    count += 1
        except ControlError as error:
            problem = str(error)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            problem = f"arguments: {error}"
        except sqlite3.Error as error:
            log.warning("request failed", error=error)
            problem = f"database: {error}"
        else:
            await self._send(writer, Answer(done=count))
            return True
        await self._send(writer, Answer(error=problem))
        return False

    def _items(self, line: bytes) -> AsyncGenerator[bytes, None]:
        request = parse_request(line)
        if request.request not in self._handlers:
            raise ControlError(f"unknown request; known are {', '.join(sorted(self._handlers))}")
        return self._handlers[request.request](request.arguments)

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        writer.write(_line(answer))
        async with asyncio.timeout(self._deadline):
            await writer.drain()


def events_handler(store: EventStore) -> Handler:
    """Searches `store`, page by page in a thread, so that the loop goes on meanwhile.

    What was appended before the question is in the answer: who saw an alert or a metric finds its event.
    """

    async def handle(arguments: msgspec.Raw) -> AsyncGenerator[bytes, None]:
        query = msgspec.json.decode(arguments, type=Query)
        await asyncio.to_thread(store.flush)
        bodies = store.search(query)
        while page := await asyncio.to_thread(lambda: list(islice(bodies, PAGE_ITEMS))):
            for body in page:
                yield body.encode()

    return handle


def ask(path: Path, request: str, arguments: object, timeout_seconds: float = 60.0) -> Iterator[bytes]:
    """The items of the answer as JSON. `timeout_seconds` is the longest silence. Raises ControlError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(str(path))
            encoded = msgspec.Raw(msgspec.json.encode(arguments))
            with suppress(BrokenPipeError):  # it answered before it was asked: there are too many of us
                connection.sendall(msgspec.json.encode(Request(request, encoded)) + b"\n")
            with connection.makefile("rb") as lines:
                while True:
                    answer = msgspec.json.decode(lines.readline(LINE_BYTES), type=Answer)
                    if answer.error is not None:
                        raise ControlError(answer.error)
                    if answer.done is not None:
                        return
                    if answer.item is not msgspec.UNSET:
                        yield bytes(answer.item)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ControlAbsentError(f"{path}: nobody listens") from error
        except OSError as error:
            raise ControlError(f"{path}: {error.strerror or error}") from error
        except msgspec.DecodeError as error:
            raise ControlError(f"{path}: the answer broke off") from error


def _line(answer: Answer) -> bytes:
    return msgspec.json.encode(answer) + b"\n"


def _close(connection: socket.socket, _: object) -> None:
    connection.close()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        _clear(path)
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen()
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ControlError(f"{path}: {error.strerror or error}") from error
    return listener


def _clear(path: Path) -> None:
    """Remove what a dead process left at `path`. Raises OSError where a live one listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(str(path)) in {0, errno.EAGAIN}:
            raise OSError(errno.EADDRINUSE, "another process listens there")
    path.unlink(missing_ok=True)
