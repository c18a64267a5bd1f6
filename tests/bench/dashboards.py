"""The Home dashboard over ninety days of a home with fifty devices: how long each of its queries takes."""

import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.bench import history
from tests.dashboards.expressions import Expression, dashboards, expressions, interpolated
from tests.lab.netns import Namespace
from tests.lab.rack import Rack
from tests.lab.wait import eventually

PORT = 9090
TIMES = 5
# What Grafana asks for with a panel a thousand points wide: 90 days in steps of two hours.
STEP_SECONDS = 7_200
VALUES = {"site": "home", "__interval": "2h", "__rate_interval": "2h", "__range": f"{history.DAYS}d"}
SETTLE_SECONDS = 600.0


def run() -> dict[str, Any]:
    with Rack() as rack, tempfile.TemporaryDirectory(dir=history.CACHE.parent) as copy:
        (machine,) = rack.namespaces("mon")
        database = Path(copy) / "tsdb"
        shutil.copytree(history.made(), database)
        flags = [f"--storage.tsdb.path={database}", "--storage.tsdb.retention.time=400d", "--log.level=warn"]
        empty = Path(copy) / "prometheus.yml"
        empty.write_text("{}")
        listen = f"--web.listen-address=127.0.0.1:{PORT}"
        with machine.start(["prometheus", f"--config.file={empty}", *flags, listen]) as server:
            eventually(lambda: _is_ready(machine) or not server.running, within=120, what="Prometheus")
            _settle(machine)
            home = [one for one in expressions() if one.dashboard == "netvane-home"]
            marks = next(board for board in dashboards() if board["uid"] == "netvane-home")["annotations"]["list"]
            home += [Expression("netvane-home", mark["name"], mark["expr"], "prometheus", False) for mark in marks]
            taken = {f"{one.panel}: {one.expr}": _seconds(machine, one) for one in home}
            size = sum(file.stat().st_size for file in database.rglob("*") if file.is_file())
    return {
        "series": len(history.names()),
        "days": history.DAYS,
        "disk_mb": round(size / 1e6, 1),
        "bytes_a_sample": round(size / (len(history.names()) * history.DAYS * 1440), 2),
        "slowest_median_seconds": max(found["median"] for found in taken.values()),
        "slowest_first_seconds": max(found["first"] for found in taken.values()),
        "queries": taken,
        "goal": "each query under 1 s",
    }


def _seconds(machine: Namespace, one: Expression) -> dict[str, float]:
    expr = interpolated(one.expr, VALUES)
    if one.instant:
        query = f"query?{urlencode({'query': expr, 'time': history.END - 60})}"
    else:
        start = history.END - history.DAYS * history.DAY_SECONDS
        span = {"start": start, "end": history.END - 60, "step": STEP_SECONDS}
        query = f"query_range?{urlencode({'query': expr, **span})}"
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        answer = machine.http(f"http://127.0.0.1:{PORT}/api/v1/{query}", timeout=60)
        taken.append(time.perf_counter() - began)
        if json.loads(answer.text)["status"] != "success":
            raise RuntimeError(f"{expr}: {answer.text}")
    series = len(json.loads(answer.text)["data"]["result"])
    return {"first": round(taken[0], 3), "median": round(statistics.median(taken), 3), "series": series}


def _is_ready(machine: Namespace) -> bool:
    try:
        return machine.http(f"http://127.0.0.1:{PORT}/-/ready").status == 200
    except OSError:
        return False


def _settle(machine: Namespace) -> None:
    """Until Prometheus has joined the days to blocks as long as it keeps them, and joins no more."""
    seen: list[float] = []

    def is_settled() -> bool:
        text = machine.http(f"http://127.0.0.1:{PORT}/metrics").text
        line = next(line for line in text.splitlines() if line.startswith("prometheus_tsdb_blocks_loaded "))
        seen.append(float(line.split()[1]))
        time.sleep(1)
        return len(seen) > 70 and len(set(seen[-70:])) == 1  # it looks for something to join once a minute

    eventually(is_settled, within=SETTLE_SECONDS, what="the end of compaction")
