"""`netvane analyze` as its user types it."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netvane.flows import evidence
from netvane.flows.analyze import main
from netvane.flows.classnames import CLASSES
from tests import frames
from tests.eventkit import CHILD

GADGET, ROUTER = frames.GADGET.hex(":"), frames.ROUTER.hex(":")
QUESTION = b"\0\7\1\0\0\1\0\0\0\0\0\0\3api\7example\0\0\1\0\1"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Two packets of a gadget and one to it, one of them a question, and one that says too much of its length."""
    path = tmp_path / "home.pcap"
    broken = bytearray(frames.ethernet(frames.ipv4(frames.udp(1, 2), 17)))
    broken[14 + 2 : 14 + 4] = b"\xff\xff"
    made = [
        frames.ethernet(frames.ipv4(frames.udp(40000, 53, QUESTION), 17)),
        frames.ethernet(frames.ipv4(frames.tcp(40000, 443, 0x02), 6)),
        frames.ethernet(
            frames.ipv4(frames.tcp(443, 40000, 0x12), 6, frames.FAR, frames.LOCAL), 0x0800, frames.ROUTER, frames.GADGET
        ),
        bytes(broken),
    ]
    evidence.write(path, [(1_760_000_000 * 10**9 + at, len(made[at]), made[at]) for at in range(4)], snaplen=65535)
    return path


def test_json_has_what_a_program_needs(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(capture), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= {"frames", "bytes", "classes", "devices", "flows", "dns", "malformed", "slow_path"}
    assert (found["frames"], found["malformed"]) == (4, 1)
    assert found["bytes"] == capture.stat().st_size - 24 - 4 * 16
    assert set(found["classes"]) == set(CLASSES)
    assert {name: count for name, count in found["classes"].items() if count} == {
        "udp": 2, "dns": 1, "tcp": 2, "tcp_syn": 1, "tls": 2
    }  # fmt: skip
    assert found["devices"][GADGET]["tx_frames"] == found["devices"][ROUTER]["rx_frames"] == 3
    assert set(found["devices"][GADGET]) == {"tx_frames", "tx_bytes", "rx_frames", "rx_bytes"}
    assert found["flows"] == {"tcp": 1, "udp": 2}
    (line,) = found["dns"]
    assert line == {
        "ts": "2025-10-09T08:53:20.000000000Z",
        "mac": GADGET,
        "name": "api.example",
        "type": "A",
        "rcode": None,
        "answers": [],
        "response": False,
    }


def test_csv_has_a_line_for_each_device(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(capture), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["mac"]: (row["tx_frames"], row["rx_frames"]) for row in rows} == {
        GADGET: ("3", "1"),
        ROUTER: ("1", "3"),
    }


def test_a_table_is_for_people(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(capture)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("4 frames, ")
    assert "1 malformed" in out
    assert "api.example" in out


def test_a_file_cut_short_is_analysed_up_to_the_cut(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture.write_bytes(capture.read_bytes()[:-10])
    assert main([str(capture), "--format", "json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["frames"] == 3
    assert said.err.startswith(f"netvane analyze: {capture}: ")


@pytest.mark.parametrize("content", [None, b"", b"no capture at all, but long enough for a header"])
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    assert main([str(path)]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("netvane analyze: ")


def test_a_reader_that_has_read_enough_is_no_error(capture: Path) -> None:
    command = [sys.executable, "-m", "netvane.cli", "analyze", str(capture)]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=CHILD, check=False, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
