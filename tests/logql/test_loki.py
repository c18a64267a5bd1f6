"""The shipper, the rules and the settings against a real Loki, where there is one."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from netvane.common.clock import NANOSECONDS
from netvane.common.event_schema import Dns
from netvane.common.loki import BATCH_ROWS
from tests.eventkit import CHILD, MAC, dns, eventually, running_store
from tests.logql import loki_server as servers
from tests.logql.expressions import documented, of_panels
from tests.logql.loki_server import LokiServer, loki_server
from tests.unit.test_loki import shipping

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(servers.missing() is not None, reason=servers.missing() or ""),
]

WEEK = 7 * 86400 * NANOSECONDS

SHIPPING = """
import sys, time
from pathlib import Path
from tests.eventkit import running_store
from tests.unit.test_loki import shipping
with running_store(Path(sys.argv[1])) as store, shipping(store, sys.argv[2]) as shipper:
    while True:
        print(shipper.stats().shipped, flush=True)
        time.sleep(0.01)
"""


@contextmanager
def shipper_process(events: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    """One that can be killed; it prints how much it has shipped."""
    command = [sys.executable, "-c", SHIPPING, str(events), url]
    with subprocess.Popen(command, env=CHILD, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=30)


def wait_until_shipped(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= count:
            return
    raise AssertionError("the shipper ended")


def test_a_week_of_backlog_through_the_death_of_both(tmp_path: Path) -> None:
    """Complete, in order, and what is there twice is no more than one batch for each death.

    What is sent again may be more than an hour behind what Loki has by then; it comes in a backlog stream.
    """
    count = 60_000
    events = tmp_path / "events.db"
    end = time.time_ns()
    start = end - WEEK + 60 * NANOSECONDS
    step = (end - start) // count
    with running_store(events) as store:
        for number in range(count):
            done = store.append_confirmed(dns(f"n{number}"), mac=MAC, ts=start + number * step)
            if number % 1000 == 999:  # no faster than the disk
                assert done.result(60)
    with loki_server(tmp_path / "loki") as loki:
        with shipper_process(events, loki.url) as shipper:  # before there is a Loki
            loki.start()
            wait_until_shipped(shipper, count // 5)
            loki.kill()
            loki.start()
            wait_until_shipped(shipper, count // 2)
        with running_store(events) as store, shipping(store, loki.url) as rest:
            eventually(lambda: rest.stats().pending == 0, 120)
            assert sum(rest.stats().set_aside.values()) == 0
        lines = list(loki.lines('{event="dns"}', start, end))
    assert all(before.ts <= after.ts for before, after in pairwise(lines))
    names = [json.loads(line.text)["qname"] for line in lines]
    assert list(dict.fromkeys(names)) == [f"n{number}" for number in range(count)]
    assert len(names) - count <= 2 * BATCH_ROWS
    assert {key: lines[0].labels[key] for key in ("site", "host", "job", "event", "mac", "qname")} == {
        "site": "home",
        "host": "pi",
        "job": "netvane",
        "event": "dns",
        "mac": MAC,
        "qname": "n0",
    }
    assert "service_name" not in lines[0].labels


@pytest.fixture
def loki(tmp_path: Path) -> Iterator[LokiServer]:
    watched = tmp_path / "watched"
    watched.write_text("tracker.example\n")
    with loki_server(tmp_path / "loki", {"alerts": {"watched_names_file": str(watched)}}) as server:
        server.hasten_rules()
        server.start()
        yield server


@contextmanager
def alertmanager(loki: LokiServer, data: Path) -> Iterator[str]:
    """Where Loki sends its alerts to; its URL."""
    address = f"127.0.0.1:{loki.alertmanager_port}"
    command = [
        *("prometheus-alertmanager", "--cluster.listen-address=", f"--web.listen-address={address}"),
        *(f"--config.file={loki.place.directory}/alertmanager.yml", f"--storage.path={data}", "--log.level=error"),
    ]
    with subprocess.Popen(command) as process:
        try:
            yield f"http://{address}"
        finally:
            process.kill()
            process.wait(30)


def alerts(url: str) -> dict[str, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=5) as answer:
            return {alert["labels"]["alertname"]: alert for alert in json.load(answer)}
    except OSError:
        return {}


def test_alerts_reach_alertmanager(loki: LokiServer, tmp_path: Path) -> None:
    with (
        alertmanager(loki, tmp_path / "alertmanager") as url,
        running_store(tmp_path / "events.db") as store,
        shipping(store, loki.url),
    ):
        made_up = [Dns(f"x{number}.example", "A", "NXDOMAIN", (), 0.01) for number in range(301)]
        for event in (*made_up, dns("eu.tracker.example"), dns("nottracker.example")):
            store.append(event, mac=MAC, device_name="fridge")
        eventually(lambda: len(alerts(url)) >= 2, 60)
        found = alerts(url)
    assert set(found) == {"DNSNameErrors", "DNSWatchedName"}
    names, watched = found["DNSNameErrors"], found["DNSWatchedName"]
    assert names["annotations"]["summary"] == "fridge asks for many names that do not exist"
    assert names["annotations"]["description"].startswith("301 of its DNS questions")
    assert names["labels"] == {
        "alertname": "DNSNameErrors",
        "severity": "warning",
        "site": "home",
        "mac": MAC,
        "device_name": "fridge",
    }
    assert watched["annotations"]["summary"] == "fridge asked for eu.tracker.example"
    assert watched["annotations"]["runbook_url"].endswith("docs/runbooks/DNSWatchedName.md")


def test_every_expression_runs(loki: LokiServer) -> None:
    """Those of the documents and of the panels; a mistake would be answered with 400."""
    end = time.time_ns()
    for expression in (*documented(), *of_panels()):
        answer = loki.get("/loki/api/v1/query_range", query=expression, start=end - WEEK, end=end, step="1h", limit=10)
        assert answer["status"] == "success", expression
