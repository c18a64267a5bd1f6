"""Directories, the lock, privileges and the command lines of the parts."""

import os
import re
import select
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from netvane.common.config import Size
from netvane.common.settings import Storage
from netvane.up import places, privileges
from netvane.up.namespace import enter_command
from netvane.up.parts import Plan, state_directories
from netvane.up.places import Places, UpError
from netvane.up.privileges import Identity
from netvane.up.settings import Up

NETVANE = Identity("netvane", 995, 995)


def test_the_command_line_and_the_file_choose_directories(tmp_path: Path) -> None:
    file = Storage(data_dir=tmp_path / "data", run_dir=tmp_path / "run")
    assert places.choose(file, None, None) == (tmp_path / "data", tmp_path / "run")
    assert places.choose(file, tmp_path / "d", tmp_path / "r") == (tmp_path / "d", tmp_path / "r")


def test_defaults_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert places.choose(Storage(), None, None) == (Path("/var/lib/netvane"), Path("/run/netvane"))


def test_defaults_without_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    data = tmp_path / ".local/share/netvane"
    assert places.choose(Storage(), None, None) == (data, data / "run")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert places.choose(Storage(), None, None) == (data, Path("/run/user/1000/netvane"))


def test_a_second_start_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    first = places.lock(tmp_path)
    with pytest.raises(UpError, match=f"already running with the data directory {tmp_path}, as process {os.getpid()}$"):
        places.lock(tmp_path)
    os.close(first)
    os.close(places.lock(tmp_path))


def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UpError, match=f"the data directory {tmp_path}/file cannot be written: File exists"):
        places.lock(tmp_path / "file")
    with pytest.raises(UpError, match="the data directory /proc/nowhere cannot be written: No such file or directory"):
        places.lock(Path("/proc/nowhere"))


def test_a_run_directory_too_long_for_sockets(tmp_path: Path) -> None:
    with pytest.raises(UpError, match="too long for sockets"):
        places.make(Places(tmp_path, tmp_path / ("x" * 100)), None)


def test_another_ones_link_in_the_run_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "up").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UpError, match="up is not a directory of "):
        places.make(Places(tmp_path, tmp_path), None)


def test_directories_without_root_are_the_users_own(tmp_path: Path) -> None:
    here = Places(tmp_path / "data", tmp_path / "run")
    os.close(places.lock(here.data))
    places.make(here, None)
    places.make_state([here.data / "latency"], None)
    for path in (here.run, here.own, here.notify, here.data / "latency"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    places.write_for_parts(here.configuration, b"site: one\n", None)
    places.write_for_parts(here.configuration, b"site: two\n", None)
    assert here.configuration.read_bytes() == b"site: two\n"
    assert sorted(path.name for path in here.own.iterdir()) == ["netvane.yml", "notify"]


def plan(here: Path, *, is_root: bool = True, up: Up | None = None, interface: str | None = None) -> Plan:
    return Plan(
        places=Places(here / "data", here / "run"),
        up=up or Up(),
        is_root=is_root,
        interface=interface,
        has_configuration=True,
        log_level="warning",
        log_format="json",
    )


def programs(directory: Path, *names: str) -> Path:
    directory.mkdir()
    for name in names:
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    return directory


def test_parts_of_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = programs(tmp_path / "bin", "prometheus", "prometheus-alertmanager", "node_exporter")
    monkeypatch.setenv("PATH", str(there))
    up = Up(prometheus_listen="[::1]:19090", retention_size=Size(5_000_000_000))
    found = {part.name: part for part in plan(tmp_path, up=up, interface="eth0").parts()}
    assert list(found) == [
        "raw",
        "latency",
        "hosts",
        "dhcp",
        "flows",
        "node",
        "alertmanager",
        "prometheus",
        "loki",
        "grafana",
    ]

    assert found["raw"].capabilities == ("net_raw",)
    assert "--interface=eth0" in found["raw"].command
    assert all(part.capabilities == () for part in found.values() if part.name not in {"raw", "flows"})
    assert found["flows"].capabilities == ("net_raw",)
    assert found["latency"].command[:5] == (sys.executable, "-P", "-m", "netvane.cli", "latency")
    assert f"--config.file={tmp_path}/run/up/netvane.yml" in found["latency"].command
    assert found["node"].command[0] == f"{there}/node_exporter"
    assert "--cluster.listen-address=" in found["alertmanager"].command
    assert {
        "--storage.tsdb.retention.time=400d",
        "--storage.tsdb.retention.size=5000000000B",
        "--log.level=warn",
    } <= set(found["prometheus"].command)
    assert found["prometheus"].environment == {"GOGC": "50"}
    assert found["prometheus"].listen == ("::1", 19090)
    assert found["prometheus"].shows == "http://[::1]:19090/"
    assert found["loki"].off == "no `loki` on PATH"
    assert not any("--loki.url" in word for word in found["latency"].command)
    assert found["grafana"].off == "no `grafana` or `grafana-server` on PATH"
    assert state_directories(list(found.values()), tmp_path / "data") == [
        tmp_path / "data" / name for name in ("latency", "hosts", "dhcp", "flows", "node", "alertmanager", "prometheus")
    ]


def test_loki_and_grafana_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = programs(tmp_path / "bin", "loki", "grafana")
    (there / "loki").write_text("#!/bin/sh\necho 'loki, version 3.7.6 (branch: , revision: )'\n")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/defaults.ini").touch()
    monkeypatch.setenv("PATH", f"{there}:{os.environ['PATH']}")
    up = Up(loki_listen=":13100", grafana_listen="0.0.0.0:13000")
    found = {part.name: part for part in plan(tmp_path, up=up).parts()}
    loki, grafana = found["loki"], found["grafana"]
    assert loki.command == (
        f"{there}/loki",
        f"-config.file={tmp_path}/run/up/rendered/loki.yml",
        *("-server.http-listen-address=", "-server.http-listen-port=13100", "-log.level=warn"),
    )
    for exporter in ("latency", "hosts", "dhcp", "flows"):
        assert found[exporter].command[-1] == "--loki.url=http://127.0.0.1:13100"
    assert grafana.command[:3] == (f"{there}/grafana", "server", f"--homepath={tmp_path}")
    assert grafana.shows == "http://127.0.0.1:13000/"
    assert grafana.environment["GF_SECURITY_ADMIN_PASSWORD"] == f"$__file{{{tmp_path}/data/grafana.password}}"
    assert grafana.environment["NETVANE_LOKI_URL"] == "http://127.0.0.1:13100"


@pytest.mark.parametrize(
    ("url", "off"),
    [("http://127.0.0.1:3100/", None), ("https://loki.example", "netvane.yml has events shipped to another one")],
)
def test_a_loki_that_netvane_yml_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, off: str | None
) -> None:
    there = programs(tmp_path / "bin", "loki")
    (there / "loki").write_text("#!/bin/sh\necho 'loki, version 3.4.6 (branch: , revision: )'\n")
    monkeypatch.setenv("PATH", f"{there}:{os.environ['PATH']}")
    found = {part.name: part for part in replace(plan(tmp_path), loki_url=url).parts()}
    assert found["loki"].off == off
    assert not any("--loki.url" in word for word in found["latency"].command)


