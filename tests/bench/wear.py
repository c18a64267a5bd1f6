"""What the events of a home with fifty devices write to an SD card, beside a plain table with the same indexes."""

import random
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from netvane.common import event_file
from netvane.common.clock import SystemClock
from netvane.common.event_inbox import Limits
from netvane.common.event_schema import Encoder, kind_of
from netvane.common.events import Entry, EventStore
from netvane.common.sqlite_file import transaction
from tests.bench.processes import written_bytes
from tests.eventkit import SAMPLES

DEVICES = 50
EVENTS_A_DAY = 10_000_000 // 31
BATCH = EVENTS_A_DAY * 4 // 86_400  # both commit every four seconds
BEFORE = 100_000  # events: the indexes are as deep as they are in earnest
BATCHES = 2_000
FULL_BYTES = 60_000_000  # what BEFORE fills: from then on something goes for each event that comes


def run() -> dict[str, Any]:
    """Bytes that the kernel was given to write; each event is another device's than the one before."""
    found = {"plain": _plain(), "store": _store(2_000_000_000), "store_that_is_full": _store(FULL_BYTES)}
    return {
        name: {"bytes_an_event": round(each), "mb_a_day": round(each * EVENTS_A_DAY / 1e6)}
        for name, each in found.items()
    }


def _store(max_bytes: int) -> float:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:  # not in memory
        store = EventStore(
            Path(directory) / "events.db",
            site="home",
            host="pi",
            clock=SystemClock(),
            limits=Limits(max_bytes=max_bytes),
        )

        def append(entries: Iterable[Entry]) -> None:
            store.append_all(entries)
            store.flush()

        try:
            return _measured(append)
        finally:
            store.close()


def _plain() -> float:
    encoder, clock = Encoder("home", "pi"), SystemClock()
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as directory,
        closing(event_file.open_database(Path(directory) / "events.db")) as connection,
    ):

        def append(entries: Iterable[Entry]) -> None:
            now = clock.wall_ns()
            rows = [
                (now, kind_of(event), mac, name, encoder.encode(event, now, mac, name).decode())
                for event, mac, name, _ in entries
            ]
            with transaction(connection, durable=True):
                connection.executemany("INSERT INTO events (ts, event, mac, name, body) VALUES (?, ?, ?, ?, ?)", rows)

        return _measured(append)


def _measured(append: Callable[[Iterable[Entry]], None]) -> float:
    choice = random.Random(1)  # noqa: S311 - to be repeated, not to be secret

    def entries(count: int) -> list[Entry]:
        return [
            (SAMPLES[choice.choice(("dns", "flow"))], f"24:0a:c4:00:00:{choice.randrange(DEVICES):02x}", "gadget", None)
            for _ in range(count)
        ]

    for _ in range(0, BEFORE, 1000):
        append(entries(1000))
    before = written_bytes()
    for _ in range(BATCHES):
        append(entries(BATCH))
    return (written_bytes() - before) / (BATCHES * BATCH)
