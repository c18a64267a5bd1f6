"""The recorder's files: how many are kept, and what is said where none can be written."""

import os
import time
from pathlib import Path

import pytest

from netvane.common.clock import NANOSECONDS
from netvane.flows import recorder
from netvane.flows.recorder import Recorder
from tests.clock import FakeClock

MINUTE = 60 * NANOSECONDS
NOW = FakeClock().wall_ns()


def recorded(directory: Path, number: int, minutes_ago: int, size: int) -> Path:
    """A file of dumpcap's, last written to a minute after it was begun."""
    begun = NOW - minutes_ago * MINUTE
    stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(begun // NANOSECONDS))
    path = directory / f"packets_{number:05}_{stamp}.pcapng"
    path.write_bytes(bytes(size))
    os.utime(path, ns=(begun + MINUTE, begun + MINUTE))
    return path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """An hour in 16 kB, on a machine without dumpcap."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return Recorder(tmp_path, ("ap",), size=16_000, keep_seconds=3600, full=False, clock=FakeClock())


def test_without_dumpcap_nothing_is_recorded_and_it_is_said(own: Recorder) -> None:
    assert own.tend() == "no `dumpcap` on PATH: packets are not recorded"
    assert own.recording() == recorder.Recording(running=False, bytes=0, oldest_ns=0)


def test_what_is_older_than_what_is_to_be_kept_goes(own: Recorder, tmp_path: Path) -> None:
    paths = [recorded(tmp_path, number, minutes, 100) for number, minutes in enumerate((300, 62, 60, 20, 1), 1)]
    other = tmp_path / "notes.txt"
    other.touch()
    own.tend()
    assert [path.exists() for path in paths] == [False, False, True, True, True]
    assert other.exists()
    assert own.recording().oldest_ns == (NOW - 60 * MINUTE) // NANOSECONDS * NANOSECONDS


def test_what_an_earlier_run_left_is_bounded_in_bytes_the_oldest_first(own: Recorder, tmp_path: Path) -> None:
    paths = [recorded(tmp_path, 1 + number % 3, 50 - number, 3_000) for number in range(10)]
    own.tend()
    assert [path.exists() for path in paths] == [False] * 5 + [True] * 5
    assert own.recording().bytes == 15_000


def test_the_file_in_use_stays_whatever_its_size_and_age(own: Recorder, tmp_path: Path) -> None:
    newest = recorded(tmp_path, 1, 600, 50_000)
    own.tend()
    assert newest.exists()


def test_a_file_whose_name_says_nothing_has_its_last_change(tmp_path: Path) -> None:
    path = recorded(tmp_path, 1, 10, 1).rename(tmp_path / "packets_x.pcapng")
    assert recorder.begun_ns(path) == NOW - 9 * MINUTE
    assert recorder.begun_ns(tmp_path / "packets_gone.pcapng") == 0


def test_memory_and_disk_are_told_apart() -> None:
    assert not recorder.on_disk(Path("/dev/shm/not/there"))  # noqa: S108 - a tmpfs, tmpfs(5)
    assert recorder.on_disk(Path("/proc/self"))


def test_what_is_written_a_day_is_reckoned_from_the_interface() -> None:
    headers, whole = (recorder.bytes_a_day(("lo",), full=full) for full in (False, True))
    assert headers is None or (whole is not None and 0 < headers <= whole)
    assert recorder.bytes_a_day(("no-such",), full=False) is None
