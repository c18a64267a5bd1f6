"""`netvane ask`, on a real event store."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from netvane.common import devices, exchange
from netvane.common.clock import NANOSECONDS, rfc3339
from netvane.common.devices import DevicesView, PublishedDevice
from netvane.common.event_inbox import Limits
from netvane.common.event_schema import Dns, Flow
from netvane.common.events import EventStore, event_file_of
from netvane.flows.ask import handlers, main
from netvane.flows.questions import Question
from tests.clock import FakeClock
from tests.eventkit import running_store

MAC, OTHER = "24:0a:c4:00:00:01", "24:0a:c4:00:00:02"
NOW = FakeClock().wall_ns() - 1


def flow(peer: str, port: int, size: int, name: str | None = None) -> Flow:
    return Flow(
        protocol="tcp",
        address="198.51.100.20",
        peer_address=peer,
        start=rfc3339(NOW - NANOSECONDS),
        end=rfc3339(NOW),
        tx_bytes=size,
        rx_bytes=2 * size,
        tx_packets=1,
        rx_packets=2,
        state="closed",
        peer_port=port,
        peer_name=name,
        scope="wan",
    )


def question(name: str, rcode: str | None) -> Dns:
    return Dns(qname=name, qtype="A", rcode=rcode, answers=("203.0.113.9",), latency_seconds=0.01)


@pytest.fixture
def place(tmp_path: Path) -> list[str]:
    file = event_file_of(tmp_path, "flows")
    file.parent.mkdir()
    store = EventStore(file, site="home", host="pi", clock=FakeClock())
    hour = 3600 * NANOSECONDS
    for age, mac, event in (
        (0, MAC, flow("203.0.113.9", 443, 100, "api.example")),
        (1, MAC, flow("203.0.113.8", 443, 50, "api.example")),
        (2, MAC, flow("203.0.113.7", 80, 1000)),
        (3 * hour, MAC, flow("203.0.113.6", 80, 1)),
        (0, OTHER, flow("203.0.113.5", 80, 1)),
        (0, MAC, question("api.example", "NOERROR")),
        (1, MAC, question("api.example", None)),
        (2, MAC, question("no.example", "NXDOMAIN")),
    ):
        store.append(event, mac=mac, device_name="camera" if mac == MAC else None, ts=NOW - age)
    store.close()
    return [f"--storage.data-dir={tmp_path}", f"--storage.run-dir={tmp_path}"]


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main([*arguments, "--format", "json"], FakeClock()) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_peers_are_summed_up_by_name_and_port_the_largest_first(
    place: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ask(capsys, *place, "--device", MAC)
    assert [(row["peer"], row["port"], row["flows"], row["tx_bytes"], row["rx_bytes"]) for row in rows] == [
        ("203.0.113.7", 80, 1, 1000, 2000),
        ("api.example", 443, 2, 150, 300),
    ]
    assert len(ask(capsys, *place, "--device", MAC.upper().replace(":", "-"), "--last", "1d")) == 3


def test_a_device_is_known_by_its_present_name(
    tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The hosts exporter says which MACs it has had; without that, the events tell what they were called then."""
    assert len(ask(capsys, *place, "--device", "Camera", "--flows")) == 3
    phone = PublishedDevice(device=MAC, macs=(MAC, OTHER), state="present", name="Porch")
    exchange.publish(tmp_path / devices.FILE_NAME, DevicesView((phone,)), FakeClock())
    rows = ask(capsys, *place, "--device", "porch", "--flows")
    assert sorted(str(row["peer_address"]) for row in rows) == [f"203.0.113.{last}" for last in (5, 7, 8, 9)]
    assert ask(capsys, *place, "--device", "fridge") == []


def test_flows_newest_first(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    rows = ask(capsys, *place, "--device", MAC, "--flows", "--limit", "2")
    assert [row["peer_address"] for row in rows] == ["203.0.113.9", "203.0.113.8"]


def test_names_by_how_often_they_were_asked_for(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    rows = ask(capsys, *place, "--device", "camera", "--dns")
    assert [(row["name"], row["queries"], row["failed"], row["unanswered"]) for row in rows] == [
        ("api.example", 2, 0, 1),
        ("no.example", 1, 1, 0),
    ]


def test_a_history_that_is_shorter_than_asked_for_is_said(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        assert main([*place, "--device", MAC, *arguments], FakeClock()) == 0
        return capsys.readouterr().err

    assert said("--last", "2h") == ""
    oldest = rfc3339(NOW - 3 * 3600 * NANOSECONDS)[:19]
    assert said("--last", "31d") == f"netvane ask: nothing is kept from before {oldest}Z\n"
    # Questions have a history of their own.
    assert said("--last", "2h", "--dns") == f"netvane ask: nothing is kept from before {rfc3339(NOW - 2)[:19]}Z\n"


def test_tables_and_csv(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*place, "--device", MAC, "--format", "csv"], FakeClock()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("peer,country,protocol,port,")
    assert lines[1].startswith("203.0.113.7,,tcp,80,wan,1,1000,2000,")
    assert main([*place, "--device", "nobody"], FakeClock()) == 0
    assert capsys.readouterr().out.split()[:3] == ["peer", "country", "protocol"]


def test_a_running_exporter_answers_with_what_has_just_happened(tmp_path: Path) -> None:
    async def rows() -> list[bytes]:
        asked = msgspec.json.encode(Question(device=MAC, view="dns", since=0, limit=10))
        return [row async for row in answers["ask"](msgspec.Raw(asked))]

    path = tmp_path / "events.db"
    with running_store(path, limits=Limits(batch_seconds=3600)) as store:
        answers = handlers(path, lambda _: (), store.flush)
        store.append(question("api.example", "NOERROR"), mac=MAC)
        (row,) = asyncio.run(rows())
    assert json.loads(row)["name"] == "api.example"


def test_without_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--storage.data-dir={tmp_path}", f"--storage.run-dir={tmp_path}", "--device", MAC]) == 1
    assert "is not running, and there is no" in capsys.readouterr().err
