"""The life of `netvane raw`: command line, capabilities, signals, systemd."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.netns import Namespace
from tests.lab.processes import PYTHON_ENV
from tests.lab.rack import Rack
from tests.lab.raw import COMMAND, as_unprivileged, running_raw, unprivileged
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab


@pytest.fixture
def watcher(rack: Rack) -> Namespace:
    (watcher,) = rack.namespaces("watcher")
    return watcher


def run(watcher: Namespace, *flags: str, prefix: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """To its end, which must come by itself."""
    command = watcher.command(["env", f"PYTHONPATH={PYTHON_ENV['PYTHONPATH']}", *(prefix or []), *COMMAND, *flags])
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


def test_stop_by_signal_and_no_reload(watcher: Namespace, rack: Rack) -> None:
    with running_raw(watcher, rack.directory, interface=None) as raw:
        raw.process.signal(signal.SIGHUP)
        eventually(lambda: "nothing to reload" in raw.process.output(), what="SIGHUP taken")
        assert raw.is_answering()
        raw.process.signal(signal.SIGTERM)
        assert raw.process.wait(5) == 0
        assert not raw.socket.exists()


def test_stop_in_the_middle_of_work(watcher: Namespace, rack: Rack) -> None:
    """A trace, a subscription and a client that only hangs there do not hold it up."""
    watcher.ip("link add veth0 type veth peer name veth1", "link set veth0 up", "link set veth1 up")
    watcher.ip("addr add 198.51.100.10/24 dev veth0")
    with running_raw(watcher, rack.directory, interface=None) as raw:
        words = [b'{"type":"trace","destination":"198.51.100.99"}\n', b'{"type":"subscribe"}\n', b'{"type"']
        clients = []
        for word in words:
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(raw.socket))
            client.send(word)
            clients.append(client)
        eventually(lambda: raw.status().subscribers == 1 and raw.status().probes_sent > 0, what="work")
        raw.process.signal(signal.SIGTERM)
        assert raw.process.wait(5) == 0
        for client in clients:
            client.close()
        assert "Traceback" not in raw.process.output()


def test_second_start_is_refused_and_a_killed_ones_place_taken(watcher: Namespace, rack: Rack) -> None:
    with running_raw(watcher, rack.directory, interface=None) as raw:
        second = run(watcher, f"--run-dir={raw.socket.parent}")
        assert second.returncode == 1
        assert only_line(second.stderr) == f"netvane raw: another netvane raw listens on {raw.socket}"
        assert raw.status().connections == 1
        raw.process.signal(signal.SIGKILL)
        raw.process.wait()
        assert raw.socket.exists()
    with running_raw(watcher, rack.directory, interface=None) as raw:
        assert raw.status().connections == 1


def test_without_the_capability(watcher: Namespace, rack: Rack) -> None:
    done = run(watcher, f"--run-dir={rack.directory}", prefix=as_unprivileged(None))
    assert done.returncode == 1
    assert only_line(done.stderr) == "netvane raw: needs the capability CAP_NET_RAW: Operation not permitted"


def test_run_directory_absent_or_closed(watcher: Namespace, rack: Rack) -> None:
    absent = rack.directory / "absent"
    done = run(watcher, f"--run-dir={absent}")
    assert done.returncode == 1
    assert only_line(done.stderr) == f"netvane raw: {absent}/raw.sock: No such file or directory"
    closed = rack.directory / "closed"
    closed.mkdir(mode=0o500)
    os.chown(closed, unprivileged(), unprivileged())
    done = run(watcher, f"--run-dir={closed}", prefix=as_unprivileged())
    assert done.returncode == 1
    assert only_line(done.stderr) == f"netvane raw: {closed}/raw.sock: Permission denied"


@pytest.mark.parametrize(
    "flags",
    [["--no-such-flag"], ["--interface=much-too-long-for-one"], ["--interface="], ["--log.level=loud"], ["extra"]],
)
def test_bad_command_line(watcher: Namespace, flags: list[str]) -> None:
    done = run(watcher, *flags)
    assert done.returncode == 2
    assert "netvane raw: error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_systemd_hears_of_start_life_and_end(watcher: Namespace, rack: Rack) -> None:
    run_dir = rack.directory / "systemd"
    run_dir.mkdir()
    os.chown(run_dir, unprivileged(), unprivileged())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(run_dir / "notify"))
        os.chown(run_dir / "notify", unprivileged(), unprivileged())
        manager.settimeout(20)
        command = [*as_unprivileged(), *COMMAND, f"--run-dir={run_dir}", "--log.format=json"]
        env = {**PYTHON_ENV, "NOTIFY_SOCKET": str(run_dir / "notify"), "WATCHDOG_USEC": "10000000"}
        with watcher.start(command, env=env) as process:
            assert manager.recv(100) == b"READY=1"
            assert [manager.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            process.signal(signal.SIGTERM)
            while (said := manager.recv(100)) == b"WATCHDOG=1":
                pass
            assert said == b"STOPPING=1"
            assert process.wait(5) == 0
            assert json.loads(process.output().splitlines()[0])["msg"] == "ready"


def test_scapy_stays_out(watcher: Namespace) -> None:
    script = "import sys, netvane.raw.command; print([name for name in sys.modules if 'scapy' in name])"
    done = subprocess.run(
        watcher.command([sys.executable, "-c", script]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, **PYTHON_ENV},
    )
    assert done.stdout == "[]\n"


def test_memory_at_rest(watcher: Namespace, rack: Rack) -> None:
    with running_raw(watcher, rack.directory, interface=None) as raw:
        raw.status()
        status = Path(f"/proc/{raw.process.pid}/status").read_text()
        (kilobytes,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
        assert kilobytes < 40_000
