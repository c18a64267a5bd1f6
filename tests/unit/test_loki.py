"""The shipper over real HTTP, into a sink that behaves as it is told."""

import base64
import json
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import Metric

from netvane.common import events_metrics
from netvane.common.clock import NANOSECONDS, SystemClock
from netvane.common.config import ConfigError
from netvane.common.event_inbox import Limits
from netvane.common.event_retention import DAY
from netvane.common.event_search import Query
from netvane.common.events import EventStore
from netvane.common.loki import Backoff, Shipper, shipper_for
from netvane.common.loki_http import LokiHttp
from netvane.common.settings import Loki
from tests.clock import FakeClock
from tests.eventkit import CHILD, EAGER, MAC, SAMPLES, dns, eventually, found, running_store, verdict
from tests.lokisink import Behaviour, LokiSink

LABELS = {"site": "home", "host": "pi", "job": "netvane"}
HASTY = Backoff(first=0.01, longest=0.05)


@contextmanager
def shipping(
    store: EventStore, url: str, backoff: Backoff = HASTY, deadline_seconds: float = 30, **settings: object
) -> Iterator[Shipper]:
    loki = LokiHttp(Loki(url=url, **settings), url, SystemClock(), deadline_seconds)  # type: ignore[arg-type]
    shipper = Shipper(store, loki, LABELS, SystemClock(), backoff)
    shipper.start()
    try:
        yield shipper
    finally:
        before = time.monotonic()
        shipper.stop()
        assert not shipper._thread.is_alive(), f"still there after {time.monotonic() - before} s"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with running_store(tmp_path / "events.db") as store:
        yield store


@pytest.fixture
def sink() -> Iterator[LokiSink]:
    with LokiSink().running() as sink:
        yield sink


def names(sink: LokiSink, **labels: str) -> list[str]:
    return [event.get("qname") or event.get("verdict") or event["event"] for event in sink.bodies(**labels)]


def append(store: EventStore, first: int, last: int) -> list[str]:
    """Bulk events n<first> to n<last - 1>, committed; their names."""
    expected = [f"n{number}" for number in range(first, last)]
    for name in expected:
        done = store.append_confirmed(dns(name))
        if name.endswith("999") or name == expected[-1]:  # no faster than the disk
            assert done.result(20)
    return expected


def test_events_arrive_as_they_are(store: EventStore, sink: LokiSink) -> None:
    before = append(store, 0, 10)  # what was there before the shipper is shipped too
    with shipping(store, sink.url) as shipper:
        store.append(SAMPLES["flow"], mac=MAC, device_name="printer", ts=12345)
        sink.wait_for(lambda: len(sink.lines) == 11)
        eventually(lambda: shipper.stats().pending == 0)
    assert names(sink, event="dns", **LABELS) == before
    (flow,) = [line for line in sink.lines if line.labels == {**LABELS, "event": "flow"}]
    assert flow.ts == 12345
    assert [flow.line] == list(store.search(Query(event="flow")))
    assert flow.metadata == {
        "mac": MAC,
        "device_name": "printer",
        "address": "198.51.100.7",
        "peer_address": "203.0.113.5",
        "peer_name": "cloud.example",
    }
    headers = sink.pushes[0]
    assert headers["path"] == "/loki/api/v1/push"
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Encoding"] == "gzip"
    assert "Authorization" not in headers
    assert "X-Scope-OrgID" not in headers


def test_a_commit_wakes_the_shipper(store: EventStore, sink: LokiSink) -> None:
    with shipping(store, sink.url):
        for number in range(20):
            store.append(verdict(f"v{number}"))
            sink.wait_for(lambda count=number + 1: len(sink.lines) == count)  # type: ignore[misc]
    assert len({json.dumps(headers) for headers in sink.pushes}) <= 20


def test_a_restart_goes_on_where_it_was(store: EventStore, sink: LokiSink) -> None:
    for start in range(3):
        with shipping(store, sink.url):
            append(store, start * 100, start * 100 + 100)
            sink.wait_for(lambda count=start * 100 + 100: len(sink.lines) == count)  # type: ignore[misc]
    assert names(sink) == [f"n{number}" for number in range(300)]


def test_a_stop_waits_a_little_for_an_answer(store: EventStore, sink: LokiSink) -> None:
    """A restart sends nothing again where Loki answers in time."""
    for start in range(10):
        with shipping(store, sink.url):
            append(store, start * 10, start * 10 + 10)
            sink.wait_for(lambda: len(sink.lines) > 0)
    with shipping(store, sink.url):
        sink.wait_for(lambda: len(sink.lines) == 100)
    assert names(sink) == [f"n{number}" for number in range(100)]


