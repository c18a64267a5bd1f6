"""The life of an exporter, with a real process: start, reload, stop, watchdog, exit codes."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netvane.common.service import ServiceError, parse_address, private_directory

EXPORTERS = Path(__file__).parents[2] / "exporters"


@contextmanager
def exporter(
    tmp_path: Path, *flags: str, env: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A latency exporter with nothing to probe, and the base of its URLs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "netvane.yml"
    if not config.exists():
        config.write_text("network: {interface: lo}\n")
    arguments = [
        *(sys.executable, "-m", "netvane.cli", "latency", f"--config.file={config}"),
        *(f"--storage.data-dir={tmp_path / 'data'}", f"--storage.run-dir={tmp_path}"),
        *(f"--web.listen-address=127.0.0.1:{port}", *flags),
    ]
    environment = {**os.environ, "PYTHONPATH": str(EXPORTERS), **(env or {})}
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError):
        return ""


def test_reload_keeps_the_old_configuration_when_the_new_one_is_bad(tmp_path: Path) -> None:
    with exporter(tmp_path) as (process, url):
        wait_for(lambda: page(url + "/-/ready") == "OK\n")
        config = tmp_path / "netvane.yml"

        config.write_text("network: {interface: lo}\nlatency: {intervall: 1s}\n")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "netvane_config_last_reload_successful 0.0" in page(url + "/metrics"))
        assert page(url + "/-/healthy") == "OK\n"

        config.write_text("network: {interface: lo}\nlatency: {targets: [{name: self, host: 127.0.0.1}]}\n")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: 'target="self"' in page(url + "/metrics"))
        assert "netvane_config_last_reload_successful 1.0" in page(url + "/metrics")

        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
        assert process.stderr is not None
        told = process.stderr.read()
        assert "latency.intervall: unknown key" in told
        assert "Traceback" not in told


def test_systemd_hears_ready_watchdog_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        with exporter(tmp_path, env=env) as (process, _):
            heard: list[str] = []

            def hear(wanted: str) -> None:
                while not any(wanted in message for message in heard):
                    heard.append(systemd.recv(4096).decode())

            hear("READY=1")
            hear("WATCHDOG=1")
            process.send_signal(signal.SIGHUP)
            hear("RELOADING=1")
            process.send_signal(signal.SIGINT)
            hear("STOPPING=1")
            assert process.wait(timeout=5) == 0


def run(tmp_path: Path, *flags: str) -> tuple[int, str]:
    with exporter(tmp_path, *flags) as (process, _):
        _, told = process.communicate(timeout=30)
        return process.returncode, told


def test_bad_configuration_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "netvane.yml").write_text("latency:\n  targets: 7\n")
    for flags in ((), ("--config.check",)):
        code, told = run(tmp_path, *flags)
        assert code == 2
        assert told == f"netvane latency: {tmp_path}/netvane.yml:2: latency.targets: expected a list, got '7'\n"
    assert run(tmp_path, "--web.listen-address=nonsense")[0] == 2


def test_good_configuration_is_checked_and_nothing_is_touched(tmp_path: Path) -> None:
    assert run(tmp_path, "--config.check") == (0, "")
    assert not (tmp_path / "data").exists()


def test_an_address_in_use_is_one_line_and_exit_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, told = run(tmp_path, f"--web.listen-address=127.0.0.1:{taken.getsockname()[1]}", "--log.level=error")
    assert code == 1
    assert told.endswith("Address already in use\n")
    assert told.count("\n") == 1


def test_a_data_directory_that_cannot_be_made_is_one_line_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    code, told = run(tmp_path, "--log.level=error")
    assert (code, told) == (1, f"netvane latency: {tmp_path}/data/latency cannot be written: Not a directory\n")


def test_private_directory(tmp_path: Path) -> None:
    assert private_directory(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ServiceError, match="cannot be written: "):
        private_directory(Path("/proc/nothing"))


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9741", ("127.0.0.1", 9741)), ("[::1]:80", ("::1", 80)), (":9741", ("", 9741))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
