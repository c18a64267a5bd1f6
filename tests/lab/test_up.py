"""`netvane up` with all its real parts, in a home of the lab."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from netvane.up.seeing import find_loki
from tests.lab.home import Home
from tests.lab.netns import Namespace
from tests.lab.processes import PYTHON_ENV, Process
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

PING_GROUPS = Path("/proc/sys/net/ipv4/ping_group_range")
NETVANE = [sys.executable, "-m", "netvane.cli", "up"]
PARTS = ("raw", "latency", "hosts", "dhcp", "node", "alertmanager", "prometheus")
CAP_NET_RAW = 1 << 13  # linux/capability.h


def directories(home: Home) -> list[str]:
    return [f"--storage.{kind}-dir={home.rack.directory / kind}" for kind in ("data", "run")]


def start(home: Home, *flags: str, env: dict[str, str] | None = None) -> Process:
    return home.rack.processes.start(
        [*NETVANE, "--netns", home.mon.name, *directories(home), *flags], env={**PYTHON_ENV, **(env or {})}
    )


def eventually_says(up: Process, pattern: str, times: int = 1) -> None:
    """Wait for `times` lines that match."""

    def said() -> bool:
        output = up.output()
        if len(re.findall(pattern, output, re.MULTILINE)) >= times:
            return True
        assert up.running, output
        return False

    try:
        eventually(said, within=60)
    except AssertionError as error:
        raise AssertionError(f"{pattern!r} is not in:\n{up.output()}") from error


def all_run(up: Process) -> None:
    for part in PARTS:
        eventually_says(up, rf"^{part} +running")


def refused(home: Home, *flags: str, code: int) -> str:
    """What a start that fails says on standard error."""
    command = home.mon.command([*NETVANE, *directories(home), *flags])
    environment = {**os.environ, **PYTHON_ENV}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def children(pid: int) -> dict[str, int]:
    """Part -> process id, from the processes themselves."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        program = Path(words[0]).name
        found[words[4] if "python" in program else program.removeprefix("prometheus-")] = int(child)
    return {"node" if name == "node-exporter" else name: child for name, child in found.items()}


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: " ".join(value.split()) for key, value in (line.split(":", 1) for line in lines)}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ping_groups(home: Home) -> str:
    return " ".join(home.mon.call(PING_GROUPS.read_text).split())


@pytest.fixture
def up(home: Home) -> Iterator[Process]:
    """All parts running, where ping was forbidden before."""
    home.mon.sysctl({"net.ipv4.ping_group_range": "1 0"})
    with start(home) as process:
        all_run(process)
        yield process


def test_every_part_has_its_own_user_and_just_its_capability(home: Home, up: Process) -> None:
    (user,) = re.findall(r"^netvane:x:(\d+):(\d+):", Path("/etc/passwd").read_text(), re.MULTILINE)
    running = children(up.pid)
    assert set(running) - {"loki", "grafana"} == set(PARTS)  # these only where they are installed
    for part, pid in running.items():
        now = status(pid)
        assert now["Uid"].split() == [user[0]] * 4, part
        assert now["Gid"].split() == [user[1]] * 4, part
        assert now["Groups"] == "", part
        assert now["NoNewPrivs"] == "1", part
        for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(now[capabilities], 16) == (CAP_NET_RAW if part == "raw" else 0), (part, capabilities)
        assert os.getsid(pid) == pid, part
    for state in (home.rack.directory / "data").iterdir():
        if state.is_dir():
            assert (state.stat().st_mode & 0o7777, str(state.stat().st_uid)) == (0o700, user[0]), state
    alertmanager = home.rack.directory / "run/up/rendered/alertmanager.yml"
    assert alertmanager.stat().st_mode & 0o777 == 0o600


