"""The HTTP endpoint of one exporter: /metrics, /-/healthy, /-/ready and a landing page.

It runs in threads of its own, so that a scrape does not hold up the working loop. Answers are not compressed: on the
same machine that would be work for nothing.
"""

import base64
import binascii
import contextlib
import html
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from netvane.common.exposition import CONTENT_TYPE, render
from netvane.common.log import get_logger
from netvane.common.webconfig import WebConfig

log = get_logger("web")

MAX_CONNECTIONS = 16
IDLE_SECONDS = 75  # longer than the slowest scrape interval, so that Prometheus keeps its connection


class State(NamedTuple):
    """What the health pages say: `healthy` and `ready` are None where all is well, else the reason."""

    healthy: str | None
    ready: str | None
    degraded: tuple[str, ...] = ()


class Endpoint:
    """Serves until `close`. Raises OSError where the address cannot be had."""

    def __init__(
        self,
        name: str,
        address: tuple[str, int],
        config: WebConfig,
        registry: CollectorRegistry,
        state: Callable[[], State],
    ) -> None:
        self.name = name
        self.config = config
        self.registry = registry
        self.state = state
        self._server = _Server(address, self)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port as bound; tells the port where 0 was asked for."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a connection
        self._thread.join(timeout=1)
        self._server.server_close()

    def _serve(self) -> None:
        # Not serve_forever: that looks twice a second whether it is to end.
        while not self._closing:
            self._server.handle_request()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.address_family = socket.AF_INET6 if ":" in address[0] or not address[0] else socket.AF_INET
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6 and not self.server_address[0]:
            with contextlib.suppress(OSError):  # ":9741" means both families
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer.server_bind: that one looks its own name up in DNS, which can hang.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            log.warning("too many connections", limit=MAX_CONNECTIONS, peer=client_address[0])
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(IDLE_SECONDS)
            if context := self.endpoint.config.ssl_context:
                # Here and not at accept(): a client that is slow to shake hands keeps nobody else waiting.
                request = context.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except (OSError, ssl.SSLError) as error:
            log.debug("connection failed", peer=client_address[0], error=error)
            self.shutdown_request(request)
        finally:
            self._slots.release()

    def handle_error(self, _request: Any, client_address: Any) -> None:
        log.debug("request failed", peer=client_address[0], error=sys.exc_info()[1])


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "netvane"
    sys_version = ""
    wbufsize = -1  # head and body leave in one segment

    def do_GET(self) -> None:
        endpoint = self.server.endpoint
        if endpoint.config.needs_password and not self._is_authorized():
            self._answer(HTTPStatus.UNAUTHORIZED, "Unauthorized\n", extra={"WWW-Authenticate": 'Basic realm="netvane"'})
            return
        match urlsplit(self.path).path:
            case "/metrics":
                self._answer(HTTPStatus.OK, render(endpoint.registry.collect()), CONTENT_TYPE)
            case "/-/healthy":
                self._answer_state(endpoint.state().healthy)
            case "/-/ready":
                self._answer_state(endpoint.state().ready)
            case "/":
                self._answer(HTTPStatus.OK, _landing_page(endpoint), "text/html; charset=utf-8")
            case _:
                self._answer(HTTPStatus.NOT_FOUND, "Not found; see /\n")

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _answer_state(self, problem: str | None) -> None:
        if problem is None:
            self._answer(HTTPStatus.OK, "OK\n")
        else:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, problem + "\n")

    def _answer(
        self,
        status: HTTPStatus,
        body: str | bytes,
        content_type: str = "text/plain; charset=utf-8",
        extra: dict[str, str] | None = None,
    ) -> None:
        encoded = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(encoded)),
            "X-Content-Type-Options": "nosniff",
            **self.server.endpoint.config.headers,
            **(extra or {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(encoded)

    def _is_authorized(self) -> bool:
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        try:
            user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and bool(colon) and self.server.endpoint.config.is_right(user, password)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        log.debug("request", line=format % args, peer=self.client_address[0])


def _landing_page(endpoint: Endpoint) -> str:
    state = endpoint.state()
    lines = [line for line in (state.healthy, state.ready, *state.degraded) if line] or ["ready"]
    rows = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    title = html.escape(f"netvane {endpoint.name}")
    return (
        f'<!doctype html><html lang="en"><title>{title}</title><h1>{title}</h1><ul>{rows}</ul>'
        '<p><a href="/metrics">Metrics</a> · <a href="/-/healthy">Healthy</a> · <a href="/-/ready">Ready</a></p>'
        "</html>\n"
    )
