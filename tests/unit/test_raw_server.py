"""The socket of `netvane raw`: what it answers, and what rubbish costs."""

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from netvane.common import rawclient
from netvane.common.clock import SystemClock
from netvane.common.raw_messages import MAX_REQUEST_BYTES, Missed, Sighting
from netvane.raw import feed as feeds
from netvane.raw import server as servers
from netvane.raw import unixsocket
from netvane.raw.discover import Discoverer
from netvane.raw.feed import Feed
from netvane.raw.listener import MAX_WATCHES, Listener
from netvane.raw.server import Server
from netvane.raw.sweep import Sweeper
from netvane.raw.trace import DestinationError, Tracer, parse_destination
from netvane.raw.unixsocket import SocketError

Scene: TypeAlias = Callable[[Path, Feed], Coroutine[Any, Any, None]]

STATUS = b'{"type":"status"}\n'
SUBSCRIBE = b'{"type":"subscribe"}\n'


@contextlib.asynccontextmanager
async def serving(path: Path, feed: Feed) -> AsyncIterator[None]:
    clock = SystemClock()
    listener = Listener(tuple, feed, clock)
    server = Server(Tracer(clock), Discoverer(clock), Sweeper(clock), feed, listener, clock)
    with unixsocket.listening(path) as listening:
        running = [asyncio.create_task(server.run(listening)), asyncio.create_task(listener.run(lambda: None))]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def play(tmp_path: Path, scene: Scene) -> None:
    async def within() -> None:
        path, feed = tmp_path / "raw.sock", Feed()
        async with asyncio.timeout(60), serving(path, feed):
            await scene(path, feed)

    asyncio.run(within())
    assert list(tmp_path.iterdir()) == []


@contextlib.asynccontextmanager
async def connected(path: Path, *words: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.writelines(words)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def say(path: Path, *words: bytes, end: bool = False) -> dict[str, Any]:
    """The line that comes back; {} where the connection just ends."""
    answer = b""
    async with connected(path, *words) as (reader, writer):
        # A helper that hangs up before it has read everything resets the connection.
        with contextlib.suppress(ConnectionError):
            if end:
                writer.write_eof()
            answer = await reader.readline()
    decoded = json.loads(answer) if answer else {}
    assert isinstance(decoded, dict)
    return decoded


@contextlib.asynccontextmanager
async def subscribed(path: Path) -> AsyncIterator[asyncio.StreamReader]:
    """For certain: the latest sighting has arrived."""
    async with connected(path, SUBSCRIBE) as (reader, _):
        await reader.readline()
        yield reader


def sighting(number: int) -> Sighting:
    return Sighting(
        ts=number,
        interface="eth0",
        mac=f"02:00:00:00:{number // 256:02x}:{number % 256:02x}",
        kind="nd",
        message="probe",
        requested="fd00::9",
        host_name="x" * 200,
    )


def test_status_and_mode_of_the_socket(tmp_path: Path) -> None:
    async def scene(path: Path, feed: Feed) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660  # noqa: ASYNC240 - a tmpfs
        feed.publish(sighting(1))
        status = await rawclient.status(path)
        nothing = {"trace": 0, "discover": 0, "arp_sweep": 0, "nmap": 0, "subscribe": 0}
        assert status.requests == {**nothing, "status": 1}
        assert (status.sightings, status.recent, status.connections, status.interfaces) == (1, 1, 1, ())

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (b"hello\n", "malformed"),
        (b"\n", "malformed"),
        (b"\xff\xfe\n", "malformed"),
        (b"[]\n", "malformed"),
        (b'{"type":"reboot"}\n', "malformed"),
        (b'{"type":"status","and":"more"}\n', "malformed"),
        (b'{"destination":"127.0.0.1"}\n', "malformed"),
        (b'{"type":"trace"}\n', "malformed"),
        (b'{"type":"trace","destination":7}\n', "malformed"),
        (b'{"type":"trace","destination":"127.0.0.1","max_ttl":0}\n', "malformed"),
        (b'{"type":"trace","destination":"127.0.0.1","max_ttl":65}\n', "malformed"),
        (b'{"type":"trace","destination":"127.0.0.1","probes":6}\n', "malformed"),
        (b'{"type":"trace","destination":"127.0.0.1","seconds":1e9}\n', "malformed"),
        (b'{"type":"trace","destination":"127.0.0.1","seconds":NaN}\n', "malformed"),
        (b'{"type":"trace","destination":"' + b"1" * 65 + b'"}\n', "malformed"),
        (b'{"type":"trace","destination":"router.example"}\n', "destination"),
        (b'{"type":"trace","destination":"224.0.0.1"}\n', "destination"),
        (b"[" * (MAX_REQUEST_BYTES - 1) + b"\n", "malformed"),
        (b"x" * MAX_REQUEST_BYTES + b"\n", "oversize"),
        (b"x" * 1_000_000, "oversize"),
        (b'{"type":"stat', "incomplete"),
    ],
)
def test_rubbish_costs_its_own_connection_only(tmp_path: Path, request_: bytes, refusal: str) -> None:
    async def scene(path: Path, feed: Feed) -> None:
        async with contextlib.aclosing(rawclient.subscribe(path)) as reports:
            feed.publish(sighting(1))
            assert await anext(reports) == sighting(1)
            answer = await say(path, request_, end=True)
            assert answer.get("type") == "refused" or (not answer and refusal == "oversize")
            feed.publish(sighting(2))
            assert await anext(reports) == sighting(2)
        assert (await rawclient.status(path)).refused == {refusal: 1}

    play(tmp_path, scene)


