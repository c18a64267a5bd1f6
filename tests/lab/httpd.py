"""An HTTP server in the test's own process, on a socket that was opened inside a namespace."""

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go away before they have their answer."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Httpd:
    """``with Httpd(ns.listen("0.0.0.0", 80), Handler): …``; one thread per connection."""

    def __init__(self, listener: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = _Server(("", 0), handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class QuietHandler(BaseHTTPRequestHandler):
    """A handler that writes no access log."""

    timeout = 30.0

    def log_message(self, *_args: Any) -> None:
        pass
