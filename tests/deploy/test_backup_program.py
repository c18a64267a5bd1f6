"""What netvane-backup copies while everything runs, and what it makes of that elsewhere."""

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.fleet import Server
from tests.lab.processes import ROOT
from tests.lab.rack import Rack
from tests.lab.wait import eventually

pytestmark = pytest.mark.deploy

PROGRAM = ROOT / "ansible/roles/backup/files/netvane_backup.py"
REGISTRY = "var/lib/netvane/hosts/registry.db"
# Says of every unit that it runs, and writes down what else it was told; `refuse`: a unit that does not start.
SYSTEMCTL = """#!/bin/sh
[ "$2" = is-active ] && exit 0
echo "$@" >>"$0.log"
if [ "$1" = start ] && [ -e "$0.refuse" ]; then rm "$0.refuse"; exit 1; fi
"""


@dataclass
class Machine:
    """A file system with the state of Netvane in it."""

    root: Path

    @property
    def systemctl(self) -> Path:
        return self.root / "systemctl"

    def told(self) -> list[str]:
        return Path(f"{self.systemctl}.log").read_text().splitlines()

    def backup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program where the users netvane and grafana are, whoever they are outside."""
        users = self.root / "passwd"
        lines = (f"{name}:x:{number}:{number}::/:/bin/false" for name, number in (("netvane", 901), ("grafana", 902)))
        others = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("netvane:")]
        users.write_text("\n".join([*others, *lines]))
        command = [
            sys.executable,
            str(PROGRAM),
            "--root",
            str(self.root),
            "--systemctl",
            str(self.systemctl),
            *arguments,
        ]
        script = 'mount --bind "$0" /etc/passwd && exec "$@"'
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, str(users), *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def create(self, directory: Path) -> Path:
        done = self.backup("create", str(directory))
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())

    def names(self) -> list[str]:
        with sqlite3.connect(self.root / REGISTRY) as database:
            return [name for (name,) in database.execute("SELECT name FROM devices")]


def machine(root: Path) -> Machine:
    made = Machine(root)
    for directory in ("var/lib/netvane/hosts", "var/lib/netvane/textfile", "etc/netvane/secrets"):
        (root / directory).mkdir(parents=True)
    made.systemctl.write_text(SYSTEMCTL)
    made.systemctl.chmod(0o755)
    Path(f"{made.systemctl}.log").touch()
    (root / "etc/netvane/deployed").mkdir()
    (root / "etc/netvane/deployed/packages").write_text(f"of {root.name}\n")
    (root / "etc/netvane/netvane.yml").write_text(f"site: {root.name}\n")
    return made


@pytest.fixture
def old(tmp_path: Path) -> Machine:
    return machine(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Machine:
    return machine(tmp_path / "new")


@pytest.fixture
def registry(old: Machine) -> Iterator[sqlite3.Connection]:
    """Open, as an exporter has it, with what is not yet anywhere but in its write-ahead log."""
    connection = sqlite3.connect(old.root / REGISTRY)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("CREATE TABLE devices (name TEXT)")
    connection.execute("INSERT INTO devices VALUES ('lamp')")
    connection.commit()
    yield connection
    connection.close()


def test_a_database_in_use(old: Machine, new: Machine, registry: sqlite3.Connection, tmp_path: Path) -> None:
    backup = old.create(tmp_path / "backups")
    registry.execute("INSERT INTO devices VALUES ('fridge')")  # nobody was locked out
    registry.commit()
    assert backup.stat().st_mode & 0o777 == 0o600
    assert (
        "netvane_backup_last_success_timestamp_seconds"
        in (old.root / "var/lib/netvane/textfile/backup.prom").read_text()
    )
    done = new.backup("restore", str(backup))
    assert done.returncode == 0, done.stderr
    assert new.names() == ["lamp"]
    assert (new.root / REGISTRY).stat().st_uid == 901
    assert (new.root / "etc/netvane/netvane.yml").read_text() == "site: old\n"
    # What a machine has installed is its own affair.
    assert (new.root / "etc/netvane/deployed/packages").read_text() == "of new\n"
    assert [line.split()[0] for line in new.told()] == ["stop", "start"]
    assert not list((new.root / "var/lib/netvane").glob(".partial*"))


def test_metrics_up_to_the_last_minute(old: Machine, new: Machine, rack: Rack, tmp_path: Path) -> None:
    """Prometheus is stopped by the program; here the test does that for it."""
    (namespace,) = rack.namespaces("pi")
    config = tmp_path / "prometheus.yml"
    target = {"job_name": "itself", "scrape_interval": "1s", "static_configs": [{"targets": ["127.0.0.1:9090"]}]}
    config.write_text(json.dumps({"scrape_configs": [target]}))

    def prometheus(machine: Machine) -> Server:
        data = machine.root / "var/lib/netvane/prometheus"
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}"]
        url = "127.0.0.1:9090"
        server = Server(namespace, namespace.start([*command, f"--web.listen-address={url}"]), f"http://{url}")
        eventually(server.is_ready, within=60, what="Prometheus")
        return server

    server = prometheus(old)
    eventually(lambda: server.query("up"), within=30, what="a sample")
    seen = time.time()
    server.process.stop()
    backup = old.create(tmp_path / "backups")
    assert old.told() == ["stop netvane-prometheus", "start netvane-prometheus"]
    shutil.rmtree(old.root / "var/lib/netvane/prometheus")
    assert new.backup("restore", str(backup)).returncode == 0
    assert prometheus(new).query(f"up @ {seen:.3f}")


@pytest.mark.usefixtures("registry")
def test_only_so_many_are_kept(old: Machine, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    for day in range(1, 5):
        (backups / f"netvane-2026010{day}T000000Z.tar.gz").touch()
    (backups / "mine.tar.gz").touch()
    assert old.backup("create", "--keep", "2", str(backups)).returncode == 0
    first, *rest = sorted(path.name for path in backups.iterdir())
    assert first == "mine.tar.gz"
    assert rest[0] == "netvane-20260104T000000Z.tar.gz"
    assert len(rest) == 2


@pytest.mark.usefixtures("registry")
def test_units_that_do_not_start_leave_the_machine_as_it_was(old: Machine, new: Machine, tmp_path: Path) -> None:
    backup = old.create(tmp_path / "backups")
    with sqlite3.connect(new.root / REGISTRY) as database:
        database.executescript("CREATE TABLE devices (name TEXT); INSERT INTO devices VALUES ('own lamp');")
    Path(f"{new.systemctl}.refuse").touch()
    done = new.backup("restore", str(backup))
    assert done.returncode == 1
    assert done.stderr.startswith("netvane-backup: systemctl start netvane-hosts failed")
    assert new.names() == ["own lamp"]
    assert (new.root / "etc/netvane/netvane.yml").read_text() == "site: new\n"


def evil(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("../escaped")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("kind", ["text", "truncated", "empty tar", "evil", "absent"])
def test_what_is_no_backup_changes_nothing(old: Machine, new: Machine, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file.tar.gz"
    if kind == "text":
        file.write_text("my holidays")
    elif kind == "truncated":
        file.write_bytes(old.create(tmp_path / "backups").read_bytes()[:-200])
    elif kind == "empty tar":
        tarfile.open(file, "w:gz").close()
    elif kind == "evil":
        evil(file)
    done = new.backup("restore", str(file))
    assert done.returncode == 1
    assert done.stderr.startswith("netvane-backup: ")
    assert "Traceback" not in done.stderr
    assert new.told() == []
    assert (new.root / "etc/netvane/netvane.yml").read_text() == "site: new\n"
    assert not list(tmp_path.rglob("escaped"))


def test_a_machine_without_netvane(tmp_path: Path) -> None:
    empty = Machine(tmp_path / "empty")
    empty.root.mkdir()
    done = empty.backup("create", str(tmp_path / "backups"))
    assert (done.returncode, done.stderr) == (1, "netvane-backup: there is nothing of Netvane on this machine\n")
    assert list((tmp_path / "backups").iterdir()) == []
