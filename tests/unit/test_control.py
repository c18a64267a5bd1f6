"""The control socket and `netvane events` on both of its ways: through the running exporter, and without it."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.common import control
from netvane.common.clock import SystemClock
from netvane.common.command import as_text, main
from netvane.common.control import ControlAbsentError, ControlError, ControlServer, Handler
from netvane.common.event_inbox import Limits
from netvane.common.event_retention import DAY
from netvane.common.event_search import Query
from netvane.common.events import EventStore, event_file_of
from tests.eventkit import CHILD, MAC, SAMPLES, dns, eventually, running_store, verdict

EVENTS = 450  # several pages of the server


@contextmanager
def serving(path: Path, handlers: dict[str, Handler], deadline_seconds: float = 10.0) -> Iterator[None]:
    """A control server on a loop in a thread of its own."""
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        server = ControlServer(path, handlers, deadline_seconds)
        await server.start()
        started.set()
        await stop.wait()
        await server.stop()

    def live() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert started.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()


async def numbers(arguments: msgspec.Raw) -> AsyncGenerator[bytes, None]:
    for number in range(msgspec.json.decode(arguments, type=int)):
        yield str(number).encode()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with serving(tmp_path / "test.sock", {"numbers": numbers}):
        yield tmp_path / "test.sock"


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def exchange(path: Path, sent: bytes) -> list[dict[str, object]]:
    """Everything that comes back until the server closes the connection."""
    with connect(path) as connection:
        with suppress(OSError):  # it may have heard enough before everything is sent
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        answers = []
        with connection.makefile("rb") as lines, suppress(ConnectionResetError):  # it left the rest unread
            for line in lines:
                answers.append(json.loads(line))  # noqa: PERF401 - what came before a reset counts
        return answers


def test_only_owner_and_group_may_ask(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_requests_are_answered_one_after_the_other(path: Path) -> None:
    request = b'{"request":"numbers","arguments":%d}\n'
    assert exchange(path, request % 2 + request % 0 + request % 1) == [
        {"item": 0},
        {"item": 1},
        {"done": 2},
        {"done": 0},
        {"item": 0},
        {"done": 1},
    ]
    assert list(control.ask(path, "numbers", 3)) == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"\n", "not a request"),
        (b"GET / HTTP/1.1\r\n\r\n", "not a request"),
        (b"[]\n", "not a request"),
        (b'{"request":"numbers","argument":1}\n', "not a request"),
        (b"\xff\xfe\n", "not a request"),
        (b"[" * 60_000 + b"\n", "not a request"),
        (b"x" * 70_000 + b"\n", "longer than 65536 bytes"),
        (b'{"request":"reboot"}\n', "unknown request; known are numbers"),
        (b'{"request":"numbers","arguments":"three"}\n', "arguments: Expected `int`"),
        (b'{"request":"numbers"}\n', "arguments: Expected `int`"),
    ],
)
def test_rubbish_ends_its_own_connection_only(path: Path, sent: bytes, complaint: str) -> None:
    with connect(path) as bystander:
        (answer,) = exchange(path, sent + b'{"request":"numbers","arguments":1}\n')
        assert complaint in str(answer["error"])
        bystander.sendall(b'{"request":"numbers","arguments":0}\n')
        assert bystander.recv(100) == b'{"done":0}\n'


def test_an_endless_line_is_cut_off(path: Path) -> None:
    with connect(path) as connection, suppress(ConnectionError):
        while True:
            connection.sendall(b"x" * 10_000)
    assert list(control.ask(path, "numbers", 1)) == [b"0"]


@given(st.binary(max_size=200) | st.from_regex(rb'\{"request":.*\}', fullmatch=True))
def test_the_parser_takes_anything(line: bytes) -> None:
    try:
        request = control.parse_request(line)
    except ControlError:
        return
    assert isinstance(request.request, str)


def test_the_number_of_connections_is_bounded(path: Path) -> None:
    idle = [connect(path) for _ in range(control.CONNECTIONS)]
    for connection in idle:
        connection.sendall(b'{"request":"numbers","arguments":0}\n')
        assert connection.recv(100)
    assert exchange(path, b"") == [{"error": "too many connections"}]
    with pytest.raises(ControlError, match="too many"):
        list(control.ask(path, "numbers", 1))
    idle.pop().close()
    eventually(lambda: exchange(path, b'{"request":"numbers","arguments":0}\n') == [{"done": 0}])
    for connection in idle:
        connection.close()


def test_silent_and_slow_clients_are_let_go(tmp_path: Path) -> None:
    path = tmp_path / "test.sock"
    with serving(path, {"numbers": numbers}, deadline_seconds=0.3):
        with connect(path) as silent:
            silent.sendall(b'{"request":')
            assert silent.recv(100) == b""
        with connect(path) as slow:
            slow.sendall(b'{"request":"numbers","arguments":10000000}\n')
            received = slow.recv(10)
            # it takes nothing more until the server has given up, and then finds only what was under way
            eventually(lambda: len(open_connections_to(path)) == 0)
            while part := slow.recv(2**20):
                received += part
        assert b'"done"' not in received


def open_connections_to(path: Path) -> list[str]:
    """The server's ends of connections to `path` that are still open, as the kernel lists them."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return [line for line in lines if line.endswith(str(path)) and line.split()[5] == "03"]


