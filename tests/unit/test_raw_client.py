"""The client of `netvane raw` against helpers that are absent, hanging, or talking rubbish."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from netvane.common import rawclient
from netvane.common.raw_messages import MAX_ANSWER_BYTES, Hop, Missed, Sighting, Trace
from netvane.common.rawclient import RawUnavailable

Handler: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

TRACE = (
    b'{"type":"trace","destination":"203.0.113.9","reached":true,"new":1,'
    b'"hops":[{"ttl":1},{"ttl":2,"address":"203.0.113.9","rtt_seconds":0.012}]}\n'
)
SIGHTING = b'{"type":"sighting","ts":1,"interface":"eth0","mac":"02:00:00:00:00:01","kind":"arp","message":"reply"}\n'


@contextlib.asynccontextmanager
async def helper(path: Path, handler: Handler) -> AsyncIterator[None]:
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_unix_server(connected, path)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(*lines: bytes, then_hang: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.writelines(lines)
        if then_hang:
            await asyncio.sleep(60)

    return handle


def ask(path: Path, handler: Handler, question: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def scene() -> Any:
        async with asyncio.timeout(30), helper(path, handler):
            return await question()

    return asyncio.run(scene())


async def first(path: Path) -> Sighting | Missed:
    async with contextlib.aclosing(rawclient.subscribe(path, silence=0.2)) as stream:
        return await anext(stream)


async def collect(path: Path) -> list[Sighting | Missed]:
    reports: list[Sighting | Missed] = []
    with contextlib.suppress(RawUnavailable):
        async with contextlib.aclosing(rawclient.subscribe(path)) as stream:
            async for report in stream:
                reports.append(report)  # noqa: PERF401 - an error ends the stream, what came before it counts
    return reports


def test_trace_asks_and_reads_what_a_newer_helper_says(tmp_path: Path) -> None:
    path = tmp_path / "raw.sock"
    asked: list[Any] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(json.loads(await reader.readline()))
        writer.write(TRACE)

    trace = ask(path, handle, lambda: rawclient.trace(path, "203.0.113.9", probes=2, deadline=5))
    assert trace == Trace("203.0.113.9", reached=True, hops=(Hop(1), Hop(2, "203.0.113.9", 0.012)))
    assert asked == [{"type": "trace", "destination": "203.0.113.9", "max_ttl": 30, "probes": 2, "seconds": 4.0}]


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (answering(then_hang=True), r"does not answer within 0\.2 s"),
        (answering(TRACE[:-2], then_hang=True), r"does not answer within 0\.2 s"),
        (answering(), "closed the connection"),
        (answering(TRACE[:-2]), "closed the connection"),
        (answering(b"hello\n"), "rubbish"),
        (answering(b"\xff\n"), "rubbish"),
        (answering(b'{"type":"trace"}\n'), "rubbish"),
        (answering(b"x" * (MAX_ANSWER_BYTES + 10)), "rubbish"),
        (answering(b'{"type":"refused","reason":"busy"}\n'), "refused: busy"),
        (answering(SIGHTING), "rubbish"),
    ],
)
def test_bad_helpers(tmp_path: Path, handler: Handler, reason: str) -> None:
    path = tmp_path / "raw.sock"
    with pytest.raises(RawUnavailable, match=reason):
        ask(path, handler, lambda: rawclient.trace(path, "203.0.113.9", deadline=0.2))
    with pytest.raises(RawUnavailable):
        ask(path, handler, lambda: rawclient.status(path, deadline=0.2))


def test_answer_to_another_question(tmp_path: Path) -> None:
    path = tmp_path / "raw.sock"
    with pytest.raises(RawUnavailable, match="another question"):
        ask(path, answering(TRACE), lambda: rawclient.status(path))


def test_no_helper(tmp_path: Path) -> None:
    with pytest.raises(RawUnavailable, match=r"not there: .*absent.*: No such file"):
        asyncio.run(rawclient.trace(tmp_path / "absent.sock", "203.0.113.9"))
    with pytest.raises(RawUnavailable, match="not there"):
        asyncio.run(first(tmp_path / "absent.sock"))


def test_dead_helper(tmp_path: Path) -> None:
    path = tmp_path / "raw.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(RawUnavailable, match="refused"):
        asyncio.run(rawclient.status(path))


def test_helper_that_accepts_nobody(tmp_path: Path) -> None:
    path = tmp_path / "raw.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = []
        for _ in range(3):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            waiting.append(one)
            with contextlib.suppress(BlockingIOError):
                one.connect(str(path))
        with pytest.raises(RawUnavailable):
            asyncio.run(rawclient.status(path, deadline=0.2))
        for one in waiting:
            one.close()


def test_subscription_passes_heartbeats_over_and_ends_with_the_helper(tmp_path: Path) -> None:
    path = tmp_path / "raw.sock"
    handler = answering(SIGHTING, b'{"type":"heartbeat"}\n', b'{"type":"missed","count":7}\n', SIGHTING)
    seen = Sighting(ts=1, interface="eth0", mac="02:00:00:00:00:01", kind="arp", message="reply")
    assert ask(path, handler, lambda: collect(path)) == [seen, Missed(7), seen]


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (answering(then_hang=True), r"does not answer within 0\.2 s"),
        (answering(), "closed the connection"),
        (answering(TRACE), "rubbish"),
        (answering(b'{"type":"sighting"}\n'), "rubbish"),
        (answering(b'{"type":"refused","reason":"more than 8 subscribers"}\n'), "refused: more"),
    ],
)
def test_subscription_to_bad_helpers(tmp_path: Path, handler: Handler, reason: str) -> None:
    path = tmp_path / "raw.sock"
    with pytest.raises(RawUnavailable, match=reason):
        ask(path, handler, lambda: first(path))
