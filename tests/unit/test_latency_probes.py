"""TCP, DNS and HTTP probes against servers on loopback that behave, and that do not."""

import asyncio
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.latency import captive, dnsquery, http, tcp
from netvane.latency.dnsquery import PORTS, Question, Reply
from netvane.latency.http import Page

LOCAL = "127.0.0.1"
ANCHOR = "203.0.113.11"
QUESTION = Question("anchor1.example", 4, frozenset({ANCHOR}))
DEADLINE = 0.5  # for what must run into it

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, LOCAL, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


# TCP


def test_tcp_connect_is_timed_by_the_kernel() -> None:
    async def check() -> None:
        async def idle(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with serving(idle) as port:
            found = await tcp.connect(LOCAL, port, 5)
            assert found.outcome == "ok"
            assert found.seconds is not None
            assert 0 < found.seconds < 0.5
            assert 100 <= found.wan_bytes <= 400
        refused = await tcp.connect(LOCAL, port, 5)
        assert refused.outcome == "refused"
        assert refused.seconds is not None

    run(check())


# DNS


def reply_with(query: dns.message.Message, *addresses: str, rcode: int = 0) -> bytes:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.Rcode(rcode))
    if addresses:
        response.answer.append(dns.rrset.from_text_list(query.question[0].name, 60, "IN", "A", list(addresses)))
    return response.to_wire()


def other_id(query: dns.message.Message) -> bytes:
    wire = reply_with(query, ANCHOR)
    return struct.pack("!H", query.id ^ 1) + wire[2:]


def other_question(query: dns.message.Message) -> bytes:
    other = dns.message.make_query("other.example", "A")
    other.id = query.id
    return reply_with(other, ANCHOR)


class UdpServer(asyncio.DatagramProtocol):
    """Answers each question with what `answers` makes of it."""

    def __init__(self, answers: Callable[[dns.message.Message], list[bytes]]) -> None:
        self._answers = answers

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for answer in self._answers(dns.message.from_wire(data)):
            self._send(answer, addr)

    def _send(self, answer: bytes, addr: Any) -> None:
        self._transport.sendto(answer, addr)


class Stranger(UdpServer):
    """Answers from another port than it was asked at."""

    def _send(self, answer: bytes, addr: Any) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.sendto(answer, addr)


def ask_udp(
    monkeypatch: pytest.MonkeyPatch,
    answers: Callable[[dns.message.Message], list[bytes]],
    server: type[UdpServer] = UdpServer,
) -> Reply:
    async def check() -> Reply:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: server(answers), local_addr=(LOCAL, 0))
        monkeypatch.setitem(PORTS, "udp", transport.get_extra_info("sockname")[1])
        try:
            return await dnsquery.ask(LOCAL, "udp", QUESTION, DEADLINE)
        finally:
            transport.close()

    found: Reply = run(check())
    return found


@pytest.mark.parametrize(
    ("answers", "outcome", "strangers"),
    [
        (lambda query: [reply_with(query, ANCHOR)], "ok", 0),
        (lambda query: [reply_with(query, "198.51.100.1", ANCHOR)], "ok", 0),
        (lambda query: [reply_with(query, "198.51.100.1")], "wrong", 0),
        (lambda query: [reply_with(query)], "no_address", 0),
        (lambda query: [reply_with(query, rcode=3)], "nxdomain", 0),
        (lambda query: [reply_with(query, rcode=2)], "servfail", 0),
        (lambda query: [reply_with(query, rcode=5)], "refused", 0),
        (lambda query: [reply_with(query, rcode=9)], "rcode", 0),
        (lambda query: [other_id(query), reply_with(query, ANCHOR)], "ok", 1),
        (lambda query: [other_question(query)], "timeout", 1),
        (lambda query: [b"\xff" * 3, reply_with(query, ANCHOR)[:-3], reply_with(query, ANCHOR)], "ok", 2),
        (lambda _query: [b"\0" * 60_000], "timeout", 1),
        (lambda query: [query.to_wire()], "timeout", 1),
        (lambda _query: [], "timeout", 0),
    ],
)
def test_dns_by_udp(
    monkeypatch: pytest.MonkeyPatch,
    answers: Callable[[dns.message.Message], list[bytes]],
    outcome: str,
    strangers: int,
) -> None:
    reply = ask_udp(monkeypatch, answers)
    assert (reply.outcome, reply.strangers) == (outcome, strangers)
    assert (reply.seconds is None) == (outcome == "timeout")
    assert reply.wan_bytes >= 28 + 12


def test_an_answer_from_another_source_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask_udp(monkeypatch, lambda query: [reply_with(query, ANCHOR)], Stranger).outcome == "timeout"


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_dns_answers_are_read_or_passed_over(rubbish: bytes, tail: bytes) -> None:
    query = dns.message.make_query("anchor1.example", "A")
    for wire in (
        rubbish,
        struct.pack("!H", query.id) + rubbish,
        reply_with(query, ANCHOR)[: -len(tail) or None] + tail,
    ):
        message = dnsquery._read(wire, query)
        assert message is None or dnsquery.outcome_of(message, QUESTION)


def framed(message: bytes) -> bytes:
    return struct.pack("!H", len(message)) + message


async def question_from(reader: asyncio.StreamReader) -> dns.message.Message:
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    return dns.message.from_wire(await reader.readexactly(length))


def streams(sent: Callable[[dns.message.Message], bytes]) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent(await question_from(reader)))
        await writer.drain()
        await reader.read()

    return handle