def test_stopping_cuts_connections_and_removes_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "test.sock"
    with serving(path, {"numbers": numbers}):
        busy = connect(path)
        busy.sendall(b'{"request":"numbers","arguments":1000000000}\n')
        assert busy.recv(10)
        idle = connect(path)
    assert not path.exists()
    for connection in (busy, idle):
        with closing(connection), suppress(ConnectionResetError):
            while connection.recv(2**20):
                pass


def test_what_a_dead_server_left_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "test.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path, {"numbers": numbers}):
        assert list(control.ask(path, "numbers", 1)) == [b"0"]
        with pytest.raises(ControlError, match="another process listens"):
            asyncio.run(ControlServer(path, {}).start())
        assert list(control.ask(path, "numbers", 1)) == [b"0"]


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="No such file"):
        asyncio.run(ControlServer(tmp_path / "nowhere" / "test.sock", {}).start())
    with pytest.raises(ControlError, match="too long"):
        asyncio.run(ControlServer(tmp_path / ("x" * 120), {}).start())
    with pytest.raises(ControlAbsentError):
        list(control.ask(tmp_path / "nobody.sock", "numbers", 1))


@pytest.mark.parametrize("answer", [b"", b"{", b'{"item":1}\n', b"rubbish\n", b'{"done":"x"}\n'])
def test_an_answer_that_breaks_off_is_an_error(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "test.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ControlError, match="broke off"):
            list(control.ask(path, "numbers", 1))
        thread.join(10)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data directory (and run directory) with a stopped exporter's events in it."""
    (tmp_path / "latency").mkdir()
    with running_store(event_file_of(tmp_path, "latency")) as store:
        fill(store)
    return tmp_path


def fill(store: EventStore) -> None:
    for number in range(EVENTS):
        store.append(dns(f"n{number}"), mac=MAC)
    store.append(verdict("long ago"), ts=SystemClock().wall_ns() - 60 * DAY)
    assert store.append_confirmed(verdict("router down"), device_name='the "box"').result(10)


def arguments(home: Path, *rest: str) -> list[str]:
    (home / "netvane.yml").touch()
    place = [f"--config.file={home}/netvane.yml", f"--storage.data-dir={home}", f"--storage.run-dir={home}"]
    return ["--exporter", "latency", *place, *rest]


@contextmanager
def exporter(home: Path, running: bool) -> Iterator[None]:
    """With or without a process that owns the events in `home`."""
    if not running:
        yield
        return
    with (
        running_store(event_file_of(home, "latency")) as store,
        serving(control.socket_path(home, "latency"), {"events": control.events_handler(store)}),
    ):
        yield


@pytest.mark.parametrize("running", [True, False])
def test_the_command(home: Path, running: bool, capfd: pytest.CaptureFixture[str]) -> None:
    def lines(*rest: str) -> list[str]:
        assert main(arguments(home, *rest)) == 0
        return capfd.readouterr().out.splitlines()

    with exporter(home, running):
        newest, *others = lines("--limit", "1")
        assert others == []
        assert newest[10] == "T"
        assert newest[23:] == 'Z  verdict  device_name="the \\"box\\"" verdict="router down" evidence={}'

        events = [json.loads(line) for line in lines("--format", "json", "--event", "dns", "--mac", "B827EB000001")]
        assert [event["qname"] for event in events] == [f"n{number}" for number in reversed(range(EVENTS))]
        assert len(lines("--since", "1970-01-01T00:00:00Z", "--until", "30d")) == 1
        assert len(lines("--since", "15m", "--until", "2200-01-01")) == EVENTS + 1
        assert lines("--mac", "00-00-00-00-00-00") == []
        assert lines("--name", 'the "box"') == [newest]
        assert main(arguments(home, "--limit", "10")) == 0
        assert "stopped after 10" in capfd.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--exporter", "toaster"],
        ["--since", "yesterday"],
        ["--since", "2026-13-01"],
        ["--since", "0001-01-01T00:00:00+23:00"],
        ["--until", "-"],
        ["--event", "party"],
        ["--mac", "zz:zz"],
        ["--limit", "0"],
        ["--limit", "many"],
        ["--format", "xml"],
        ["--frobnicate"],
    ],
)
def test_a_wrong_command_line_is_code_2(home: Path, wrong: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(home, *wrong)) == 2
    error = capfd.readouterr().err
    assert "netvane events: error: " in error
    assert "Traceback" not in error


