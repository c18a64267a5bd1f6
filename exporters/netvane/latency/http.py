"""HTTP(S) probes: one GET, its phases timed; redirects are an answer, not an invitation.

h11 reads and writes the protocol; the sockets are our own, so that each phase has its own time and every byte is
counted against a bound.
"""

import asyncio
import ssl
import time
from typing import NamedTuple
from urllib.parse import SplitResult

import h11

from netvane.latency import tcp

MAX_BODY = 256 * 1024
_CHUNK = 16 * 1024
MALFORMED = (h11.RemoteProtocolError, asyncio.IncompleteReadError, UnicodeError)


class Page(NamedTuple):
    """`outcome` is ok (any complete answer), refused, timeout, unreachable, tls, malformed, too_large or error.

    `phases` has the seconds of those that were completed; `body` is at most `MAX_BODY` bytes.
    """

    outcome: str
    status: int | None
    phases: dict[str, float]
    location: str | None
    body: bytes
    wan_bytes: int


class _TooLarge(Exception):  # noqa: N818 - leaves the loop, is no fault
    pass


async def get(url: SplitResult, address: str, deadline_seconds: float, context: ssl.SSLContext | None) -> Page:
    """GET `url` from `address`; never longer than the deadline, never raises for what the network or the server does.

    `context` checks the server's certificate where the scheme is https.
    """
    fetch = _Fetch()
    outcome = "ok"
    try:
        async with asyncio.timeout(deadline_seconds):
            await fetch.run(url, address, context if url.scheme == "https" else None)
    except TimeoutError:
        outcome = "timeout"
    except ssl.SSLError:
        outcome = "tls"
    except MALFORMED:
        outcome = "malformed"
    except _TooLarge:
        outcome = "too_large"
    except OSError as error:
        outcome = tcp.outcome_of(error)
    return Page(outcome, fetch.status, fetch.phases, fetch.location, bytes(fetch.body), fetch.wan_bytes)


class _Fetch:
    """One request on its way."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.location: str | None = None
        self.phases: dict[str, float] = {}
        self.body = bytearray()
        self.wan_bytes = 0
        self._since = time.monotonic()

    def _phase(self, name: str) -> None:
        now = time.monotonic()
        self.phases[name] = now - self._since
        self._since = now

    async def run(self, url: SplitResult, address: str, context: ssl.SSLContext | None) -> None:
        port = url.port or (443 if context else 80)
        with tcp.open_socket(address) as connecting:
            await asyncio.get_running_loop().sock_connect(connecting, (address, port))
            self._phase("connect")
            reader, writer = await asyncio.open_connection(
                sock=connecting, ssl=context, server_hostname=url.hostname if context else None
            )
            if context:
                self._phase("tls")
            try:
                await self._exchange(url, reader, writer)
            finally:
                self.wan_bytes = tcp.traffic(connecting).wan_bytes
                writer.transport.abort()

    async def _exchange(self, url: SplitResult, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = h11.Connection(h11.CLIENT)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = [("Host", url.netloc), ("User-Agent", "netvane"), ("Accept", "*/*"), ("Connection", "close")]
        request = protocol.send(h11.Request(method="GET", target=target, headers=headers))
        writer.write((request or b"") + (protocol.send(h11.EndOfMessage()) or b""))
        while True:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(_CHUNK)
                if "first_byte" not in self.phases:
                    self._phase("first_byte")
                protocol.receive_data(data)
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                self.location = next((value.decode() for name, value in event.headers if name == b"location"), None)
            elif isinstance(event, h11.Data):
                self.body += event.data
                if len(self.body) > MAX_BODY:
                    del self.body[MAX_BODY:]
                    raise _TooLarge
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                self._phase("transfer")
                return
