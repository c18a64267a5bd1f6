"""What parts write, and what `up` prints of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.up.console import state_line
from netvane.up.output import MAX_LINE_BYTES, Lines, Tail, is_news
from netvane.up.part import Address, Backoff, Part, State

EXPORTERS = Path(__file__).parents[2] / "exporters"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ts=1 level=info msg=ready", False),
        ("ts=1 level=warn msg=slow", True),
        ("ts=1 level=warning logger=x msg=y", True),
        ('{"level":"ERROR","msg":"x"}', True),
        ('{"level": "debug", "msg":"level of trust"}', False),
        ("time=1 level=ERROR source=main.go:1", True),
        ("Traceback (most recent call last):", False),
        ("panic: runtime error: index out of range", True),
        ("fatal error: out of memory", True),
        ("", False),
    ],
)
def test_news(line: str, expected: bool) -> None:
    assert is_news(line) is expected


def test_lines_across_reads() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed(b"o\r\n\tthree") == ["two"]
    assert lines.end() == ["    three"]
    assert lines.feed(b"\n") == ["    three"]
    assert lines.end() == []


def test_a_line_without_an_end_is_cut_once_and_the_next_one_is_whole() -> None:
    lines = Lines()
    assert lines.feed(b"a" * (MAX_LINE_BYTES + 1)) == ["a" * MAX_LINE_BYTES]
    assert lines.feed(b"b" * MAX_LINE_BYTES * 3) == []
    assert lines.end() == []
    assert lines.feed(b"rest of it\nnext\nlast") == ["next"]
    assert lines.end() == ["last"]


def test_terminal_escapes_of_strangers_are_not_printed() -> None:
    assert Lines().feed(b"name=\x1b[2Jgadget\x07\xff\n") == ["name=\ufffd[2Jgadget\ufffd\ufffd"]


@given(st.lists(st.binary(max_size=100), max_size=50))
def test_any_bytes_become_bounded_printable_lines(chunks: list[bytes]) -> None:
    lines = Lines()
    told = [line for chunk in chunks for line in lines.feed(chunk)] + lines.end()
    assert len(told) <= b"".join(chunks).count(b"\n") + 1
    assert all(line.isprintable() for line in told)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["level=info msg=a", "level=error msg=why", "level=info msg=bye"], "level=error msg=why"),
        (["Traceback (most recent call last):", "  File x", "OSError: no", ""], "OSError: no"),
        (["panic: boom", "goroutine 1 [running]:", "main.main()"], "panic: boom"),
        ([" ", ""], ""),
    ],
)
def test_last_words(lines: list[str], words: str) -> None:
    tail = Tail()
    for line in lines:
        tail.add(line)
    assert tail.last_words() == words


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (State("running"), "latency       running   http://127.0.0.1:9741/metrics"),
        (State("degraded", "no router"), "latency       degraded: no router"),
        (State("off", "no such program"), "latency       off: no such program"),
        (State("restarting", "in 2 s: exited with 1: boom"), "latency: restarting in 2 s: exited with 1: boom"),
        (State("starting"), None),
        (State("stopped"), None),
    ],
)
def test_state_lines(state: State, line: str | None) -> None:
    assert state_line(Part(name="latency", shows="http://127.0.0.1:9741/metrics"), state) == line


def test_a_reader_that_goes_away_is_noticed_without_a_complaint() -> None:
    program = (
        "import sys; from netvane.up.console import Console\n"
        "told = []\n"
        "console = Console(everything=False, on_broken=lambda: told.append(1))\n"
        "sys.stdin.readline()\n"
        "console.say('x'); console.say('y'); sys.stderr.write(f'{len(told)} broken')"
    )
    reading, writing = os.pipe()
    environment = {**os.environ, "PYTHONPATH": str(EXPORTERS)}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        os.close(writing)
        os.close(reading)
        assert process.communicate("go\n", timeout=30)[1] == "1 broken"
        assert process.returncode == 0


def test_backoff_doubles_up_to_a_minute_and_forgets_after_a_good_run() -> None:
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.after(59) == 60
    assert backoff.after(61) == 1
    assert backoff.after(0) == 2


@pytest.mark.parametrize(
    ("text", "address", "near"),
    [
        ("127.0.0.1:9090", Address("127.0.0.1", 9090), "127.0.0.1:9090"),
        ("[fd00::1]:9090", Address("fd00::1", 9090), "[fd00::1]:9090"),
        (":9090", Address("", 9090), "127.0.0.1:9090"),
        ("0.0.0.0:9090", Address("0.0.0.0", 9090), "127.0.0.1:9090"),
        ("[::]:9090", Address("::", 9090), "127.0.0.1:9090"),
    ],
)
def test_addresses(text: str, address: Address, near: str) -> None:
    assert Address.parse(text) == address
    assert str(address) == text
    assert str(address.near) == near
