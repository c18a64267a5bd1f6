"""Asking `netvane raw`: the client side of netvane.common.raw_messages.

Every call ends by its deadline, with an answer or with `RawUnavailable`.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from netvane.common.raw_messages import (
    HEARTBEAT_SECONDS,
    MAX_ANSWER_BYTES,
    Answer,
    ArpSweep,
    ArpSweepRequest,
    DiscoverRequest,
    Discovery,
    Heartbeat,
    Missed,
    Nmap,
    NmapRequest,
    Refused,
    Report,
    Request,
    Sighting,
    Status,
    StatusRequest,
    SubscribeRequest,
    Trace,
    TraceRequest,
)

A = TypeVar("A", Trace, Discovery, ArpSweep, Nmap, Status)

_encoder = msgspec.json.Encoder()
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_reports: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


class RawUnavailable(Exception):  # noqa: N818 - a state of the other side rather than an error of this one
    """`netvane raw` did not do what it was asked; the message says why: absent, hanging, talking rubbish, refusing."""


async def trace(socket: Path, destination: str, *, max_ttl: int = 30, probes: int = 3, deadline: float = 5.0) -> Trace:
    """The path to an address (see TraceRequest), within `deadline` seconds. Raises RawUnavailable."""
    # The helper gets a little less time than the caller has, so that a trace cut short still arrives.
    seconds = min(10.0, max(0.1, deadline * 0.8))
    request = TraceRequest(destination, max_ttl=max_ttl, probes=probes, seconds=seconds)
    return await _ask(socket, request, Trace, deadline)


async def discover(socket: Path, interface: str, *, seconds: float = 6.0, deadline: float = 8.0) -> Discovery:
    """The DHCP servers on `interface` (see DiscoverRequest), within `deadline` seconds. Raises RawUnavailable."""
    return await _ask(socket, DiscoverRequest(interface, seconds), Discovery, deadline)


async def arp_sweep(socket: Path, interface: str, subnet: str, *, deadline: float = 12.0) -> ArpSweep:
    """Who answers in a directly attached subnet (see ArpSweepRequest), within `deadline` seconds.

    Raises RawUnavailable.
    """
    seconds = min(60.0, max(0.5, deadline * 0.8))
    return await _ask(socket, ArpSweepRequest(interface, subnet, seconds), ArpSweep, deadline)


async def nmap(socket: Path, request: NmapRequest) -> Nmap:
    """What nmap finds, within 10 s more than it may take. Raises RawUnavailable."""
    return await _ask(socket, request, Nmap, request.seconds + 10.0)


async def status(socket: Path, *, deadline: float = 2.0) -> Status:
    """How the helper is doing, within `deadline` seconds. Raises RawUnavailable."""
    return await _ask(socket, StatusRequest(), Status, deadline)


async def subscribe(
    socket: Path,
    interfaces: tuple[str, ...] = (),
    *,
    deadline: float = 5.0,
    silence: float = 4 * HEARTBEAT_SECONDS,
) -> AsyncGenerator[Sighting | Missed, None]:
    """The latest sightings, then each new one; `Missed` where this reader was too slow.

    `interfaces` are listened on beside those that the helper watches anyway.

    Never ends by itself: raises RawUnavailable when the connection is not there within `deadline` seconds, breaks, or
    says nothing (not even a heartbeat) for `silence` seconds. Close it with `contextlib.aclosing`.
    """
    with _explained(socket, deadline):
        async with asyncio.timeout(deadline):
            reader, writer = await _send(socket, SubscribeRequest(interfaces))
    try:
        while True:
            with _explained(socket, silence):
                async with asyncio.timeout(silence):
                    report = _reports.decode(await reader.readuntil(b"\n"))
            if isinstance(report, Refused):
                raise RawUnavailable(f"netvane raw refused: {report.reason}")
            if not isinstance(report, Heartbeat):
                yield report
    finally:
        await _close(writer)


async def _ask(socket: Path, request: Request, expected: type[A], deadline: float) -> A:
    with _explained(socket, deadline):
        async with asyncio.timeout(deadline):
            reader, writer = await _send(socket, request)
            try:
                answer = _answers.decode(await reader.readuntil(b"\n"))
            finally:
                await _close(writer)
    if isinstance(answer, Refused):
        raise RawUnavailable(f"netvane raw refused: {answer.reason}")
    if not isinstance(answer, expected):
        raise RawUnavailable("netvane raw answered another question")
    return answer


async def _send(socket: Path, request: Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(socket, limit=MAX_ANSWER_BYTES)
    # A request is far smaller than the socket's buffer: there is nothing to wait for.
    writer.write(_encoder.encode(request) + b"\n")
    return reader, writer


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@contextmanager
def _explained(socket: Path, seconds: float) -> Iterator[None]:
    """Whatever can go wrong on the way, as RawUnavailable."""
    try:
        yield
    except TimeoutError as error:
        raise RawUnavailable(f"netvane raw does not answer within {seconds:g} s") from error
    except OSError as error:
        raise RawUnavailable(f"netvane raw is not there: {socket}: {error.strerror}") from error
    except asyncio.IncompleteReadError as error:
        raise RawUnavailable("netvane raw closed the connection") from error
    except asyncio.LimitOverrunError as error:
        raise RawUnavailable(f"netvane raw answered rubbish: a line of more than {MAX_ANSWER_BYTES} bytes") from error
    except msgspec.DecodeError as error:
        raise RawUnavailable(f"netvane raw answered rubbish: {error}") from error
