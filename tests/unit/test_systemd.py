"""With a real socket in the place of systemd's."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netvane.common.systemd import notify, watchdog_seconds


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "file" else f"\0netvane-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(name)
        channel.settimeout(5)
        yield channel


def test_notify(manager: socket.socket) -> None:
    notify("READY=1\nSTATUS=watching eth0")
    assert manager.recv(4096) == b"READY=1\nSTATUS=watching eth0"


def test_a_manager_that_does_not_read_blocks_nobody(manager: socket.socket) -> None:
    for _ in range(10_000):
        notify("WATCHDOG=1")
    assert manager.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/at/all"])
def test_no_manager(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        (None, None, None),
        ("30000000", None, 30.0),
        pytest.param("1500000", str(os.getpid()), 1.5, id="ours"),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        ("\u0663", None, None),
    ],
)
def test_watchdog_seconds(
    monkeypatch: pytest.MonkeyPatch, microseconds: str | None, pid: str | None, seconds: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert watchdog_seconds() == seconds
