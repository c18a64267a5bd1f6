"""The supervisor with real child processes."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from netvane.up.part import Address, Part, State
from netvane.up.supervisor import Supervisor, Surroundings, Timing

FAST = Timing(grace=20, patience=30, starting_poll=0.02, poll=0.02, watchdog=60)
NOTIFY = "import os, socket, sys, time; s = socket.socket(1, 2); s.connect(os.environ['NOTIFY_SOCKET']); "
WAIT = "signal.pause()"


class Told:
    """What the supervisor told, in its order."""

    def __init__(self) -> None:
        self.states: list[tuple[str, State]] = []
        self.lines: list[tuple[str, str]] = []

    def words(self, name: str) -> list[str]:
        return [state.word for part, state in self.states if part == name]

    def last(self, name: str) -> State:
        return next((state for part, state in reversed(self.states) if part == name), State("starting"))


@asynccontextmanager
async def supervised(tmp_path: Path, *parts: Part, timing: Timing = FAST) -> AsyncIterator[tuple[Supervisor, Told]]:
    told = Told()
    surroundings = Surroundings(
        who=None,
        notify_dir=tmp_path,
        environment={"PATH": os.environ["PATH"]},
        on_state=lambda part, state: told.states.append((part.name, state)),
        on_line=lambda part, line, _news: told.lines.append((part.name, line)),
        timing=timing,
    )
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        supervisor = Supervisor(parts, surroundings, tasks)
        yield supervisor, told
        await supervisor.stop()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - conditions are about other processes, which set no events
        await asyncio.sleep(0.01)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def call() -> None:
        await test()

    asyncio.run(call())


def python(tmp_path: Path, name: str, program: str, **fields: object) -> Part:
    command = (sys.executable, "-c", "import signal; " + program)
    return Part(name=name, command=command, directory=tmp_path, **fields)  # type: ignore[arg-type]


def pids(told: Told, name: str) -> list[int]:
    return [int(line.removeprefix("pid ")) for part, line in told.lines if part == name and line.startswith("pid ")]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_ready_degraded_and_well_again(tmp_path: Path) -> None:
    program = (
        NOTIFY
        + "s.send(b'STATUS=degraded: no router'); time.sleep(0.1); s.send(b'READY=1'); "
        + "signal.signal(signal.SIGHUP, lambda *_: s.send(b'STATUS=running')); print('armed', flush=True)\n"
        + "while True: signal.pause()"
    )

    async def test() -> None:
        async with supervised(tmp_path, python(tmp_path, "vane", program, reloads=True)) as (supervisor, told):
            await until(lambda: told.last("vane") == State("degraded", "no router"))
            await until(lambda: ("vane", "armed") in told.lines)
            await supervisor.reload([part for part, _ in supervisor.states])
            await until(lambda: told.last("vane") == State("running"))
        assert told.words("vane") == ["degraded", "running", "stopped"]

    run(test)


def test_restarts_with_backoff_and_the_last_words(tmp_path: Path) -> None:
    program = (
        "print('level=info msg=fine'); print('level=error msg=\"no such thing\"'); print('level=info bye'); exit(3)"
    )

    async def test() -> None:
        async with supervised(tmp_path, python(tmp_path, "vane", program)) as (_, told):
            await until(lambda: told.words("vane").count("restarting") == 2)
            why = [state.why for _, state in told.states if state.word == "restarting"]
            assert why == [
                'in 1 s: exited with 3: level=error msg="no such thing"',
                'in 2 s: exited with 3: level=error msg="no such thing"',
            ]

    run(test)


def test_another_part_runs_on_while_one_dies(tmp_path: Path) -> None:
    well = python(tmp_path, "well", NOTIFY + "print('pid', os.getpid(), flush=True); s.send(b'READY=1'); " + WAIT)
    dying = python(tmp_path, "dying", "import os; os.kill(os.getpid(), 9)")

    async def test() -> None:
        async with supervised(tmp_path, well, dying) as (_, told):
            await until(lambda: told.last("dying").why == "in 1 s: killed by SIGKILL")
            await until(lambda: told.last("well").word == "running")
        assert len(pids(told, "well")) == 1

    run(test)


def test_stops_in_reverse_and_kills_who_does_not_obey(tmp_path: Path) -> None:
    ready = NOTIFY + "print('pid', os.getpid(), flush=True); s.send(b'READY=1'); "
    first = python(tmp_path, "first", ready + WAIT)
    deaf = python(tmp_path, "deaf", "signal.signal(signal.SIGTERM, signal.SIG_IGN); " + ready + "time.sleep(300)")

    async def test() -> None:
        timing = Timing(grace=0.3, starting_poll=0.02, poll=0.02)
        async with supervised(tmp_path, first, deaf, timing=timing) as (_, told):
            await until(lambda: told.last("first").word == told.last("deaf").word == "running")
        assert [name for name, state in told.states if state.word == "stopped"] == ["deaf", "first"]
        assert ("deaf", "does not stop within 0.3 s: killed") in told.lines
        assert not any(is_alive(pid) for pid in pids(told, "first") + pids(told, "deaf"))

    run(test)


def test_what_a_part_started_itself_dies_with_it(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys; "
        "child = subprocess.Popen(['sleep', '300']); print('pid', child.pid, flush=True); os.kill(os.getpid(), 9)"
    )

    async def test() -> None:
        async with supervised(tmp_path, python(tmp_path, "vane", program)) as (_, told):
            await until(lambda: told.last("vane").word == "restarting")
            (pid,) = pids(told, "vane")
            await until(lambda: not is_alive(pid))

    run(test)


def test_who_fed_the_watchdog_and_stops_is_restarted(tmp_path: Path) -> None:
    program = (
        NOTIFY + "print(os.environ['WATCHDOG_USEC'], flush=True); s.send(b'READY=1\\nWATCHDOG=1'); time.sleep(300)"
    )

    async def test() -> None:
        timing = Timing(starting_poll=0.02, poll=0.02, watchdog=0.5)
        async with supervised(tmp_path, python(tmp_path, "vane", program), timing=timing) as (_, told):
            await until(lambda: told.last("vane").word == "restarting")
            assert told.last("vane").why == "in 1 s: hung for 0.5 s and was killed: 500000"

    run(test)


def test_not_ready_in_time_is_degraded(tmp_path: Path) -> None:
    async def test() -> None:
        timing = Timing(patience=0.1, starting_poll=0.02)
        async with supervised(tmp_path, python(tmp_path, "vane", "signal.pause()"), timing=timing) as (_, told):
            await until(lambda: told.last("vane").word == "degraded")
            assert told.last("vane").why == "not ready after 0.1 s: it has not said that it is ready"

    run(test)


def test_http_part_waits_for_its_port_and_answers_for_itself(tmp_path: Path) -> None:
    server = (
        "import http.server, sys\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(self.server.status); self.end_headers()\n"
        "    def log_message(self, *_): pass\n"
        "server = http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler)\n"
        "server.status = 200\n"
        "def sick(*_): server.status = 503\n"
        "signal.signal(signal.SIGHUP, sick)\n"
        "server.serve_forever()\n"
    )

    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            part = Part(
                name="http",
                command=(sys.executable, "-c", "import signal\n" + server, str(port)),
                directory=tmp_path,
                listen=Address("127.0.0.1", port),
                ready_path="/-/ready",
                reloads=True,
            )
            async with supervised(tmp_path, part) as (supervisor, told):
                await until(lambda: told.last("http").word == "off")
                assert told.last("http").why.startswith(f"port {port} is taken by ")
                assert told.last("http").why.endswith(f"(pid {os.getpid()}); it is tried again")
                other.close()
                await until(lambda: told.last("http").word == "running")
                await supervisor.reload([part])
                await until(lambda: told.last("http").word == "degraded")
                assert told.last("http").why == f"http://127.0.0.1:{port}/-/ready answers 503"

    run(test)


def test_a_missing_program_is_a_line_not_a_traceback(tmp_path: Path) -> None:
    gone = Part(name="gone", command=("/nowhere/program",), directory=tmp_path)
    nowhere = Part(name="nowhere", command=("true",), directory=tmp_path / "absent")

    async def test() -> None:
        async with supervised(tmp_path, gone, nowhere) as (_, told):
            await until(lambda: told.last("gone").word == told.last("nowhere").word == "restarting")
            assert "exited with 127" in told.last("gone").why
            assert "/nowhere/program" in told.last("gone").why
            assert told.last("nowhere").why.endswith(f"cannot be started: {tmp_path}/absent: No such file or directory")

    run(test)


def test_reload_restarts_only_what_became_another(tmp_path: Path) -> None:
    ready = NOTIFY + "print('pid', os.getpid(), flush=True); s.send(b'READY=1'); " + WAIT
    same, old = python(tmp_path, "same", ready), python(tmp_path, "old", ready)
    off = Part(name="off", off="no such program")

    async def test() -> None:
        async with supervised(tmp_path, same, old, off) as (supervisor, told):
            await until(lambda: told.last("same").word == told.last("old").word == "running")
            assert told.last("off") == State("off", "no such program")
            new = python(tmp_path, "old", ready + " # new")
            await supervisor.reload([same, new, off])
            await until(lambda: len(pids(told, "old")) == 2 and told.last("old").word == "running")
        assert len(pids(told, "same")) == 1
        assert told.words("old") == ["running", "stopped", "running", "stopped"]

    run(test)


@pytest.mark.parametrize("when", ["at once", "in the back-off"])
def test_stops_in_every_state(tmp_path: Path, when: str) -> None:
    async def test() -> None:
        async with supervised(tmp_path, python(tmp_path, "vane", "exit(1)")) as (_, told):
            if when == "in the back-off":
                await until(lambda: told.last("vane").word == "restarting")
        assert told.last("vane") == State("stopped")

    run(test)


def test_killing_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    deaf = python(
        tmp_path,
        "deaf",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); " + NOTIFY + "s.send(b'READY=1'); time.sleep(300)",
    )

    async def test() -> None:
        async with supervised(tmp_path, deaf, timing=Timing(grace=1000, starting_poll=0.02)) as (supervisor, told):
            await until(lambda: told.last("deaf").word == "running")
            asyncio.get_running_loop().call_later(0.1, supervisor.kill)
        assert told.last("deaf").word == "stopped"

    run(test)


def test_children_ignore_the_terminals_interrupt(tmp_path: Path) -> None:
    """They live in sessions of their own: a Ctrl-C reaches `up` alone, which then stops them in order."""
    program = NOTIFY + "print('pid', os.getpid(), flush=True); s.send(b'READY=1'); " + WAIT

    async def test() -> None:
        async with supervised(tmp_path, python(tmp_path, "vane", program)) as (_, told):
            await until(lambda: told.last("vane").word == "running" and len(pids(told, "vane")) == 1)
            (pid,) = pids(told, "vane")
            assert os.getsid(pid) == os.getpgid(pid) == pid
            os.kill(pid, signal.SIGTERM)
            await until(lambda: told.last("vane").word == "restarting")

    run(test)
