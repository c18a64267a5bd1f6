"""The socket of `netvane raw`: takes one request per connection, as netvane.common.raw_messages says.

Whatever comes in wrong costs its own connection and a line in the log, nothing else.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from netvane.common.clock import Clock
from netvane.common.log import get_logger
from netvane.common.raw_messages import (
    HEARTBEAT_SECONDS,
    MAX_REQUEST_BYTES,
    Answer,
    ArpSweep,
    ArpSweepRequest,
    DiscoverRequest,
    Discovery,
    Heartbeat,
    Nmap,
    NmapRequest,
    Refused,
    Report,
    Request,
    Status,
    StatusRequest,
    SubscribeRequest,
    Trace,
    TraceRequest,
)
from netvane.raw import nmap
from netvane.raw.discover import Discoverer
from netvane.raw.feed import Feed, Subscription
from netvane.raw.listener import Listener
from netvane.raw.sweep import SubnetError, Sweeper
from netvane.raw.trace import DestinationError, Tracer

log = get_logger("raw.server")

MAX_CONNECTIONS = 32
MAX_TRACES = 4
MAX_DISCOVERIES = 1
MAX_SWEEPS = 1
MAX_NMAPS = 1
MAX_SUBSCRIBERS = 8
REQUEST_SECONDS = 5.0  # for a request to arrive whole
SEND_SECONDS = 30.0  # for a client to take what it is sent
GRACE_SECONDS = 1.0
_REPORTS_AT_ONCE = 64

A = TypeVar("A", ArpSweep, Nmap)

Refusal: TypeAlias = Literal["busy", "destination", "incomplete", "interface", "malformed", "oversize", "silent"]


class RefusedError(Exception):
    """A request that is not answered: `refusal` is why in a word, the message goes to the client."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