async def hang_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await question_from(reader)


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (streams(lambda query: framed(reply_with(query, ANCHOR))), "ok"),
        (streams(lambda query: framed(other_id(query))), "malformed"),
        (streams(lambda _query: framed(b"\xff" * 30)), "malformed"),
        (streams(lambda query: b"\xff\xff" + reply_with(query, ANCHOR)), "timeout"),
        (streams(lambda _query: b""), "timeout"),
        (streams(lambda _query: framed(b"")), "malformed"),
        (hang_up, "refused"),
    ],
)
@pytest.mark.parametrize("transport", ["tcp", "dot"])
def test_dns_by_stream(
    monkeypatch: pytest.MonkeyPatch, server_context: ssl.SSLContext, transport: Any, handler: Handler, outcome: str
) -> None:
    async def check() -> None:
        async with serving(handler, server_context if transport == "dot" else None) as port:
            monkeypatch.setitem(PORTS, transport, port)
            reply = await dnsquery.ask(LOCAL, transport, QUESTION, DEADLINE)
            # A reset may come as one or as the end of the stream.
            assert reply.outcome in ({"refused", "malformed"} if outcome == "refused" else {outcome})

    run(check())


def test_dot_to_what_is_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example ESMTP\r\n" * 10)
        await writer.drain()

    async def check() -> None:
        async with serving(plain) as port:
            monkeypatch.setitem(PORTS, "dot", port)
            assert (await dnsquery.ask(LOCAL, "dot", QUESTION, DEADLINE)).outcome in {"tls", "refused"}

    run(check())


# HTTP


def certificate(directory: Path, name: str, days: int) -> ssl.SSLContext:
    """A server with a certificate for `name` that is its own authority; good for `days` from now, or until then."""
    request = ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"]
    (directory / "extensions").write_text(f"subjectAltName=DNS:{name}\n")
    sign = ["-in", f"{name}.csr", "-signkey", f"{name}.key", "-extfile", "extensions", "-out", f"{name}.pem"]
    for command in (["openssl", "req", *request], ["openssl", "x509", "-req", "-days", str(days), *sign]):
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{name}.pem", directory / f"{name}.key")
    return context


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def server_context(directory: Path) -> ssl.SSLContext:
    return certificate(directory, "good.example", 2)


def says(*pieces: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof() if writer.can_write_eof() else writer.close()
        await reader.read()

    return handle


def forever(start: bytes, again: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start)
        while True:
            writer.write(again)
            await writer.drain()

    return handle


def fetch(handler: Handler, deadline: float = 5, path: str = "/") -> Page:
    async def check() -> Page:
        async with serving(handler) as port:
            return await http.get(urlsplit(f"http://check.example:{port}{path}"), LOCAL, deadline, None)

    page: Page = run(check())
    return page


def test_a_page_has_its_phases() -> None:
    page = fetch(says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", b"lo"), path="/a?b=c")
    assert (page.outcome, page.status, page.body) == ("ok", 200, b"hello")
    assert list(page.phases) == ["connect", "first_byte", "transfer"]
    assert page.wan_bytes > 200


@pytest.mark.parametrize(
    ("handler", "deadline", "outcome"),
    [
        (says(b"HTTP/1.1 302 Found\r\nLocation: http://check.example/\r\nContent-Length: 0\r\n\r\n"), 5, "ok"),
        (says(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"), 5, "ok"),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), 5, "ok"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"), 5, "malformed"),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 5, "malformed"),
        (says(b"\0\xff\r\n\r\n"), 5, "malformed"),
        (says(b"HTTP/1.1 200 OK\r\nLocation: \xff\xfe\r\n\r\n"), 5, "malformed"),
        (says(b""), 5, "malformed"),
        (forever(b"HTTP/1.1 200 OK\r\n", b"X-Pad: 1\r\n" * 100), 5, "malformed"),
        (forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000), 5, "too_large"),
        (forever(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"), DEADLINE, "timeout"),
    ],
)
def test_http_of_every_kind(handler: Handler, deadline: float, outcome: str) -> None:
    page = fetch(handler, deadline)
    assert page.outcome == outcome
    assert len(page.body) <= http.MAX_BODY


def test_silence_is_a_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    assert fetch(silent, DEADLINE).outcome == "timeout"


@pytest.mark.parametrize("name", ["good.example", "other.example", "expired.example"])
def test_certificates(directory: Path, server_context: ssl.SSLContext, name: str) -> None:
    """A good one; one for another name; one that has expired."""
    context = server_context
    if name != "good.example":
        context = certificate(directory, name, -1 if name == "expired.example" else 2)
    asked = "good.example" if name == "other.example" else name
    trust = ssl.create_default_context(cafile=str(directory / f"{name}.pem"))

    async def check() -> Page:
        handler = says(b"HTTP/1.1 204 No Content\r\n\r\n")
        async with serving(handler, context) as port:
            return await http.get(urlsplit(f"https://{asked}:{port}/"), LOCAL, 5, trust)

    page = run(check())
    assert page.outcome == ("ok" if name == "good.example" else "tls")
    assert ("tls" in page.phases) == (name == "good.example")


@pytest.mark.parametrize(
    ("said", "outcome"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "tls"), (b"\x16\x03\x03\xff\xff" + b"\xff" * 300, "tls"), (b"", "timeout")],
)
def test_what_is_no_tls(said: bytes, outcome: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        await writer.drain()
        await reader.read()

    async def check() -> Page:
        async with serving(answer) as port:
            return await http.get(
                urlsplit(f"https://check.example:{port}/"), LOCAL, DEADLINE, ssl.create_default_context()
            )

    assert run(check()).outcome == outcome


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin", True),
        (b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n", True),
        (b"", None),
    ],
)
def test_captive_portals(answer: bytes, found: bool | None) -> None:
    assert captive.is_captive(fetch(says(answer))) is found