def test_the_loki_of_genetics_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = programs(tmp_path / "bin", "loki")
    (there / "loki").write_text("#!/bin/sh\necho 'Loki: linkage analysis'\n")
    monkeypatch.setenv("PATH", f"{there}:{os.environ['PATH']}")
    (loki,) = [part for part in plan(tmp_path).parts() if part.name == "loki"]
    assert loki.off == f"{there}/loki is another program of that name"


def test_a_password_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "grafana.password"
    places.make_password(file, None)
    made = file.read_text()
    assert re.fullmatch(r"[\w-]{24}\n", made)
    assert file.stat().st_mode & 0o7777 == 0o600
    places.make_password(file, None)
    assert file.read_text() == made
    places.make_password(tmp_path / "another", None)
    assert (tmp_path / "another").read_text() != made


def test_parts_without_root_and_without_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    off = {part.name: part.off for part in plan(tmp_path, is_root=False).parts()}
    assert off == {
        "raw": "needs root, to hand it CAP_NET_RAW: no path traces, no sweeps, no passive listener",
        "latency": None,
        "hosts": None,
        "dhcp": None,
        "flows": "needs root, to hand it CAP_NET_RAW",
        "node": "no `prometheus-node-exporter` or `node_exporter` on PATH",
        "alertmanager": "no `prometheus-alertmanager` or `alertmanager` on PATH",
        "prometheus": "no `prometheus` on PATH",
        "loki": "no `loki` on PATH",
        "grafana": "no `grafana` or `grafana-server` on PATH",
    }


def test_equal_plans_make_equal_parts(tmp_path: Path) -> None:
    assert plan(tmp_path).parts() == plan(tmp_path).parts()


def test_without_root_nothing_is_taken_that_is_not_there() -> None:
    assert privileges.command_as(None, (), ["true"]) == ["setpriv", "--no-new-privs", "--pdeathsig=TERM", "--", "true"]


def test_a_part_of_root_keeps_its_capability_only() -> None:
    command = privileges.command_as(NETVANE, ("net_raw",), ["true"])
    assert command[3:] == [
        *("--reuid=995", "--regid=995", "--clear-groups", "--bounding-set=-all,+net_raw"),
        *("--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", "--", "true"),
    ]
    assert "--bounding-set=-all" in privileges.command_as(NETVANE, (), ["true"])


def test_a_part_dies_with_its_parent() -> None:
    """SIGKILL for a parent that had no time to stop anything."""
    command = privileges.command_as(None, (), ["sh", "-c", "echo here; exec sleep 300"])
    program = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(300)"
    arguments = [sys.executable, "-c", program, *command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        told = [parent.stdout.readline(), parent.stdout.readline()]
        (pid,) = (int(line) for line in told if line != "here\n")
        child = os.pidfd_open(pid)
        parent.kill()
        assert select.select([child], [], [], 30)[0]
        os.close(child)


@pytest.mark.parametrize(
    ("allowed", "groups", "expected"),
    [
        ((1, 0), {0, 1, 1000}, False),
        ((0, 2147483647), {995}, True),
        ((1000, 1000), {995}, False),
        ((1000, 1000), {995, 1000}, True),
    ],
)
def test_may_ping(allowed: tuple[int, int], groups: set[int], expected: bool) -> None:
    assert privileges.may_ping(allowed, groups) is expected


@pytest.mark.parametrize("name", ["no-such-namespace", "../../etc", "", ".."])
def test_a_namespace_that_is_not_there(name: str) -> None:
    with pytest.raises(UpError, match="no network namespace"):
        enter_command(name, ["true"])
