"""A small real HTTP server that takes Loki pushes, keeps their lines, and misbehaves on request.

Like Loki it stores the good lines of a push and answers 400 for the others, naming at most ten of them. Unlike Loki it
keeps every line that it gets twice, so that tests can count them.

As a program, `python -m tests.lokisink --journal FILE [--port N]` writes each line to FILE before it answers, and the
port that it listens on to standard output.
"""

import argparse
import gzip
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


class StoredLine(NamedTuple):
    labels: dict[str, str]
    ts: int
    line: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class Behaviour:
    """`status` other than 204 refuses the whole push; the limits below it refuse single lines, as Loki does."""

    status: int = 204
    text: str = ""
    retry_after: str | None = None
    hang: bool = False  # reads the push and says nothing
    drip: bool = False  # answers one byte at a time, for ever
    drop: bool = False  # closes the connection without a word
    behind_ns: int | None = None  # how far a line may be behind the newest of its stream
    oldest: int | None = None  # the oldest time taken at all
    poison: str | None = None  # a line with this text in it is refused
    terse: bool = False  # says what is wrong, but names neither lines nor times


@dataclass
class LokiSink:
    behaviour: Behaviour = field(default_factory=Behaviour)
    script: list[Behaviour] = field(default_factory=list)  # used up first, one for each push
    journal: Path | None = None
    port: int = 0
    keep: bool = True  # lines in memory; off for benches
    lines: list[StoredLine] = field(default_factory=list)
    count: int = 0
    pushes: list[dict[str, str]] = field(default_factory=list)  # the headers of each
    changed: threading.Condition = field(default_factory=threading.Condition)
    newest: dict[str, int] = field(default_factory=dict)  # by stream
    closing: threading.Event = field(default_factory=threading.Event)
    connections: list[socket.socket] = field(default_factory=list)  # that are open now
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until `condition` holds after some push. Raises AssertionError when it never does."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), f"{len(self.lines)} lines, {len(self.pushes)} pushes"

    def bodies(self, **labels: str) -> list[dict[str, Any]]:
        """The events that arrived in streams with these labels, in the order of arrival."""
        return [json.loads(line.line) for line in self.lines if labels.items() <= line.labels.items()]

    @contextmanager
    def running(self) -> Iterator["LokiSink"]:
        sink = self

        class Handler(_Handler):
            owner = sink

        server = _Server(("127.0.0.1", self.port), Handler, self)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            server.shutdown()
            server.cut()
            server.server_close()
            thread.join()

    def take(self, headers: dict[str, str], body: bytes) -> tuple[Behaviour, int, str]:
        """What to do about a push, and the status and text of the answer to it."""
        with self.changed:
            behaviour = self.script.pop(0) if self.script else self.behaviour
            self.pushes.append(headers)
            status, text = behaviour.status, behaviour.text
            if status == 204 and not (behaviour.hang or behaviour.drop or behaviour.drip):
                text = self._store(json.loads(gzip.decompress(body)), behaviour)
                status = 400 if text else 204
            self.changed.notify_all()
        return behaviour, status, text

    def _store(self, push: dict[str, Any], behaviour: Behaviour) -> str:
        complaint = ""
        assert len(push["streams"]) == 1, "of several streams Loki says only what became of the last"
        for stream in push["streams"]:
            labels = stream["stream"]
            name = json.dumps(labels, sort_keys=True)
            behind: list[int] = []
            accepted = []
            for ts_text, line, *metadata in stream["values"]:
                assert isinstance(ts_text, str)
                ts = int(ts_text)
                if behaviour.oldest is not None and ts < behaviour.oldest:
                    cutoff = _rfc3339(behaviour.oldest)
                    complaint = (
                        f"entry for stream '{name}' has timestamp too old: {_rfc3339(ts)}, "
                        f"oldest acceptable timestamp is: {cutoff}"
                    )
                elif behaviour.poison is not None and behaviour.poison in line:
                    complaint = f"Max entry size '1' bytes exceeded for stream '{name}' while adding an entry"
                elif behaviour.behind_ns is not None and ts < self.newest.get(name, 0) - behaviour.behind_ns:
                    behind.append(ts)
                else:
                    self.newest[name] = max(ts, self.newest.get(name, 0))
                    accepted.append(StoredLine(labels, ts, line, metadata[0] if metadata else {}))
            self._keep(accepted)
            if behind:
                cutoff = _rfc3339(self.newest[name] - (behaviour.behind_ns or 0))
                listed = "".join(
                    f"entry with timestamp {_go_time(ts)} ignored, reason: 'entry too far behind, entry timestamp is: "
                    f"{_rfc3339(ts)}, oldest acceptable timestamp is: {cutoff}',\n"
                    for ts in behind[:10]
                )
                complaint = f"{listed}user 'fake', total ignored: {len(behind)} out of {len(behind) + len(accepted)}"
                if behaviour.terse:
                    complaint = "entry too far behind"
        return complaint

    def _keep(self, accepted: list[StoredLine]) -> None:
        self.count += len(accepted)
        if self.keep:
            self.lines += accepted
        if self.journal is not None:
            with self.journal.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in accepted)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], sink: LokiSink) -> None:
        super().__init__(address, handler)
        self._sink = sink

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._sink.tls is not None:  # the handshake happens with the first read, in the handler's thread
            connection = self._sink.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._sink.connections.append(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._sink.connections.remove(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """Wake the handlers that wait for a next request on a connection kept alive."""
        for connection in list(self._sink.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(
            sys.exception(), ConnectionError
        ):  # clients that are killed, or give up, are what tests are about
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: LokiSink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        behaviour, status, text = self.owner.take(dict(self.headers.items()) | {"path": self.path}, body)
        if behaviour.hang:
            self.owner.closing.wait(120)
        if behaviour.hang or behaviour.drop:
            self.close_connection = True
            return
        if behaviour.drip:
            self.wfile.write(b"HTTP/1.1 ")
            while not self.owner.closing.wait(0.02):
                self.wfile.write(b"2")
        answer = text.encode()
        self.send_response(status)
        if behaviour.retry_after is not None:
            self.send_header("Retry-After", behaviour.retry_after)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def _rfc3339(ts: int) -> str:
    return f"{datetime.fromtimestamp(ts // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _go_time(ts: int) -> str:
    fraction = f"{ts % 10**9:09d}".rstrip("0")
    return f"{datetime.fromtimestamp(ts // 10**9, UTC):%Y-%m-%d %H:%M:%S}{'.' * bool(fraction)}{fraction} +0000 UTC"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--forget", action="store_true", help="count lines only")
    options = parser.parse_args()
    sink = LokiSink(Behaviour(hang=options.hang), journal=options.journal, port=options.port, keep=not options.forget)
    with sink.running():
        print(sink.port, flush=True)
        while command := sys.stdin.readline().strip():  # ends with the test that started it
            print(sink.count if command == "count" else "?", flush=True)


if __name__ == "__main__":
    main()