def test_it_says_what_runs_and_what_it_watches_and_stops_without_a_trace(home: Home, up: Process) -> None:
    eventually_says(
        up, r"^open .*alertmanager http://127\.0\.0\.1:9093/, prometheus http://127\.0\.0\.1:9090/ \(inside"
    )
    output = up.output()
    assert re.search(
        r"^network +eth0, 198\.51\.100\.0/24, router 198\.51\.100\.1, IPv6 router fe80::1%eth0$", output, re.MULTILINE
    )
    assert re.search(r"^alerts +no receiver is configured", output, re.MULTILINE)
    assert re.search(r"^latency +running +http://127\.0\.0\.1:9741/metrics$", output, re.MULTILINE)
    assert re.search(r"^(loki|grafana) +off: ", output, re.MULTILINE)
    assert home.mon.http("http://127.0.0.1:9741/metrics").status == 200
    assert ping_groups(home) == "0 2147483647"

    running = children(up.pid)
    assert Path(f"/proc/{running['latency']}/root/etc/resolv.conf").read_text() == home.mon.resolv_conf.read_text()
    assert up.stop(grace=60) == 0
    assert not any(is_alive(pid) for pid in running.values())
    assert ping_groups(home) == "1 0"
    assert list((home.rack.directory / "run/up/notify").iterdir()) == []
    assert "restarting" not in up.output()


def test_what_dies_is_restarted(up: Process) -> None:
    before = children(up.pid)
    os.kill(before["latency"], signal.SIGKILL)
    eventually_says(up, r"^latency: restarting in 1 s: killed by SIGKILL")
    eventually_says(up, r"^latency +running", times=2)
    after = children(up.pid)
    assert after.pop("latency") != before.pop("latency")
    assert after == before


def test_nothing_survives_a_killed_up(up: Process) -> None:
    running = children(up.pid)
    os.kill(up.pid, signal.SIGKILL)
    up.wait()
    eventually(lambda: not any(is_alive(pid) for pid in running.values()), within=60)


def test_a_second_start_is_refused(home: Home, up: Process) -> None:
    told = refused(home, code=1)
    assert told == (
        f"netvane up: already running with the data directory {home.rack.directory}/data, as process {up.pid}\n"
    )


def test_reload(home: Home, tmp_path: Path) -> None:
    config = tmp_path / "netvane.yml"  # where only root can read it
    config.write_text("site: one\n")
    with start(home, f"--config.file={config}") as up:
        all_run(up)
        before = children(up.pid)

        config.write_text("sight: two\n")
        os.kill(up.pid, signal.SIGHUP)
        eventually_says(up, rf"^reload +the old configuration stays: {config}:1: sight: unknown key")

        config.write_text("site: two\nlatency: {targets: [{name: self, host: 127.0.0.1}]}\nup: {retention_time: 9d}\n")
        os.kill(up.pid, signal.SIGHUP)
        eventually_says(up, r"^reload +done")
        eventually(lambda: 'target="self"' in home.mon.http("http://127.0.0.1:9741/metrics").text, within=60)
        eventually_says(up, r"^prometheus +running", times=2)
        after = children(up.pid)
        assert after.pop("prometheus") != before.pop("prometheus")  # only it has another command line now
        assert after == before
        assert "site: two" in home.mon.http("http://127.0.0.1:9090/api/v1/status/config").text


def test_a_busy_port_costs_one_part_only(home: Home) -> None:
    with home.mon.listen("127.0.0.1", 9090), start(home) as up:
        eventually_says(up, rf"^prometheus +off: port 9090 is taken by .* \(pid {os.getpid()}\); it is tried again$")
        eventually_says(up, r"^latency +running")
        eventually_says(up, r"^open +alertmanager \S+ \(inside")