def test_help_is_code_0(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--since" in capfd.readouterr().out


def test_faults_are_code_1_and_one_line(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def complaint(*rest: str) -> str:
        assert main([*arguments(home), *rest]) == 1
        (line,) = capfd.readouterr().err.splitlines()
        return line

    assert complaint("--exporter", "hosts") == (
        f"netvane events: the hosts exporter is not running, and there is no {home}/hosts/events.db"
    )
    with running_store(event_file_of(home, "latency")):
        assert "is running but does not listen" in complaint()
    database = event_file_of(home, "latency")
    database.unlink()
    database.symlink_to("events.db")
    assert "events.db" in complaint()


def test_a_question_leaves_a_damaged_file_alone(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    database = event_file_of(home, "latency")
    database.write_bytes(b"no database" * 1000)
    assert main(arguments(home)) == 1
    assert "file is not a database" in capfd.readouterr().err
    assert sorted(entry.name for entry in database.parent.iterdir()) == ["events.db", "events.db.lock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look into another user's files")
def test_roots_question_leaves_nothing_of_roots_behind(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = event_file_of(home, "latency").parent
    (folder / "events.db.lock").unlink()
    nobody = 65534
    for entry in (folder, *folder.iterdir()):
        os.chown(entry, nobody, nobody)
    assert main(arguments(home, "--limit", "3")) == 0
    assert len(capfd.readouterr().out.splitlines()) == 3
    assert {entry.stat().st_uid for entry in folder.iterdir()} == {nobody}


def test_a_closed_pipe_is_no_fault(home: Path) -> None:
    program = "import sys; from netvane.common.command import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments(home, "--limit", "100000")],
        env=CHILD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 0


def test_who_pages_slowly_still_gets_all(home: Path) -> None:
    """The server lets go of slow clients, so the command takes everything at once and then waits for its reader."""
    socket_file = control.socket_path(home, "latency")
    program = "import sys; from netvane.common.command import main; sys.exit(main(sys.argv[1:]))"
    with (
        running_store(event_file_of(home, "latency")) as store,
        serving(socket_file, {"events": control.events_handler(store)}, deadline_seconds=0.5),
    ):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments(home, "--format", "json")], env=CHILD, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        first = process.stdout.readline()  # it prints, into a pipe that is too small for all of it
        eventually(lambda: len(open_connections_to(socket_file)) == 0)
        rest = process.stdout.readlines()
        process.stdout.close()
        assert process.wait(30) == 0
    assert len([first, *rest]) == EVENTS + 1


def test_the_text_cannot_move_a_terminals_cursor() -> None:
    body = json.dumps(
        {"ts": "2026-01-01T00:00:00.123456789Z", "event": "dns", "qname": "\x1b[2J\x9b", "nested": ["\x7f\n"]}
    )
    text = as_text(body.encode())
    assert text.isprintable()
    assert text.isascii()


def test_a_search_does_not_block_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a search takes its time, the loop answers another client."""
    others_are_answered = threading.Event()

    def slow(query: Query) -> Iterator[str]:
        assert others_are_answered.wait(30)
        yield from search(query)

    async def run() -> int:
        server = ControlServer(tmp_path / "s.sock", {"events": control.events_handler(store), "numbers": numbers})
        await server.start()
        everything = asyncio.to_thread(lambda: sum(1 for _ in control.ask(tmp_path / "s.sock", "events", {})))
        reading = asyncio.ensure_future(everything)
        for _ in range(3):
            assert await asyncio.to_thread(lambda: list(control.ask(tmp_path / "s.sock", "numbers", 1))) == [b"0"]
        others_are_answered.set()
        found = await reading
        await server.stop()
        return found

    with running_store(tmp_path / "events.db") as store:
        fill(store)
        search = store.search
        monkeypatch.setattr(store, "search", slow)
        assert asyncio.run(run()) == EVENTS + 2


def test_the_answer_has_what_happened_before_the_question(tmp_path: Path) -> None:
    """Although bulk waits to be written: who has seen a metric change finds the event of it."""
    with (
        running_store(tmp_path / "events.db", limits=Limits(batch_seconds=3600)) as store,
        serving(tmp_path / "s.sock", {"events": control.events_handler(store)}),
    ):
        for number in range(20):
            store.append(SAMPLES["dns"] if number % 2 else SAMPLES["verdict"])
            assert len(list(control.ask(tmp_path / "s.sock", "events", {}))) == number + 1


def test_a_damaged_database_is_an_error_to_the_client_only(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with running_store(path) as store, serving(tmp_path / "s.sock", {"events": control.events_handler(store)}):
        assert store.append_confirmed(SAMPLES["verdict"]).result(10)
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(ControlError, match="database: unable to open"):
            list(control.ask(tmp_path / "s.sock", "events", {}))
        (tmp_path / "elsewhere").rename(path)
        assert len(list(control.ask(tmp_path / "s.sock", "events", {}))) == 1
