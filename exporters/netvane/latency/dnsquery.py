"""DNS probes: one question to one resolver by UDP, TCP or TLS (DoT), timed from sending to the answer.

dnspython builds and reads the messages; the sockets are our own because its clock is the wall's and starts before the
socket is made.
"""

import asyncio
import socket
import ssl
import struct
import time
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from netvane.latency import tcp
from netvane.latency.settings import Transport

PORTS: dict[Transport, int] = {"udp": 53, "tcp": 53, "dot": 853}
_UDP_HEADER = 8
_MAX_MESSAGE = 65535


class Question(NamedTuple):
    """What to ask; `expected` are addresses of which the answer must have one (empty: any address is fine)."""

    name: str
    family: int
    expected: frozenset[str]


class Reply(NamedTuple):
    """`outcome` is ok, wrong, no_address, nxdomain, servfail, refused, rcode, timeout, unreachable, malformed, tls or
    error. `seconds` is None where no valid message came. `strangers` counts datagrams that were no answer to this
    question: another id, another question, not DNS at all.
    """

    outcome: str
    seconds: float | None
    wan_bytes: int
    strangers: int = 0


async def ask(server: str, transport: Transport, question: Question, deadline_seconds: float) -> Reply:
    """Ask `server`; never longer than the deadline, never raises for what the network or the server does."""
    kind = dns.rdatatype.A if question.family == 4 else dns.rdatatype.AAAA
    query = dns.message.make_query(question.name, kind)
    exchange = _by_udp if transport == "udp" else _by_stream
    cost = _Cost(tcp.IPV6_HEADER if ":" in server else tcp.IPV4_HEADER)
    try:
        async with asyncio.timeout(deadline_seconds):
            message, seconds = await exchange(server, transport, query, cost)
    except TimeoutError:
        return Reply("timeout", None, cost.wan_bytes, cost.strangers)
    except ssl.SSLError:
        return Reply("tls", None, cost.wan_bytes)
    except (dns.exception.DNSException, asyncio.IncompleteReadError, struct.error, ValueError):
        return Reply("malformed", None, cost.wan_bytes, cost.strangers)
    except OSError as error:
        return Reply(tcp.outcome_of(error), None, cost.wan_bytes, cost.strangers)
    return Reply(outcome_of(message, question), seconds, cost.wan_bytes, cost.strangers)


class _Cost:
    def __init__(self, ip_header: int) -> None:
        self.ip_header = ip_header
        self.wan_bytes = 0
        self.strangers = 0


async def _by_udp(
    server: str, transport: Transport, query: dns.message.Message, cost: _Cost
) -> tuple[dns.message.Message, float]:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    wire = query.to_wire()
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as talking:
        talking.connect((server, PORTS[transport]))  # the kernel then lets nobody else's datagrams in
        start = time.monotonic()
        talking.send(wire)
        cost.wan_bytes += cost.ip_header + _UDP_HEADER + len(wire)
        while True:
            answer = await loop.sock_recv(talking, _MAX_MESSAGE)
            seconds = time.monotonic() - start
            cost.wan_bytes += cost.ip_header + _UDP_HEADER + len(answer)
            message = _read(answer, query)
            if message is not None:
                return message, seconds
            cost.strangers += 1


def _read(wire: bytes, query: dns.message.Message) -> dns.message.Message | None:
    """The answer to `query` in `wire`, or None where it is none."""
    try:
        message = dns.message.from_wire(wire)
    except dns.message.Truncated as truncated:
        message = truncated.message()  # type: ignore[no-untyped-call]
    except (dns.exception.DNSException, ValueError):
        return None
    return message if query.is_response(message) else None


async def _by_stream(
    server: str, transport: Transport, query: dns.message.Message, cost: _Cost
) -> tuple[dns.message.Message, float]:
    loop = asyncio.get_running_loop()
    wire = query.to_wire()
    with tcp.open_socket(server) as connecting:
        start = time.monotonic()
        await loop.sock_connect(connecting, (server, PORTS[transport]))
        context = _dot_context() if transport == "dot" else None
        reader, writer = await asyncio.open_connection(
            sock=connecting, ssl=context, server_hostname=server if context else None
        )
        try:
            writer.write(struct.pack("!H", len(wire)) + wire)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = await reader.readexactly(length)
            seconds = time.monotonic() - start
            cost.wan_bytes += tcp.traffic(connecting).wan_bytes
        finally:
            writer.transport.abort()
    message = dns.message.from_wire(answer)
    if not query.is_response(message):
        raise ValueError("not an answer to the question")
    return message, seconds


def _dot_context() -> ssl.SSLContext:
    """Opportunistic privacy as in RFC 7858, section 4.1: whether the resolver answers is asked here, not who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def outcome_of(message: dns.message.Message, question: Question) -> str:
    """What an answer to `question` says, as a short word for a label."""
    rcode = message.rcode()
    if rcode != dns.rcode.NOERROR:
        words = {dns.rcode.NXDOMAIN: "nxdomain", dns.rcode.SERVFAIL: "servfail", dns.rcode.REFUSED: "refused"}
        return words.get(rcode, "rcode")
    kinds = {dns.rdatatype.A, dns.rdatatype.AAAA}
    addresses = {record.address for found in message.answer if found.rdtype in kinds for record in found}
    if not addresses:
        return "no_address"
    return "ok" if not question.expected or question.expected & addresses else "wrong"
