"""`netvane capture` without an exporter: the files are all it needs."""

import time
from pathlib import Path

import pytest

from netvane.common.clock import NANOSECONDS
from netvane.flows import evidence
from netvane.flows.capture_command import main
from netvane.flows.pcapfile import CaptureFile
from tests import frames
from tests.clock import FakeClock

NOW = FakeClock().wall_ns()


def record(directory: Path, minutes_ago: int, packets: list[bytes]) -> None:
    """A file as dumpcap names it, which is in local time; what is in it may be pcap as well."""
    begun = time.localtime(NOW // NANOSECONDS - 60 * minutes_ago)
    path = directory / f"packets_00001_{time.strftime('%Y%m%d%H%M%S', begun)}.pcapng"
    moment = NOW - 60 * minutes_ago * NANOSECONDS
    evidence.write(path, iter([(moment, len(frame), frame) for frame in packets]), snaplen=512)


@pytest.fixture
def place(tmp_path: Path) -> list[str]:
    directory = tmp_path / "packets"
    directory.mkdir()
    plain = frames.ethernet(frames.ipv4(frames.udp(1, 2, bytes(20)), 17))
    other = frames.ethernet(frames.ipv4(frames.udp(1, 2, bytes(20)), 17), source=bytes(6))
    record(directory, 50, [plain, other])
    record(directory, 5, [plain, plain, other])
    return [f"--storage.run-dir={tmp_path}"]


def test_how_far_back_it_reaches(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *place], FakeClock()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[-1] == "The last 50 min are recorded."


@pytest.mark.parametrize(("last", "count"), [("1h", 3), ("10m", 2)])
def test_the_packets_of_one_device(
    place: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], last: str, count: int
) -> None:
    output = tmp_path / "out.pcap"
    device = frames.GADGET.hex("-").upper()
    assert main(["export", *place, "--device", device, "--last", last, "--output", str(output)], FakeClock()) == 0
    assert capsys.readouterr().out == f"{count} packets in {output}\n"
    with CaptureFile(output) as file:
        assert sum(len(batch) for batch in file.batches()) == count
    assert output.stat().st_mode & 0o777 == 0o600


def test_no_recording_and_a_bad_configuration_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", f"--storage.run-dir={tmp_path}"], FakeClock()) == 1
    assert capsys.readouterr().err == f"netvane capture: nothing is recorded in {tmp_path / 'packets'}\n"
    config = tmp_path / "netvane.yml"
    config.write_text("flows: {recorder: {directory: /nowhere, enabled: maybe}}\n")
    assert main(["list", f"--config.file={config}"], FakeClock()) == 2
    assert "flows.recorder.enabled" in capsys.readouterr().err
    config.write_text(f"flows: {{recorder: {{directory: {tmp_path / 'disk'}}}}}\n")
    assert main(["list", f"--config.file={config}"], FakeClock()) == 1
    assert str(tmp_path / "disk") in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", *place, "--device", frames.GADGET.hex(":"), "--output", "/nowhere/out.pcap"]
    assert main(arguments, FakeClock()) == 1
    assert capsys.readouterr().err == "netvane capture: [Errno 2] No such file or directory: '/nowhere/out.pcap'\n"
