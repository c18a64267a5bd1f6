"""kill -9 at any moment: nothing confirmed is lost, and of bulk no more than five seconds."""

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from netvane.common.event_search import Query
from tests.eventkit import CHILD, dns, eventually, found, running_store, verdict

PRECIOUS = """
import sys
from pathlib import Path
from tests.eventkit import CHILD, dns, running_store, verdict
with running_store(Path(sys.argv[1])) as store:
    for number in range(1_000_000):
        store.append(dns(f"bulk {number}"))
        assert store.append_confirmed(verdict(f"precious {number}")).result(20)
        print(number, flush=True)
"""

BULK = """
import sys, time
from pathlib import Path
from netvane.common.event_inbox import Limits
from tests.eventkit import CHILD, dns, running_store
with running_store(Path(sys.argv[1]), limits=Limits()) as store:
    for number in range(1_000_000):
        # printed first: what the parent has read of is older than this
        print(number, time.monotonic_ns(), flush=True)
        store.append(dns(str(number)))
        time.sleep(0.01)
"""


def start(program: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        env=CHILD,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill(process: subprocess.Popen[str]) -> list[str]:
    """The lines that it printed, from then to its end."""
    process.send_signal(signal.SIGKILL)
    rest = process.communicate(timeout=30)[0]
    return rest.splitlines()


@pytest.mark.parametrize("confirmations", [1, 7, 40, 150])
def test_nothing_confirmed_is_lost(tmp_path: Path, confirmations: int) -> None:
    path = tmp_path / "events.db"
    process = start(PRECIOUS, path)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(confirmations)]
    confirmed = int([*lines, *kill(process)][-1])
    assert path.with_name("events.db-wal").exists()  # it had no time to tidy up
    with running_store(path) as store:
        names = found(store)
        assert store.stats().damaged_files == 0
    assert {f"precious {number}" for number in range(confirmed + 1)} <= set(names)
    # what was appended before a confirmed event was committed with it
    assert {f"bulk {number}" for number in range(confirmed + 1)} <= set(names)


def test_of_bulk_five_seconds_are_lost_at_most(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    process = start(BULK, path)
    assert process.stdout is not None
    began = time.monotonic()
    lines: list[str] = []
    while time.monotonic() < began + 7:
        lines.append(process.stdout.readline())
    killed = time.monotonic_ns()
    kill(process)
    with running_store(path) as store:
        kept = {int(name) for name in found(store)}
    appended = [tuple(map(int, line.split())) for line in lines[:-1]]
    old_enough = [number for number, when in appended if when < killed - 5 * 10**9]
    assert old_enough
    assert kept >= set(old_enough)


def test_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    process = start(PRECIOUS, path)
    assert process.stdout is not None
    process.stdout.readline()
    kill(process)
    with running_store(path) as store:
        assert list(store.search(Query(limit=1)))


def test_a_reader_does_not_keep_the_journal_from_shrinking(tmp_path: Path) -> None:
    """The search reads in pages: between them no transaction is open, so a checkpoint is never held up."""
    path = tmp_path / "events.db"
    with running_store(path) as store:
        for number in range(2000):
            store.append(dns(f"n{number}"))
        assert store.append_confirmed(verdict("ok")).result(10)
        bodies = store.search(Query())
        next(bodies)
        with closing(sqlite3.connect(path)) as connection:
            eventually(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
        assert path.with_name("events.db-wal").stat().st_size == 0
        assert sum(1 for _ in bodies) == 2000
