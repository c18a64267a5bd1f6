"""DNS and TCP probes beside dig and a connect timed in C, on the same hosts in the same minute."""

import json
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.lab import addresses as at
from tests.lab.home import Home
from tests.lab.processes import PYTHON_ENV, Process
from tests.lab.processes import run as run_command

COUNT = 300
INTERVAL_MS = 100


def run() -> dict[str, Any]:
    with Home(gadgets=1) as home, tempfile.TemporaryDirectory() as directory:
        connect = Path(directory) / "connect"
        run_command(["gcc", "-O2", "-o", str(connect), str(Path(__file__).with_name("connect.c"))])

        def start(name: str, command: list[str]) -> Process:
            return home.mon.start(command, env=PYTHON_ENV, log=Path(directory) / name)

        recorder = [sys.executable, "-m", "tests.bench.probe_recorder"]
        pace = [str(COUNT), str(INTERVAL_MS)]
        # One question a process, as people use dig; -u has it tell microseconds.
        script = (
            f"for i in $(seq {COUNT}); do dig -u @{at.RESOLVER4} anchor1.example A; sleep {INTERVAL_MS / 1000}; done"
        )
        running = [
            start("dns", [*recorder, "dns", at.RESOLVER4, *pace]),
            start("dig", ["sh", "-c", script]),
            start("tcp", [*recorder, "tcp", at.ANCHORS4[0], *pace]),
            start("c", [str(connect), at.ANCHORS4[0], "80", *pace]),
        ]
        for process in running:
            process.wait(180)
        logs = {name: (Path(directory) / name).read_text() for name in ("dns", "dig", "tcp", "c")}
    medians = {
        "dns": statistics.median(json.loads(logs["dns"])) * 1e6,
        "dig": statistics.median(float(found) for found in re.findall(r"Query time: (\d+) usec", logs["dig"])),
        "tcp": statistics.median(json.loads(logs["tcp"])) * 1e6,
        "c_connect": statistics.median(float(line) / 1000 for line in logs["c"].split()),
    }
    return {
        **{f"{name}_median_us": round(value, 1) for name, value in medians.items()},
        "dns_minus_dig_us": round(medians["dns"] - medians["dig"], 1),
        "tcp_minus_c_us": round(medians["tcp"] - medians["c_connect"], 1),
        "goal": "medians within 200 us",
    }
