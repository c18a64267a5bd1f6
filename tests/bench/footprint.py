"""What a home with fifty devices costs: series, samples, bytes on the disk and bytes written, memory, by part.

Every gadget speaks every packet class both ways, which none does, so that the series are the most there can be. Loki
and Grafana are part of it where their programs are on PATH.
"""

import compileall
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import frames
from tests.bench.processes import written_bytes
from tests.lab.home import MON_MAC, Home
from tests.lab.household import send_frames
from tests.lab.internet_settings import latency_settings
from tests.lab.processes import ROOT
from tests.lab.prometheus import PORT, Prometheus, hurried_prometheus, netvane_up
from tests.lab.wait import eventually

GADGETS = 50
# Four times as fast as in earnest, so that a block is an hour of samples after a quarter of one.
PACE = {"5s": "1250ms", "15s": "3750ms", "60s": "15s", "1m": "15s", "5m": "75s"}
WARM_UP_SECONDS = 60
MEASURED_SECONDS = 300
YEAR_SECONDS = 365 * 86_400
# A block of two hours is joined with others until it is 486 hours long, three at a time: five times.
WRITES_OF_A_SAMPLE = 6
INDEXES_A_DAY = 12 * 1.5  # one for each block of two hours, and for each of the longer ones
BLOCKS_A_YEAR = 365 * 24 / 486


def run() -> dict[str, Any]:
    settings = {
        "latency": latency_settings(),
        "flows": {"interfaces": ["eth0"]},
    }
    with (
        _compiled(),
        tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
        Home(gadgets=GADGETS) as home,
        netvane_up(home, settings, run_dir=_for_all(Path(memory)) / "run") as (up, configuration),
        hurried_prometheus(home.mon, home.rack.directory, configuration, PACE, ["--web.enable-admin-api"]) as asked,
    ):
        eventually(lambda: asked.holds("netvane_first_sweep_timestamp_seconds > 0"), within=120, what="a sweep")
        _speak(home, WARM_UP_SECONDS)
        before = dict(_written(up.pid))
        _speak(home, MEASURED_SECONDS)
        after = dict(_written(up.pid))
        return {**_metrics(asked), **_writes(before, after), **_memory(up.pid)}


@contextmanager
def _compiled() -> Iterator[None]:
    """With bytecode beside the sources, as pip leaves them: compiling them costs each part a megabyte for good."""
    sources = ROOT / "exporters" / "netvane"
    compileall.compile_dir(sources, quiet=1)
    try:
        yield
    finally:
        for directory in list(sources.rglob("__pycache__")):
            shutil.rmtree(directory)


def _for_all(directory: Path) -> Path:
    """`directory`, made accessible: the parts are not root."""
    directory.chmod(0o755)
    return directory


def _speak(home: Home, seconds: float) -> None:
    """Frames of all kinds between each gadget and this machine, once a minute."""
    mon = bytes.fromhex(MON_MAC.replace(":", ""))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for gadget in home.gadgets:
            mac = bytes.fromhex(gadget.mac.replace(":", ""))
            send_frames(home.mon, *(mac + mon + frame[12:] for frame in frames.samples()))
            send_frames(gadget.ns, *(mon + mac + frame[12:] for frame in frames.samples()))
        time.sleep(max(0.0, min(60.0, end - time.monotonic())))


def _metrics(asked: Prometheus) -> dict[str, Any]:
    by_job = {s["metric"]["job"]: float(s["value"][1]) for s in asked.query("sum by (job) (scrape_samples_scraped)")}
    # Of `netvane up`'s own Prometheus, which goes at its usual pace.
    samples = asked.number("sum(rate(prometheus_tsdb_head_samples_appended_total[5m]))")
    recorded = len(asked.query('{__name__=~".+:.+"}'))
    stored = asked.query("sum by (job, event) (rate(netvane_events_stored_total[5m])) > 0")
    series = asked.number("max(prometheus_tsdb_head_series)")
    chunks, index = _block(asked)
    disk = samples * YEAR_SECONDS * chunks + BLOCKS_A_YEAR * index
    return {
        "series_by_job": by_job,
        "series_recorded": recorded,
        "series": series,
        "events_a_minute": {
            f"{s['metric']['job']} {s['metric']['event']}": round(60 * float(s["value"][1]), 1) for s in stored
        },
        "samples_a_second": round(samples, 1),
        "chunk_bytes_a_sample": round(chunks, 2),
        "index_mb_a_block": round(index / 1e6, 2),
        "disk_gb_a_year": round(disk / 1e9, 2),
        "compaction_mb_a_day": round((samples * 86_400 * chunks * WRITES_OF_A_SAMPLE + INDEXES_A_DAY * index) / 1e6),
        "goal": "fewer than 15,000 series; 12 GB a year",
    }


def _block(asked: Prometheus) -> tuple[float, float]:
    """Bytes of chunks per sample, and bytes of the index, of a block made of what Prometheus has in memory."""
    samples = _own_samples(asked)
    url = f"http://127.0.0.1:{PORT}/api/v1/admin/tsdb/snapshot"
    asked.namespace.http(url, method="POST", body=b"", timeout=60)
    (snapshot,) = (asked.directory / "snapshots").iterdir()
    chunks = sum(file.stat().st_size for file in snapshot.rglob("chunks/*"))
    return chunks / samples, sum(file.stat().st_size for file in snapshot.rglob("index"))


def _own_samples(asked: Prometheus) -> float:
    """The counter of this Prometheus itself, which nobody scrapes."""
    text = asked.namespace.http(f"http://127.0.0.1:{PORT}/metrics").text
    name = "prometheus_tsdb_head_samples_appended_total"
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def _processes(pid: int) -> Iterator[int]:
    """A process and all that came of it."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _processes(int(child))


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    if "netvane.cli" in words:
        return words[words.index("netvane.cli") + 1]
    return Path(words[0]).name


def _written(pid: int) -> Iterator[tuple[str, int]]:
    """Part -> bytes that it had the kernel write so far."""
    for one in _processes(pid):
        yield _name(one), written_bytes(one)


def _writes(before: dict[str, int], after: dict[str, int]) -> dict[str, Any]:
    days = MEASURED_SECONDS / 86_400
    return {
        "written_mb_a_day": {
            name: round((written - before[name]) / days / 1e6, 1) for name, written in after.items() if name in before
        }
    }


def _memory(pid: int) -> dict[str, Any]:
    """Resident by part; what processes share (libraries, the interpreter) counts in `pss` once, in `rss` in each."""
    found: dict[str, Counter[str]] = {"rss": Counter(), "pss": Counter()}
    for one in _processes(pid):
        # proc_pid_smaps(5): "Rss:    123 kB"
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines}
        for kind, parts in found.items():
            parts[_name(one)] += sizes[f"{kind.capitalize()}:"]
    rounded = {
        f"{kind}_mb": {name: round(size / 1e6, 1) for name, size in parts.items()} for kind, parts in found.items()
    }
    seen = {"loki", "grafana"}  # the goal is without them
    return {
        **rounded,
        **{
            f"{kind}_mb_in_all": round(sum(size for name, size in parts.items() if name not in seen) / 1e6)
            for kind, parts in found.items()
        },
        "goal_memory": "400 MB resident without Loki and Grafana",
    }
