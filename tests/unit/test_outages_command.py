"""``netvane outages`` on a real event store: text, CSV, JSON, and mistakes."""

import csv
import io
import json
from pathlib import Path

import pytest

from netvane.common.clock import NANOSECONDS, rfc3339
from netvane.common.event_schema import Numbers, Outage
from netvane.common.events import EventStore, event_file_of
from netvane.latency.outages_command import main
from tests.clock import FakeClock

MINUTE = 60


def outage(
    clock: FakeClock, start: float, end: float | None, culprit: str, state: str = "ended", count: int = 1
) -> Outage:
    """`start` and `end` in seconds before now."""

    def at(ago: float) -> str:
        return rfc3339(clock.wall - round(ago * NANOSECONDS))

    evidence: Numbers = {"anchors4_answering": 0.0} if state == "started" else {}
    seconds = None if end is None else start - end
    return Outage(
        state=state,  # type: ignore[arg-type]
        culprit=culprit,
        start=at(start),
        end=None if end is None else at(end),
        duration_seconds=seconds,
        count=count,
        evidence=evidence,
    )


@pytest.fixture
def clock(tmp_path: Path) -> FakeClock:
    clock = FakeClock()
    path = event_file_of(tmp_path, "latency")
    path.parent.mkdir()
    store = EventStore(path, site="home", host="pi", clock=clock)
    for event in (
        outage(clock, 90 * MINUTE, None, "isp", "started"),
        outage(clock, 90 * MINUTE, 30 * MINUTE, "isp", count=3),
        outage(clock, 20 * MINUTE, None, "dns", "started"),
        outage(clock, 20 * MINUTE, 19 * MINUTE, "dns"),
        outage(clock, 5 * MINUTE, None, "router", "started"),
    ):
        assert store.append_confirmed(event).result(timeout=10)
    store.close()
    return clock


def run(tmp_path: Path, clock: FakeClock, *flags: str) -> int:
    (tmp_path / "netvane.yml").touch()
    place = [f"--config.file={tmp_path}/netvane.yml", f"--storage.data-dir={tmp_path}", f"--storage.run-dir={tmp_path}"]
    return main([*place, *flags], clock)


def test_text(tmp_path: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, clock, "--since", "24h") == 0
    assert capsys.readouterr().out == (
        "began (UTC)         ended                     lasted  culprit         spells  evidence\n"
        "2025-12-31 22:30:00 2025-12-31 23:30:00   1 h 00 min  isp             3       anchors4_answering=0\n"
        "2025-12-31 23:40:00 2025-12-31 23:41:00   1 min 00 s  dns             1       anchors4_answering=0\n"
        "2025-12-31 23:55:00 lasts                 5 min 00 s  router          1       anchors4_answering=0\n"
        "3 outages, 1 h 06 min in all: 95.417 % of the time it worked\n"
        "  dns: 1, 1 min 00 s\n"
        "  isp: 1, 1 h 00 min\n"
        "  router: 1, 5 min 00 s\n"
    )


def test_csv_and_json(tmp_path: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, clock, "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["culprit"], row["seconds"]) for row in rows] == [
        ("isp", "3600.000"),
        ("dns", "60.000"),
        ("router", "300.000"),
    ]
    assert run(tmp_path, clock, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["totals"]["isp"] == {"count": 1, "seconds": 3600.0}
    assert [row["end"] is None for row in found["outages"]] == [False, False, True]


def test_mistakes_are_one_line(tmp_path: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--config.file={tmp_path}/absent.yml"], clock) == 2
    assert "absent.yml: cannot be read" in capsys.readouterr().err
    assert run(tmp_path, clock, f"--storage.data-dir={tmp_path}/elsewhere") == 1
    assert capsys.readouterr().err.startswith("netvane outages: the latency exporter is not running, and there is no ")
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, clock, "--since", "yesterday")