class Server:
    """Answers requests with a `Tracer`, a `Discoverer`, a `Sweeper`, nmap, a `Feed` and a `Listener`."""

    def __init__(
        self, tracer: Tracer, discoverer: Discoverer, sweeper: Sweeper, feed: Feed, listener: Listener, clock: Clock
    ) -> None:
        self._tracer = tracer
        self._discoverer = discoverer
        self._sweeper = sweeper
        self._feed = feed
        self._listener = listener
        self._started = clock.wall_ns()
        self._encoder = msgspec.json.Encoder()
        self._decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
        self._requests: Counter[str] = Counter(trace=0, discover=0, arp_sweep=0, nmap=0, subscribe=0, status=0)
        self._refused: Counter[str] = Counter()
        self._connections: set[asyncio.Task[None]] = set()
        self._traces = 0
        self._discoveries = 0
        self._sweeps = 0
        self._nmaps = 0
        self._closed = False

    async def run(self, listening: socket.socket) -> None:
        """Serve until cancelled; then every connection is closed."""
        limit = MAX_REQUEST_BYTES - 1  # asyncio does not count the newline
        server = await asyncio.start_unix_server(self._connected, sock=listening, limit=limit)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            self._closed = True
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:  # accepted in the moment of stopping
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _peer(writer.get_extra_info("socket"))
        # `drain` is to mean that the kernel has it all: the connection is cut right after.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            await self._converse(reader, writer, peer)
        except RefusedError as refused:
            self._refused[refused.refusal] += 1
            log.warning("refused", reason=refused, peer=peer)
            with suppress(OSError):
                await self._send(writer, Refused(str(refused)))
        except TimeoutError:
            self._refused["slow"] += 1
            log.warning("cut off: it does not read", peer=peer)
        except OSError as error:
            log.debug("connection lost", error=error, peer=peer)
        finally:
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        if len(self._connections) > MAX_CONNECTIONS:
            raise RefusedError("busy", f"more than {MAX_CONNECTIONS} connections")
        request = await self._receive(reader)
        match request:
            case None:
                return
            case TraceRequest():
                self._requests["trace"] += 1
                log.info("trace", destination=request.destination, peer=peer)
                await self._send(writer, await self._trace(request))
            case DiscoverRequest():
                self._requests["discover"] += 1
                log.info("discover", interface=request.interface, peer=peer)
                await self._send(writer, await self._discover(request))
            case ArpSweepRequest():
                self._requests["arp_sweep"] += 1
                await self._send(writer, await self._until_gone(reader, self._sweep(request)))
            case NmapRequest():
                self._requests["nmap"] += 1
                log.info("nmap", target=request.target, mode=request.mode, peer=peer)
                await self._send(writer, await self._until_gone(reader, self._nmap(request)))
            case StatusRequest():
                self._requests["status"] += 1
                await self._send(writer, self.status())
            case SubscribeRequest():
                self._requests["subscribe"] += 1
                if self._feed.subscribers >= MAX_SUBSCRIBERS:
                    raise RefusedError("busy", f"more than {MAX_SUBSCRIBERS} subscribers")
                log.info("subscribed", peer=peer)
                with self._listener.also(request.interfaces), self._feed.subscribe() as subscription:
                    await self._stream(reader, writer, subscription)
                log.info("unsubscribed", peer=peer)

    async def _receive(self, reader: asyncio.StreamReader) -> Request | None:
        """None where the peer leaves without a word. Raises RefusedError."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await reader.readuntil(b"\n")
            return self._decoder.decode(line)
        except TimeoutError:
            raise RefusedError("silent", f"no request within {REQUEST_SECONDS:g} s") from None
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                return None
            raise RefusedError("incomplete", "the request ends in its middle") from None
        except asyncio.LimitOverrunError:
            raise RefusedError("oversize", f"a request of more than {MAX_REQUEST_BYTES} bytes") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RefusedError("malformed", str(error)) from None

    async def _trace(self, request: TraceRequest) -> Trace:
        if self._traces >= MAX_TRACES:
            raise RefusedError("busy", f"more than {MAX_TRACES} traces at a time")
        self._traces += 1
        try:
            async with asyncio.timeout(request.seconds + GRACE_SECONDS):
                return await self._tracer.trace(request)
        except DestinationError as error:
            raise RefusedError("destination", str(error)) from error
        finally:
            self._traces -= 1

    async def _discover(self, request: DiscoverRequest) -> Discovery:
        if request.interface not in {status.name for status in self._listener.status()}:
            raise RefusedError("interface", f"{request.interface!r} is not listened on")
        if self._discoveries >= MAX_DISCOVERIES:
            raise RefusedError("busy", f"more than {MAX_DISCOVERIES} at a time")
        self._discoveries += 1
        try:
            async with asyncio.timeout(request.seconds + GRACE_SECONDS):
                return await self._discoverer.discover(request)
        finally:
            self._discoveries -= 1

    async def _sweep(self, request: ArpSweepRequest) -> ArpSweep:
        if self._sweeps >= MAX_SWEEPS:
            raise RefusedError("busy", "a sweep is running")
        self._sweeps += 1
        try:
            return await self._sweeper.sweep(request)
        except SubnetError as error:
            raise RefusedError("destination", str(error)) from error
        finally:
            self._sweeps -= 1

    async def _nmap(self, request: NmapRequest) -> Nmap:
        if self._nmaps >= MAX_NMAPS:
            raise RefusedError("busy", "nmap is running")
        self._nmaps += 1
        try:
            return await nmap.run(request)
        except nmap.TargetError as error:
            raise RefusedError("destination", str(error)) from error
        finally:
            self._nmaps -= 1

    async def _until_gone(self, reader: asyncio.StreamReader, work: Coroutine[Any, Any, A]) -> A:
        """The result of `work`, which takes long and is cancelled where nobody waits for it any more.

        Raises ConnectionResetError then.
        """
        working, leaving = asyncio.create_task(work), asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ConnectionResetError("left before the answer")
            return working.result()
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subscription: Subscription
    ) -> None:
        """Until the subscriber leaves, or says anything more, or reads too slowly (TimeoutError)."""
        reporting = asyncio.create_task(self._report(writer, subscription))
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({reporting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if reporting.done():
                reporting.result()
        finally:
            reporting.cancel()
            leaving.cancel()
            await asyncio.gather(reporting, leaving, return_exceptions=True)

    async def _report(self, writer: asyncio.StreamWriter, subscription: Subscription) -> None:
        while True:
            reports: Sequence[Report]
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    reports = await subscription.take(_REPORTS_AT_ONCE)
            except TimeoutError:
                reports = [Heartbeat()]
            await self._send(writer, *reports)

    async def _send(self, writer: asyncio.StreamWriter, *messages: Answer | Report) -> None:
        """Raises TimeoutError and OSError."""
        writer.write(self._encoder.encode_lines(messages))
        async with asyncio.timeout(SEND_SECONDS):
            await writer.drain()

    def status(self) -> Status:
        return Status(
            started=self._started,
            requests=dict(self._requests),
            refused=dict(self._refused),
            connections=len(self._connections),
            subscribers=self._feed.subscribers,
            sightings=self._feed.sightings,
            missed=self._feed.missed,
            recent=self._feed.recent,
            evicted=self._feed.evicted,
            probes_sent=self._tracer.probes_sent,
            probe_answers=self._tracer.answers,
            malformed_answers=self._tracer.malformed,
            interfaces=self._listener.status(),
        )


def _peer(connection: socket.socket) -> str:
    """Who is at the other end: SO_PEERCRED, unix(7)."""
    pid, uid, gid = struct.unpack("@3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"pid:{pid} uid:{uid} gid:{gid}"