def test_many_events_go_in_bounded_batches(store: EventStore, sink: LokiSink) -> None:
    expected = append(store, 0, 10_000)
    with shipping(store, sink.url):
        sink.wait_for(lambda: len(sink.lines) == 10_000)
    assert names(sink) == expected
    assert len(sink.pushes) >= 3
    assert all(int(headers["Content-Length"]) < 2**20 for headers in sink.pushes)


def test_secrets_and_tenant(store: EventStore, sink: LokiSink, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p:ä ss\n", encoding="utf-8")
    with shipping(store, sink.url + "/loki/api/v1/push", tenant="home", username="pi", password_file=secret):
        append(store, 0, 2)
        sink.wait_for(lambda: len(sink.lines) == 2)
    headers = sink.pushes[0]
    assert headers["path"] == "/loki/api/v1/push"
    assert headers["X-Scope-OrgID"] == "home"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == "pi:p:ä ss"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(status=429, text="Ingestion rate limit exceeded"), "rate_limited"),
        (Behaviour(status=500), "server"),
        (Behaviour(status=503, retry_after="0"), "server"),
        (Behaviour(status=503, retry_after="rubbish"), "server"),
        (Behaviour(drop=True), "network"),
        (Behaviour(status=401, text="no org id"), "configuration"),
        (Behaviour(status=403), "configuration"),
        (Behaviour(status=404, text="404 page not found"), "configuration"),
        (Behaviour(status=302), "configuration"),
    ],
)
def test_what_fails_is_tried_again(store: EventStore, sink: LokiSink, behaviour: Behaviour, reason: str) -> None:
    sink.behaviour = behaviour
    expected = append(store, 0, 50)
    with shipping(store, sink.url) as shipper:
        sink.wait_for(lambda: len(sink.pushes) >= 3)
        assert shipper.stats().pending == 50
        assert shipper.stats().oldest_unshipped > 0
        sink.behaviour = Behaviour()
        sink.wait_for(lambda: len(sink.lines) == 50)
        eventually(lambda: shipper.stats().pending == 0)
        stats = shipper.stats()
    assert names(sink) == expected
    assert stats.retries == {**dict.fromkeys(stats.retries, 0), reason: len(sink.pushes) - 1}
    assert stats.oldest_unshipped == 0
    assert not stats.holding


def test_refused_access_loses_nothing_and_is_said(store: EventStore, sink: LokiSink) -> None:
    sink.behaviour = Behaviour(status=401)
    expected = append(store, 0, 10)
    with shipping(store, sink.url) as shipper:
        eventually(lambda: shipper.stats().holding)
        sink.behaviour = Behaviour()
        sink.wait_for(lambda: len(sink.lines) == 10)
        eventually(lambda: not shipper.stats().holding)
    assert names(sink) == expected


@pytest.mark.parametrize("status", [400, 413, 422])
def test_other_refusals_are_not_tried_again(store: EventStore, sink: LokiSink, status: int) -> None:
    sink.script = [Behaviour(status=status, text="nonsense")]
    append(store, 0, 1)
    with shipping(store, sink.url) as shipper:
        eventually(lambda: shipper.stats().pending == 0)
        stats = shipper.stats()
    assert len(sink.pushes) == 1
    assert stats.set_aside == {"refused": 1, "too_old": 0, "too_far_behind": 0}
    assert sum(stats.retries.values()) == 0


def test_retry_after_is_honoured() -> None:
    clock = FakeClock()
    loki = LokiHttp(Loki(), "http://127.0.0.1", clock)
    assert loki._retry_after(None) == 0
    assert loki._retry_after("17") == 17
    assert loki._retry_after("Thu, 01 Jan 2026 00:01:00 GMT") == 60
    assert loki._retry_after("Wed, 31 Dec 2025 00:00:00 GMT") == 0
    assert loki._retry_after("Thu, 99 Jan 99999 00:00:00 GMT") == 0
    assert loki._retry_after("-5") == 0


def test_a_long_retry_after_is_waited_for_and_stopping_is_not(store: EventStore, sink: LokiSink) -> None:
    sink.behaviour = Behaviour(status=429, retry_after="100000")
    append(store, 0, 1)
    with shipping(store, sink.url) as shipper:
        eventually(lambda: shipper.stats().retries["rate_limited"] == 1)
        assert not shipper._stop.wait(0.3)
        assert len(sink.pushes) == 1


