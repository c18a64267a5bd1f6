"""The Internet of a home, one process in `net`: a name server and web servers on every address there.

``python -m tests.lab.internet [CERTIFICATE KEY]``: with these, DoT and HTTPS as well. Steered over standard input:
`{"dns": "nxdomain"}`, and any of the other `DNS_MODES`.
"""

import asyncio
import socket
import struct
import sys
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, cast, get_args

from tests.lab.addresses import RESOLVER4, RESOLVER6, WRONG4, WRONG6, names
from tests.lab.certificate import Certificate
from tests.lab.remote import answer

DnsMode = Literal["ok", "mute", "nxdomain", "wrong", "slow", "refused"]
DNS_MODES: tuple[DnsMode, ...] = get_args(DnsMode)
SLOW_SECONDS = 3.0
TTL_SECONDS = 5
EVERYWHERE = ("0.0.0.0", "::")

# RFC 1035, section 4.1.1
QR_RA = 0x8080
AA = 0x0400
RD = 0x0100
NXDOMAIN = 3
REFUSED = 5
TYPE_A = 1
TYPE_AAAA = 28
HEADER_BYTES = 12

# One answer (RFC 1035, section 4.1.3): the name as a pointer to the question's, class IN.
ANSWER = struct.Struct("!HHHIH")
POINTER_TO_QUESTION = 0xC00C


class Resolver:
    """Answers with the lab's names, or wrongly when told to."""

    def __init__(self) -> None:
        self.mode: DnsMode = "ok"
        self._names = names()

    def respond(self, query: bytes) -> bytes | None:
        """The response to one query with one question; None where there is to be none."""
        try:
            name, qtype, end = _question(query)
        except (IndexError, struct.error, UnicodeDecodeError):
            return None
        if self.mode == "mute":
            return None
        pair = (WRONG4, WRONG6) if self.mode == "wrong" else self._names.get(name)
        rcode = 0 if pair else NXDOMAIN
        if self.mode in ("nxdomain", "refused"):
            pair, rcode = None, NXDOMAIN if self.mode == "nxdomain" else REFUSED
        address = {TYPE_A: pair[0], TYPE_AAAA: pair[1]}.get(qtype) if pair else None
        (flags,) = struct.unpack_from("!H", query, 2)
        header = query[:2] + struct.pack("!HHHHH", QR_RA | AA | flags & RD | rcode, 1, int(address is not None), 0, 0)
        response = header + query[HEADER_BYTES:end]
        if address is not None:
            packed = ip_address(address).packed
            response += ANSWER.pack(POINTER_TO_QUESTION, qtype, 1, TTL_SECONDS, len(packed)) + packed
        return response

    async def respond_in_time(self, query: bytes) -> bytes | None:
        if self.mode == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        return self.respond(query)


def _question(query: bytes) -> tuple[str, int, int]:
    """Name in lower case, type, and where the question ends."""
    labels, at = [], HEADER_BYTES
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    (qtype,) = struct.unpack_from("!H", query, at + 1)
    return ".".join(labels), qtype, at + 5


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, peer: Any) -> None:
        response = await self._resolver.respond_in_time(data)
        if response is not None:
            self._transport.sendto(response, peer)


async def _serve_dns_tcp(resolver: Resolver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            response = await resolver.respond_in_time(await reader.readexactly(length))
            if response is not None:
                writer.write(struct.pack("!H", len(response)) + response)
                await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def _serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """204 for /generate_204 (what captive-portal checks ask for), else a short page."""
    try:
        request = (await reader.readuntil(b"\r\n\r\n")).split(maxsplit=2)
        status = HTTPStatus.NO_CONTENT if request[1] == b"/generate_204" else HTTPStatus.OK
        body = b"" if status == HTTPStatus.NO_CONTENT else b"the lab's Internet\n"
        head = f"HTTP/1.1 {status} {status.phrase}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError, OSError):
        pass
    finally:
        writer.close()


async def main(certificate: Certificate | None) -> None:
    """Until standard input ends."""
    resolver = Resolver()
    loop = asyncio.get_running_loop()

    def serve_dns(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
        return _serve_dns_tcp(resolver, reader, writer)

    for address in (RESOLVER4, RESOLVER6):
        await loop.create_datagram_endpoint(lambda: _Udp(resolver), local_addr=(address, 53))
        await asyncio.start_server(serve_dns, address, 53)
    await asyncio.start_server(_serve_http, EVERYWHERE, 80, family=socket.AF_UNSPEC)
    if certificate is not None:
        context = certificate.server_context()
        await asyncio.start_server(serve_dns, [RESOLVER4, RESOLVER6], 853, ssl=context)
        await asyncio.start_server(_serve_http, EVERYWHERE, 443, family=socket.AF_UNSPEC, ssl=context)

    def handle(question: dict[str, Any]) -> DnsMode:
        resolver.mode = question.get("dns", resolver.mode)
        return resolver.mode

    done = loop.create_future()

    def asked() -> None:
        try:
            answer(handle)
        except SystemExit:
            done.set_result(None)

    loop.add_reader(sys.stdin, asked)
    await done


if __name__ == "__main__":
    asyncio.run(main(Certificate(*map(Path, sys.argv[1:])) if sys.argv[1:] else None))