def test_half_a_message_then_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "REQUEST_SECONDS", 0.2)

    async def scene(path: Path, _feed: Feed) -> None:
        assert (await say(path, STATUS[:8]))["type"] == "refused"
        assert (await say(path))["type"] == "refused"
        assert (await say(path, end=True)) == {}  # who only looks whether somebody is there is no fault
        assert (await say(path, STATUS[:8], STATUS[8:]))["type"] == "status"
        assert (await rawclient.status(path)).refused == {"silent": 2}

    play(tmp_path, scene)


def test_a_crowd_is_turned_away_and_a_place_becomes_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "MAX_SUBSCRIBERS", 2)
    monkeypatch.setattr(servers, "MAX_CONNECTIONS", 3)

    async def scene(path: Path, feed: Feed) -> None:
        feed.publish(sighting(1))
        async with subscribed(path), subscribed(path):
            assert "subscribers" in (await say(path, SUBSCRIBE))["reason"]
            async with connected(path):
                assert (await say(path, STATUS)).get("type") in {"refused", None}
        answer: dict[str, Any] = {}
        while answer.get("subscribers") != 0:
            answer = await say(path, STATUS)
        assert answer["refused"]["busy"] >= 2
        async with subscribed(path):
            assert feed.subscribers == 1

    play(tmp_path, scene)


def test_subscribers_get_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "HEARTBEAT_SECONDS", 0.05)

    async def scene(path: Path, feed: Feed) -> None:
        heartbeat = b'{"type":"heartbeat"}\n'
        async with connected(path, SUBSCRIBE) as (reader, _):
            assert await reader.readline() == heartbeat
            feed.publish(sighting(1))
            while (line := await reader.readline()) == heartbeat:
                pass
            assert line == msgspec.json.encode(sighting(1)) + b"\n"
            assert await reader.readline() == heartbeat

    play(tmp_path, scene)


def test_a_subscriber_that_does_not_read_delays_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "QUEUED", 100)
    count = 20_000

    async def scene(path: Path, feed: Feed) -> None:
        feed.publish(sighting(0))
        seen: list[int] = []
        async with subscribed(path) as slow:
            async with contextlib.aclosing(rawclient.subscribe(path)) as reports:
                assert await anext(reports) == sighting(0)
                for number in range(1, count + 1, 50):
                    for one in range(number, number + 50):
                        feed.publish(sighting(one))
                    while not seen or seen[-1] < number + 49:
                        report = await anext(reports)
                        assert isinstance(report, Sighting)
                        seen.append(report.ts)
            assert seen == list(range(1, count + 1))
            assert feed.missed > 0
            # Nothing is lost without being told: what arrives and what is said to be missing is all there was.
            got = missed = 0
            while got + missed < count:
                told = msgspec.json.decode(await slow.readline(), type=Sighting | Missed)
                got, missed = (got + 1, missed) if isinstance(told, Sighting) else (got, missed + told.count)
            assert (got + missed, missed) == (count, feed.missed)

    play(tmp_path, scene)


