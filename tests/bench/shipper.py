"""The event store and the Loki shipper: events a second into a sink, and memory when the sink hangs.

The shipping process and the sink are processes of their own. The sink unpacks and counts; what it costs is told apart.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netvane.common.clock import SystemClock
from netvane.common.event_inbox import Limits
from netvane.common.event_schema import Encoder, Kind
from netvane.common.events import EventStore
from netvane.common.loki import shipper_for
from netvane.common.settings import Loki
from tests.eventkit import CHILD, MAC, SAMPLES, eventually

EVENTS = 200_000
KINDS_STORED: tuple[Kind, Kind] = ("dns", "flow")
HANG_SECONDS = 10.0
DEADLINE_SECONDS = 300.0


def run() -> dict[str, Any]:
    """Figures: rates in events a second, memory in bytes, CPU in seconds."""
    with tempfile.TemporaryDirectory(prefix="netvane-bench-") as folder:
        database = Path(folder) / "events.db"
        stored = _child("fill", database)
        shipped = _with_sink(database, "ship")
    with tempfile.TemporaryDirectory(prefix="netvane-bench-") as folder:
        database = Path(folder) / "events.db"
        _child("fill", database)
        hung = _with_sink(database, "hang", "--hang")
    return {
        "events": EVENTS,
        "body_bytes": stored["body_bytes"],
        "stored_events_per_second": stored["rate"],
        "database_bytes_per_event": stored["bytes_per_event"],
        "shipped_events_per_second": shipped["rate"],
        "shipping_cpu_seconds": shipped["cpu_seconds"],
        "shipping_rss_bytes": shipped["rss_bytes"],
        "hanging_sink_queued_events": hung["pending"],
        "hanging_sink_rss_bytes": hung["rss_bytes"],
    }


def _with_sink(database: Path, task: str, *options: str) -> dict[str, Any]:
    sink = subprocess.Popen(
        [sys.executable, "-m", "tests.lokisink", "--forget", *options],
        env=CHILD,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sink.stdout is not None
    try:
        return _child(task, database, f"http://127.0.0.1:{int(sink.stdout.readline())}")
    finally:
        sink.kill()
        sink.communicate()


def _child(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.shipper", *map(str, arguments)]
    output = subprocess.run(command, env=CHILD, check=True, stdout=subprocess.PIPE, timeout=DEADLINE_SECONDS).stdout
    result: dict[str, Any] = json.loads(output)
    return result


def _store(path: Path) -> EventStore:
    return EventStore(path, site="home", host="pi", clock=SystemClock(), limits=Limits(batch_seconds=0.5))


def fill(path: Path) -> dict[str, Any]:
    """Store `EVENTS` as fast as the disk takes them."""
    store = _store(path)
    start = time.monotonic()
    for number in range(EVENTS):
        done = store.append_confirmed(SAMPLES[KINDS_STORED[number % 2]], mac=MAC, device_name="printer")
        if number % 5000 == 0:  # no faster than the disk, or memory for waiting events would be full
            assert done.result(60)
    store.close(60)
    seconds = time.monotonic() - start
    assert store.stats().stored["dns"] + store.stats().stored["flow"] == EVENTS
    bodies = [Encoder("home", "pi").encode(SAMPLES[kind], 0, MAC, "printer") for kind in KINDS_STORED]
    return {
        "rate": round(EVENTS / seconds),
        "body_bytes": round(statistics.mean(map(len, bodies))),
        "bytes_per_event": round(path.stat().st_size / EVENTS),
    }


def ship(path: Path, url: str) -> dict[str, Any]:
    """Ship everything into a sink that takes it."""
    store = _store(path)
    shipper = shipper_for(Loki(url=url), store, site="home", host="pi", job="bench", clock=SystemClock())
    assert shipper is not None
    start, cpu = time.monotonic(), time.process_time()
    shipper.start()
    eventually(lambda: shipper.stats().shipped == EVENTS and shipper.stats().pending == 0, DEADLINE_SECONDS)
    seconds = time.monotonic() - start
    result = {
        "rate": round(EVENTS / seconds),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "rss_bytes": peak_memory(),
    }
    shipper.stop()
    store.close()
    return result


def hang(path: Path, url: str) -> dict[str, Any]:
    """Go on storing while the sink takes a push and never answers."""
    store = _store(path)
    shipper = shipper_for(Loki(url=url), store, site="home", host="pi", job="bench", clock=SystemClock())
    assert shipper is not None
    shipper.start()
    end = time.monotonic() + HANG_SECONDS
    while time.monotonic() < end:
        for _ in range(100):
            store.append(SAMPLES["dns"], mac=MAC, device_name="printer")
        time.sleep(0.02)
    result = {"pending": shipper.stats().pending, "rss_bytes": peak_memory()}
    shipper.stop()
    store.close()
    return result


def peak_memory() -> int:
    """The most memory that this process ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"fill": fill, "ship": ship, "hang": hang}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
