"""A small HTTP proxy (RFC 9110, CONNECT and absolute URLs): the way of a target in the lab to the package mirrors.

It listens inside a namespace and connects from outside it, and only to hosts that it was given.
"""

import contextlib
import http.client
import select
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.lab.netns import Namespace

TIMEOUT_SECONDS = 60.0
CHUNK = 65536


class PackageProxy:
    """``with PackageProxy(namespace, address, 3128, hosts=frozenset({…})) as proxy``."""

    def __init__(self, namespace: Namespace, address: str, port: int, *, hosts: frozenset[str]) -> None:
        self.url = f"http://{address}:{port}"
        self._server = _Server(namespace.listen(address, port), hosts)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def refused(self) -> list[str]:
        """Hosts that were asked for and not allowed."""
        return self._server.refused

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, hosts: frozenset[str]) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.hosts = hosts
        self.refused: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        host, port = url.hostname or "", url.port or 80
        if not self._may(host):
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "proxy-connection"}
        upstream = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        try:
            upstream.request("GET", f"{url.path}?{url.query}" if url.query else url.path, headers=headers)
            answer = upstream.getresponse()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in {"connection", "transfer-encoding"}:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            shutil.copyfileobj(answer, self.wfile, CHUNK)
        except (OSError, http.client.HTTPException) as error:
            with contextlib.suppress(OSError):
                self.send_error(502, str(error))
        finally:
            upstream.close()
            self.close_connection = True

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        if not self._may(host):
            return
        self.close_connection = True
        try:
            upstream = socket.create_connection((host, int(port)), TIMEOUT_SECONDS)
        except OSError as error:
            self.send_error(502, str(error))
            return
        with upstream:
            self.send_response_only(200)
            self.end_headers()
            _relay(self.connection, upstream)

    def _may(self, host: str) -> bool:
        if host in self.server.hosts:
            return True
        self.server.refused.append(host)
        self.send_error(403, f"{host} is no package mirror of this machine")
        return False

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nothing: apt says what went wrong."""


def _relay(left: socket.socket, right: socket.socket) -> None:
    other = {left: right, right: left}
    while ready := select.select([left, right], [], [], TIMEOUT_SECONDS)[0]:
        for source in ready:
            try:
                data = source.recv(CHUNK)
                if not data:
                    return
                other[source].sendall(data)
            except OSError:
                return
