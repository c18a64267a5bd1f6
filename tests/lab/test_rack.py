"""Nothing stays, whatever ends a run, and the machine's own network is never touched."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from tests.lab.home import Home
from tests.lab.netns import NETNS, NETNS_ETC
from tests.lab.processes import PYTHON_ENV, CommandError, run, start_time
from tests.lab.rack import RECORDS, Rack, sweep_lock
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

# Builds a home with everything in it, says so, and then does what its argument says.
OWNER = """
import signal, sys, time
from tests.lab.home import Home
from tests.lab.rack import interrupt_on_sigterm

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have it ignored
interrupt_on_sigterm()
with Home(gadgets=1, wan_cable=True) as home:
    home.mon.start("sh -c 'setsid sleep 600 & exec sleep 600'")
    outside = home.rack.processes.start(["sleep", "600"])
    print(home.rack.prefix, outside.pid, flush=True)
    if sys.argv[1] == "raise":
        raise ValueError("on purpose")
    time.sleep(600)
"""


def machine_network() -> list[str]:
    commands = ["ip -br link", "ip route", "ip -6 route", "nft list ruleset", "sysctl net.ipv4.ip_forward"]
    commands += [
        "sysctl net.ipv4.ping_group_range",
        "sysctl net.ipv6.conf.all.forwarding",
        "sysctl net.ipv4.icmp_ratelimit",
    ]
    return [run(command.split()).stdout for command in commands]


def remains(prefix: str) -> list[str]:
    folders = (NETNS, NETNS_ETC, RECORDS)
    return [str(path) for folder in folders if folder.exists() for path in folder.glob(f"{prefix}*")]


class Owner:
    """A run of its own; `outside` is a process that it started outside its namespaces."""

    def __init__(self, end: str) -> None:
        command = [sys.executable, "-W", "error", "-c", OWNER, end]
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **PYTHON_ENV})
        assert self.popen.stdout is not None
        self.prefix, outside = self.popen.stdout.readline().split()
        self.outside = int(outside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.popen.kill()
        self.popen.communicate()

    def last_words(self) -> str:
        return self.popen.communicate(timeout=30)[1]


def test_the_machine_stays_as_it_was() -> None:
    before = machine_network()
    with Home(gadgets=1, lan_cable=True) as home, home.fault.captive_portal():
        during = machine_network()
        prefix = home.rack.prefix
        assert remains(prefix)
    assert before == during == machine_network()
    assert remains(prefix) == []


@pytest.mark.parametrize(
    ("end", "number", "last_words"),
    [
        ("raise", None, "ValueError: on purpose"),
        ("sleep", signal.SIGINT, "KeyboardInterrupt"),
        ("sleep", signal.SIGTERM, "KeyboardInterrupt"),
    ],
    ids=["exception", "Ctrl-C", "SIGTERM"],
)
def test_an_owner_that_ends_early_takes_all_with_it(end: str, number: int | None, last_words: str) -> None:
    with Owner(end) as owner:
        if number is not None:
            owner.popen.send_signal(number)
        assert last_words in owner.last_words()
    assert remains(owner.prefix) == []
    assert start_time(owner.outside) is None


def test_what_a_killed_owner_left_is_removed_by_the_next_run() -> None:
    before = machine_network()
    with Owner("sleep") as owner:
        with Rack():
            assert remains(owner.prefix), "a living owner's things are left alone"
        with sweep_lock():  # another run must not be the next one
            owner.popen.kill()
            owner.popen.wait()
            left = [path.name for path in NETNS.glob(f"{owner.prefix}-*")]
            members = [pid for name in left for pid in run(["ip", "netns", "pids", name]).stdout.split()]
    assert len(left) == 7
    assert len(members) >= 2
    with Rack():
        pass
    assert remains(owner.prefix) == []
    assert all(start_time(int(pid)) is None for pid in [*members, str(owner.outside)])
    assert machine_network() == before


def test_a_reused_process_id_is_not_taken_for_the_owner() -> None:
    with Rack() as rack:
        (namespace,) = rack.namespaces("left")
        (rack.directory / "owner").write_text(f"{os.getpid()} 1\n")
        with Rack():
            assert not namespace.path.exists()


def test_stop_asks_first_and_then_kills_the_whole_group(rack: Rack) -> None:
    script = "trap 'echo asked' TERM; sleep 600 & echo $!; while :; do wait; done"
    process = rack.processes.start(["sh", "-c", script])
    child = int(eventually(process.output))
    assert process.running
    assert process.stop(grace=0.3) == -signal.SIGKILL
    assert "asked" in process.output()
    assert not process.running
    eventually(lambda: start_time(child) is None)


def test_a_failed_command_says_what_it_wrote(rack: Rack) -> None:
    (namespace,) = rack.namespaces("one")
    with pytest.raises(CommandError, match=r"(?s)exit 3.*broken"):
        namespace.run("sh -c 'echo broken >&2; exit 3'")


def test_sockets_and_settings_belong_to_the_namespace(rack: Rack) -> None:
    left, right = rack.namespaces("left", "right")
    left.ip(
        f"link add eth0 type veth peer name eth0 netns {right.name}",
        "addr add 198.18.0.1/24 dev eth0",
        "link set eth0 up",
    )
    right.ip("addr add 198.18.0.2/24 dev eth0", "link set eth0 up")
    with right.listen("198.18.0.2", 80) as listener, left.connect("198.18.0.2", 80) as client:
        accepted, peer = listener.accept()
        with accepted:
            assert peer == client.getsockname()
    left.sysctl({"net.ipv4.ip_forward": 1})
    settings = [Path("/proc/sys/net/ipv4/ip_forward").read_text()]
    settings += [side.run("sysctl -n net.ipv4.ip_forward").stdout for side in (left, right)]
    assert settings[1:] == ["1\n", "0\n"]