def test_a_subscriber_that_never_reads_again_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "SEND_SECONDS", 0.2)

    async def scene(path: Path, feed: Feed) -> None:
        feed.publish(sighting(0))
        async with subscribed(path):
            while feed.subscribers:
                feed.publish(sighting(1))
                await asyncio.sleep(0)
            assert (await rawclient.status(path)).refused == {"slow": 1}

    play(tmp_path, scene)


@pytest.mark.lab  # packet sockets are root's
def test_a_subscriber_is_listened_for_where_it_asks_and_no_longer_than_it_stays(tmp_path: Path) -> None:
    async def watched(path: Path) -> list[str]:
        return [interface.name for interface in (await rawclient.status(path)).interfaces]

    async def scene(path: Path, feed: Feed) -> None:
        feed.publish(sighting(0))
        async with contextlib.aclosing(rawclient.subscribe(path, ("none0", "none1"))) as reports:
            await anext(reports)
            while await watched(path) != ["none0", "none1"]:
                pass
        while await watched(path):
            pass
        for name in ("", "a/b", "a" * 16):
            refused = await say(path, msgspec.json.encode({"type": "subscribe", "interfaces": [name]}) + b"\n")
            assert refused["type"] == "refused"

    play(tmp_path, scene)


@pytest.mark.lab
def test_interfaces_that_nobody_wants_any_more_are_forgotten() -> None:
    listener = Listener(tuple, Feed(), SystemClock())
    for turn in range(20):
        asked = tuple(f"none{turn}-{number}" for number in range(16))
        with listener.also(asked):
            listener.check()
            assert [status.name for status in listener.status()] == list(asked)
        listener.check()
        assert listener.status() == ()
    assert len(listener._watches) <= MAX_WATCHES


def test_stopping_ends_every_conversation(tmp_path: Path) -> None:
    async def scene() -> None:
        path, feed = tmp_path / "raw.sock", Feed()
        feed.publish(sighting(0))
        async with asyncio.timeout(30), contextlib.AsyncExitStack() as conversations:
            async with serving(path, feed):
                reader = await conversations.enter_async_context(subscribed(path))
                idle, _ = await conversations.enter_async_context(connected(path))
            assert await reader.read() == b""
            assert await idle.read() == b""

    asyncio.run(scene())


def test_stale_socket_is_replaced_and_live_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "raw.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with unixsocket.listening(path) as live:
        with pytest.raises(SocketError, match="another netvane raw"), unixsocket.listening(path):
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            live.accept()[0].close()
    assert not path.exists()


def test_a_full_queue_of_connections_means_a_live_socket(tmp_path: Path) -> None:
    path = tmp_path / "raw.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(SocketError, match="another netvane raw"), unixsocket.listening(path):
            pass


def test_a_successors_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "raw.sock"
    with unixsocket.listening(path):
        path.unlink()
        path.touch()
    assert path.exists()


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "raw.sock"
    path.write_text("mine")
    with pytest.raises(SocketError, match="not a socket"), unixsocket.listening(path):
        pass
    assert path.read_text() == "mine"
    with pytest.raises(SocketError, match="No such file"), unixsocket.listening(tmp_path / "absent" / "raw.sock"):
        pass


@pytest.mark.parametrize(
    "text", ["198.51.100.1", "fd00::1", "127.0.0.1", "::1", "10.0.0.255", "fe80::1%eth0", "2001:db8::1"]
)
def test_traceable_destinations(text: str) -> None:
    assert str(parse_destination(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("router", "not an IP address"),
        ("", "not an IP address"),
        ("198.51.100.0/24", "not an IP address"),
        ("224.0.0.251", "unicast"),
        ("255.255.255.255", "unicast"),
        ("240.0.0.1", "unicast"),
        ("0.0.0.0", "unicast"),
        ("::", "unicast"),
        ("ff02::1%eth0", "unicast"),
        ("::ffff:198.51.100.1", "unicast"),
        ("fe80::1", "zone"),
    ],
)
def test_destinations_that_no_path_leads_to(text: str, reason: str) -> None:
    with pytest.raises(DestinationError, match=reason):
        parse_destination(text)


def test_peers_are_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(path: Path, _feed: Feed) -> None:
        await say(path, b"hello\n")

    play(tmp_path, scene)
    (record,) = [record for record in caplog.records if record.name == "netvane.raw.server"]
    assert record.__dict__["fields"]["peer"] == f"pid:{os.getpid()} uid:{os.getuid()} gid:{os.getgid()}"