def test_pauses_grow_to_a_limit_and_are_spread() -> None:
    backoff = Backoff()
    for failures, most in [(1, 1), (2, 2), (5, 16), (7, 60), (1000, 60)]:
        pauses = {backoff.pause(failures) for _ in range(100)}
        assert most / 2 <= min(pauses) < max(pauses) <= most


def test_no_sink_then_one(store: EventStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    expected = append(store, 0, 30)
    with shipping(store, f"http://127.0.0.1:{port}") as shipper:
        eventually(lambda: shipper.stats().retries["network"] > 2)
        with LokiSink(port=port).running() as sink:
            sink.wait_for(lambda: len(sink.lines) == 30)
            assert names(sink) == expected


@pytest.mark.parametrize("behaviour", [Behaviour(hang=True), Behaviour(drip=True)])
def test_a_push_has_a_deadline(store: EventStore, sink: LokiSink, behaviour: Behaviour) -> None:
    sink.script = [behaviour] * 2
    expected = append(store, 0, 30)
    with shipping(store, sink.url, deadline_seconds=0.3) as shipper:
        sink.wait_for(lambda: len(sink.lines) == 30)
        assert shipper.stats().retries["timeout"] == 2
    assert names(sink) == expected


def test_stopping_does_not_wait_for_a_sink_that_hangs(store: EventStore, sink: LokiSink) -> None:
    sink.behaviour = Behaviour(hang=True)
    append(store, 0, 30)
    with shipping(store, sink.url):
        sink.wait_for(lambda: len(sink.pushes) == 1)
    # and then `shipping` asserts that the thread has ended


def test_a_connection_is_kept_and_an_old_one_replaced(store: EventStore, sink: LokiSink) -> None:
    with shipping(store, sink.url) as shipper:
        for number in range(5):
            append(store, number, number + 1)
            sink.wait_for(lambda count=number + 1: len(sink.lines) == count)  # type: ignore[misc]
        eventually(lambda: shipper.stats().pending == 0)
        assert len(sink.connections) == 1
        for connection in list(sink.connections):
            connection.shutdown(socket.SHUT_RDWR)
        eventually(lambda: sink.connections == [])
        append(store, 5, 6)
        sink.wait_for(lambda: len(sink.lines) == 6)
        assert sum(shipper.stats().retries.values()) == 0


def test_late_old_and_poisonous_lines(store: EventStore, sink: LokiSink) -> None:
    now = SystemClock().wall_ns()
    hour = 3600 * NANOSECONDS
    sink.behaviour = Behaviour(behind_ns=hour, oldest=now - 7 * DAY, poison="poison")
    with shipping(store, sink.url) as shipper:
        append(store, 0, 1)
        sink.wait_for(lambda: len(sink.lines) == 1)
        store.append(dns("late"), ts=now - 3 * hour)
        store.append(dns("old"), ts=now - 8 * DAY)
        store.append(dns("poison"))
        assert store.append_confirmed(dns("good")).result(10)
        eventually(lambda: shipper.stats().pending == 0)
        stats = shipper.stats()
    assert set(names(sink)) == {"n0", "late", "good"}
    (late,) = [line for line in sink.lines if "backlog" in line.labels]
    assert json.loads(late.line)["qname"] == "late"
    assert late.labels == {**LABELS, "event": "dns", "backlog": late.labels["backlog"]}
    assert stats.set_aside == {"refused": 1, "too_old": 1, "too_far_behind": 0}
    assert (stats.shipped, stats.late) == (3, 1)
    assert set(found(store)) == {"n0", "late", "old", "poison", "good"}  # set aside means: still here


def test_deletion_that_overtakes_the_shipper_is_counted(tmp_path: Path, sink: LokiSink) -> None:
    sink.behaviour = Behaviour(status=503)
    limits = Limits(batch_seconds=0.0, max_bytes=1_000_000)
    with running_store(tmp_path / "events.db", limits=limits) as store, shipping(store, sink.url) as shipper:
        for number in range(5000):
            store.append(dns(f"{number}" + "x" * 200))
        assert store.append_confirmed(verdict("kept")).result(20)
        eventually(lambda: store.stats().deleted["size"] > 1000 and store.stats().file_bytes <= 1_000_000)
        eventually(lambda: store.stats().deleted_unshipped == store.stats().deleted["size"])
        sink.behaviour = Behaviour()
        eventually(lambda: shipper.stats().pending == 0)
        arrived = set(names(sink))
        assert "kept" in arrived
        assert set(found(store)) <= arrived
        never_arrived = 5001 - len(arrived)
        # what was in memory when it was deleted still arrives: no loss goes uncounted, and one batch may be too many
        assert never_arrived <= store.stats().deleted_unshipped <= never_arrived + 4096


def test_deletion_counts_as_a_loss_only_while_somebody_ships(tmp_path: Path, sink: LokiSink) -> None:
    sink.behaviour = Behaviour(status=503)
    limits = Limits(batch_seconds=0.0, max_bytes=300_000)
    with running_store(tmp_path / "events.db", limits=limits) as store:
        with shipping(store, sink.url), shipping(store, sink.url):  # as when one follows the other at a reload
            pass
        append(store, 0, 3000)
        eventually(lambda: store.stats().deleted["size"] > 0)
        assert store.stats().deleted_unshipped == 0
        with shipping(store, sink.url):
            append(store, 0, 3000)
            eventually(lambda: store.stats().deleted_unshipped > 0)


def test_nothing_left_to_ship_is_nothing_pending(tmp_path: Path, sink: LokiSink) -> None:
    """Also where the newest events were deleted before they could be shipped."""
    path = tmp_path / "events.db"
    with running_store(path) as store:
        for number in range(100):
            store.append(dns(f"n{number}"), ts=number)
        assert store.append_confirmed(dns("last"), ts=1).result(10)
    with running_store(path) as store:  # at the start everything older than 31 days goes
        eventually(lambda: store.stats().deleted["age"] == 101)
        with shipping(store, sink.url) as shipper:
            eventually(lambda: shipper.stats().pending == 0)
            assert sink.pushes == []
            append(store, 0, 1)
            sink.wait_for(lambda: names(sink) == ["n0"])


def test_a_replaced_database_is_shipped_from_its_beginning(tmp_path: Path, sink: LokiSink) -> None:
    path = tmp_path / "events.db"
    with running_store(path) as store, shipping(store, sink.url) as shipper:
        append(store, 0, 3000)
        eventually(lambda: shipper.stats().pending == 0 and shipper.stats().shipped == 3000)
        store.report(damage(), store.generation)
        eventually(lambda: store.generation == 1)
        append(store, 5000, 5010)
        eventually(lambda: shipper.stats().shipped == 3010)
    assert names(sink)[-10:] == [f"n{number}" for number in range(5000, 5010)]


def damage() -> sqlite3.Error:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def test_a_database_that_cannot_be_read_is_tried_again(tmp_path: Path, sink: LokiSink) -> None:
    path = tmp_path / "events.db"
    with running_store(path) as store:
        append(store, 0, 3)
        path.rename(tmp_path / "elsewhere")
        with shipping(store, sink.url) as shipper:
            eventually(lambda: shipper.stats().retries["database"] > 1)
            (tmp_path / "elsewhere").rename(path)
            sink.wait_for(lambda: len(sink.lines) == 3)


def test_tls_with_its_own_authority(store: EventStore, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=sink"
    options: list[str | Path] = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with LokiSink(tls=context).running() as sink:
        url = f"https://127.0.0.1:{sink.port}"
        with shipping(store, url, ca_file=certificate) as shipper:
            for number in range(3):
                append(store, number, number + 1)
                sink.wait_for(lambda count=number + 1: len(sink.lines) == count)  # type: ignore[misc]
            assert sum(shipper.stats().retries.values()) == 0
            assert len(sink.connections) == 1
        with shipping(store, url) as shipper:  # a stranger's certificate
            append(store, 3, 4)
            eventually(lambda: shipper.stats().retries["network"] > 1)
            assert len(sink.lines) == 3


def test_configuration(tmp_path: Path, store: EventStore) -> None:
    def shipper(**settings: object) -> Shipper | None:
        return shipper_for(
            Loki(**settings),  # type: ignore[arg-type]
            store,
            site="home",
            host="pi",
            job="netvane",
            clock=SystemClock(),
        )

    assert shipper() is None
    assert isinstance(shipper(url="http://localhost:3100"), Shipper)
    absent = tmp_path / "absent"
    for wrong in (
        {"url": "http://localhost:99999"},
        {"url": "http://localhost", "tenant": "☃"},
        {"url": "http://localhost", "username": "pi", "password_file": absent},
        {"url": "https://localhost", "ca_file": absent},
        {"url": "https://localhost", "ca_file": Path(__file__)},
    ):
        with pytest.raises(ConfigError):
            shipper(**wrong)


def test_metrics(store: EventStore, sink: LokiSink) -> None:
    def sample(families: list[Metric]) -> dict[str, float]:
        return {
            sample.name + "".join(sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    quiet = sample(list(events_metrics.collect(store, None)))
    assert not [name for name in quiet if name.startswith("netvane_loki")]
    with shipping(store, sink.url) as shipper:
        first = sample(list(events_metrics.collect(store, shipper)))
        assert set(first) >= set(quiet)
        append(store, 0, 5)
        eventually(lambda: shipper.stats().pending == 0)
        now = sample(list(events_metrics.collect(store, shipper)))
    assert set(now) == set(first)  # every series is there from the first scrape on
    assert now["netvane_events_stored_totaldns"] == 5
    assert now["netvane_events_writable"] == 1
    assert now["netvane_loki_events_shipped_total"] == 5
    assert now["netvane_loki_oldest_unshipped_timestamp_seconds"] == 0
    assert abs(now["netvane_loki_last_success_timestamp_seconds"] - time.time()) < 60


QUEUEING = """
import re, sys
from pathlib import Path
from tests.eventkit import SAMPLES, eventually, running_store
from tests.unit.test_loki import shipping
with running_store(Path(sys.argv[1])) as store, shipping(store, sys.argv[2], deadline_seconds=0.5) as shipper:
    for number in range(100_001):
        done = store.append_confirmed(SAMPLES["dns"])
        if number % 5000 == 0:
            assert done.result(60)
    eventually(lambda: shipper.stats().retries["timeout"] >= 3)
    assert shipper.stats().pending == 100_001
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_memory_is_bounded_while_the_sink_hangs(tmp_path: Path, sink: LokiSink) -> None:
    sink.behaviour = Behaviour(hang=True)
    output = subprocess.run(
        [sys.executable, "-c", QUEUEING, str(tmp_path / "events.db"), sink.url],
        env=CHILD,
        stdout=subprocess.PIPE,
        check=True,
        timeout=150,
    ).stdout
    assert int(output) < 100 * 1024


@contextmanager
def sink_process(journal: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A sink that can be killed, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lokisink", "--journal", journal, "--port", str(port)],
        env=CHILD,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate(timeout=30)


def journal_names(journal: Path) -> list[str]:
    lines = journal.read_text().splitlines()
    whole = [line for line in lines if line.endswith("]")]  # a kill may cut the last line of a push
    return [json.loads(json.loads(line)[2])["qname"] for line in whole]


def check_complete(journal: Path, expected: list[str], crashes: int, batch: int = 4096) -> None:
    """All there, in order, and no more twice than one batch for each crash."""
    arrived = journal_names(journal)
    assert list(dict.fromkeys(arrived)) == expected
    assert len(arrived) - len(expected) <= crashes * batch


def test_kill_9_of_the_sink(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with running_store(tmp_path / "events.db", limits=EAGER) as store:
        expected = append(store, 0, 30_000)
        with sink_process(journal) as (first, url), shipping(store, url) as shipper:
            eventually(lambda: shipper.stats().shipped > 3000)
            first.kill()
            first.wait(30)
            eventually(lambda: sum(shipper.stats().retries.values()) > 1)
            with sink_process(journal, int(url.rpartition(":")[2])):
                eventually(lambda: shipper.stats().pending == 0, 60)
    check_complete(journal, expected, crashes=1)


SHIPPING = """
import sys, time
from pathlib import Path
from tests.eventkit import running_store
from tests.unit.test_loki import shipping
with running_store(Path(sys.argv[1])) as store, shipping(store, sys.argv[2]) as shipper:
    while True:
        print(shipper.stats().pending, flush=True)
        time.sleep(0.002)
"""


def test_kill_9_of_the_shipper(tmp_path: Path) -> None:
    journal, path = tmp_path / "journal", tmp_path / "events.db"
    with running_store(path) as store:
        expected = append(store, 0, 30_000)
    crashes = 4
    with sink_process(journal) as (_, url):
        for crash in range(1, crashes + 1):
            process = subprocess.Popen(
                [sys.executable, "-c", SHIPPING, str(path), url],
                env=CHILD,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            while int(process.stdout.readline()) > 30_000 - crash * 6000:
                pass
            process.kill()
            process.communicate(timeout=30)
        with running_store(path) as store, shipping(store, url) as shipper:
            eventually(lambda: shipper.stats().pending == 0, 60)
    check_complete(journal, expected, crashes)
