"""One kept-alive HTTP connection to Loki, with a deadline for each push."""

import base64
import contextlib
import email.utils
import http.client
import select
import socket
import ssl
import threading
from typing import NamedTuple
from urllib.parse import urlsplit

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.config import ConfigError, read_secret
from netvane.common.settings import Loki

PUSH_PATH = "/loki/api/v1/push"
DEADLINE_SECONDS = 30.0
ANSWER_BYTES = 64 * 1024


class Response(NamedTuple):
    status: int
    body: bytes  # at most ANSWER_BYTES of it
    retry_after_seconds: float


class LokiHttp:
    """Used by one thread; `shut` by any."""

    def __init__(self, settings: Loki, url: str, clock: Clock, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Raises ConfigError for an address, a tenant, a password or CA file that cannot be used."""
        address = urlsplit(url)
        try:
            self._host, self._port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
            (settings.tenant or "").encode("latin-1")  # as a header of HTTP must be
        except ValueError as error:
            raise ConfigError(str(error), key="loki") from error
        self._path = address.path.rstrip("/").removesuffix(PUSH_PATH) + PUSH_PATH
        self._context = _tls(settings) if address.scheme == "https" else None
        self._headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "User-Agent": "netvane"}
        if settings.tenant is not None:
            self._headers["X-Scope-OrgID"] = settings.tenant
        if settings.username is not None and settings.password_file is not None:
            pair = f"{settings.username}:{read_secret(settings.password_file)}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        self._clock = clock
        self._deadline = deadline_seconds
        self._connection: http.client.HTTPConnection | None = None
        self._line: socket.socket | None = None  # the same TCP connection once more, to cut it from another thread
        self._cutting = threading.Lock()
        self._shut = False

    def push(self, body: bytes) -> Response:
        """POST `body`. Raises OSError (TimeoutError included) or http.client.HTTPException."""
        # A socket's timeout starts anew with each byte: a server that drips needs a deadline for the whole.
        late = threading.Event()

        def cut() -> None:
            late.set()
            self._cut()

        deadline = threading.Timer(self._deadline, cut)
        deadline.daemon = True
        deadline.start()
        try:
            connection = self._connected()
            connection.request("POST", self._path, body, self._headers)
            answer = connection.getresponse()
            content = answer.read(ANSWER_BYTES)
            if not answer.isclosed():  # more to come than anybody needs
                self.close()
            return Response(answer.status, content, self._retry_after(answer.getheader("Retry-After")))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if late.is_set():
                raise TimeoutError(f"no whole answer within {self._deadline:g} s") from error
            raise
        finally:
            deadline.cancel()

    def shut(self) -> None:
        """End the push under way, which then raises, as does every later one."""
        self._shut = True
        self._cut()

    def _cut(self) -> None:
        with self._cutting:
            if self._line is not None:
                with contextlib.suppress(OSError):  # already gone
                    self._line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._cutting:
            if self._line is not None:
                self._line.close()
                self._line = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPConnection:
        if self._line is not None and _is_readable(self._line):
            self.close()  # the server closed it, or talks out of turn
        if self._connection is None:
            line = socket.create_connection((self._host, self._port), self._deadline)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._cutting:
                self._line = line.dup()
            if self._shut:
                line.close()
                raise ConnectionAbortedError("shut")
            self._connection = http.client.HTTPConnection(self._host, self._port)
            self._connection.sock = line
            if self._context is not None:
                self._connection.sock = self._context.wrap_socket(line, server_hostname=self._host)
        return self._connection

    def _retry_after(self, header: str | None) -> float:
        """Seconds; RFC 9110 section 10.2.3: a number of them, or a date. 0 where there is none to be read."""
        if header is None:
            return 0.0
        if header.strip().isdecimal():
            return float(header)
        try:
            when = email.utils.parsedate_to_datetime(header)
            return max(0.0, when.timestamp() - self._clock.wall_ns() / NANOSECONDS)
        except (ValueError, OverflowError):
            return 0.0


def _is_readable(line: socket.socket) -> bool:
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(0))


def _tls(settings: Loki) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"cannot be used: {error}", file=settings.ca_file, key="loki.ca_file") from error