def test_missing_programs(home: Home, tmp_path: Path) -> None:
    for program in ("setpriv", "test", "prometheus-node-exporter", "nsenter", "unshare", "sh", "mount"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    tmp_path.parent.chmod(0o755)
    with start(home, env={"PATH": str(tmp_path)}) as up:
        eventually_says(up, r"^prometheus +off: no `prometheus` on PATH$")
        eventually_says(up, r"^alertmanager +off: no `prometheus-alertmanager` or `alertmanager` on PATH$")
        eventually_says(up, r"^latency +running")
        targets = home.rack.directory / "run/up/rendered/targets"
        assert {path.stem for path in targets.iterdir()} == {"latency", "hosts", "dhcp", "node"}


def test_what_it_cannot_start_with_is_one_line(home: Home, tmp_path: Path) -> None:
    bad = tmp_path / "netvane.yml"
    bad.write_text("network:\n  interfase: eth0\n")
    assert refused(home, f"--config.file={bad}", code=2).startswith(
        f"netvane up: {bad}:2: network.interfase: unknown key"
    )
    assert refused(home, "--storage.data-dir=/proc/nowhere", code=1) == (
        "netvane up: the data directory /proc/nowhere cannot be written: No such file or directory\n"
    )
    assert refused(home, "--netns=no-such", code=1).startswith(
        "netvane up: no network namespace 'no-such'; there are: "
    )
    home.mon.ip("link set lo down")
    assert refused(home, code=1).startswith("netvane up: the loopback interface is down")
    home.mon.ip("link set lo up")
    closed = tmp_path / "closed"
    closed.mkdir()
    tmp_path.chmod(0o700)
    assert f"{closed}/latency cannot be written by the user netvane" in refused(
        home, f"--storage.data-dir={closed}", code=1
    )


@pytest.fixture
def ordinary(home: Home) -> tuple[Namespace, list[str], dict[str, str]]:
    """A user without any privilege: namespace, what comes before a command, environment."""
    own = home.rack.directory / "home"
    own.mkdir()
    os.chown(own, 65534, 65534)
    wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"]
    return home.mon, wrapper, {**PYTHON_ENV, "HOME": str(own), "XDG_RUNTIME_DIR": ""}


def test_without_root_it_runs_what_it_can(home: Home, ordinary: tuple[Namespace, list[str], dict[str, str]]) -> None:
    namespace, wrapper, environment = ordinary
    home.mon.sysctl({"net.ipv4.ping_group_range": "1 0"})
    with namespace.start([*wrapper, *NETVANE], env=environment) as up:
        eventually_says(up, r"^raw +off: needs root, to hand it CAP_NET_RAW")
        eventually_says(up, r"^ping +the kernel forbids ping here; allow it with: sudo sysctl -w 'net")
        for part in ("node", "alertmanager", "prometheus"):
            eventually_says(up, rf"^{part} +running")
        eventually_says(up, r"^latency +degraded: ")
        data = home.rack.directory / "home/.local/share/netvane"
        assert {path.name for path in data.iterdir()} == {
            *("up.lock", "run", "latency", "hosts", "dhcp", "node", "alertmanager", "prometheus")
        }
        assert {status(pid)["NoNewPrivs"] for pid in children(up.pid).values()} == {"1"}
        assert up.stop(grace=60) == 0
    with namespace.start([*wrapper, *NETVANE, f"--netns={home.gw.name}"], env=environment) as up:
        assert up.wait(60) == 1
        assert up.output() == "netvane up: --netns needs root\n"


@pytest.mark.parametrize("end", ["interrupt", "hang-up"])
def test_at_a_terminal(home: Home, end: str) -> None:
    """Ctrl-C reaches `up` alone, once; a terminal that goes away ends it too, although SIGHUP means reload."""
    terminal, theirs = pty.openpty()
    command = home.mon.command([*NETVANE, *directories(home)])
    with subprocess.Popen(
        ["setsid", "--ctty", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **PYTHON_ENV},
    ) as process:
        try:
            os.close(theirs)
            output = b""
            while b"\nopen " not in output:
                output += os.read(terminal, 4096)
            running = children(process.pid)
            assert running
            if end == "interrupt":
                os.write(terminal, b"\x03")
                while b"Ctrl-C again" not in output:
                    output += os.read(terminal, 4096)
                assert process.wait(60) == 0
                os.close(terminal)
            else:
                os.close(terminal)
                assert process.wait(60) == 0
            assert b"restarting" not in output
            assert not any(is_alive(pid) for pid in running.values())
        finally:
            process.terminate()


@pytest.mark.long
@pytest.mark.skipif(find_loki()[0] is None, reason=find_loki()[1])
def test_events_reach_the_loki_that_it_starts(home: Home) -> None:
    with start(home) as up:
        eventually_says(up, r"^loki +running +http://127\.0\.0\.1:3100$")
        query = urlencode({"query": '{job="latency", event="verdict"}'})

        def has_arrived() -> bool:
            answer = home.mon.http(f"http://127.0.0.1:3100/loki/api/v1/query_range?{query}")
            return bool(json.loads(answer.text)["data"]["result"])

        eventually(has_arrived, within=60, what="a verdict in Loki")
        assert up.stop(grace=60) == 0
