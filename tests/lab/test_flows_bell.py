"""The bell that wakes the packet-flow exporter."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netvane.flows import bell
from netvane.flows.bell import Bell
from tests import frames
from tests.lab.exporters import running_exporter
from tests.lab.listening import cable, send, wait_for_carrier
from tests.lab.netns import Namespace
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

FRAME = frames.ethernet(bytes(46), 0x0806)
ONE_IN = 25


@contextmanager
def bell_of(namespace: Namespace, packets: int = ONE_IN) -> Iterator[Bell]:
    one = namespace.call(lambda: Bell("ap", packets))
    try:
        yield one
    finally:
        one.close()


def rings(one: Bell) -> bool:
    poll = select.poll()
    poll.register(one, select.POLLIN)
    return bool(poll.poll(0))


def rings_once(one: Bell) -> None:
    eventually(lambda: rings(one), what="a word about it")
    bell.wait([one], 60)
    assert not rings(one)


def test_it_rings_about_as_often_as_it_should_and_stops_when_it_was_heard() -> None:
    with cable() as (sender, watcher), bell_of(watcher) as one, bell_of(watcher, 2**31) as silent:
        assert not rings(one)
        heard = 0
        for _ in range(1000):
            send(sender, [FRAME])
            heard += rings(one)
            one.hush()
            assert not rings(one)
        # The expected number is 40, its standard deviation 6.3.
        assert 10 < heard < 80
        assert not rings(silent)
        send(sender, [FRAME] * 2000)  # more than it keeps
        assert rings(one)
        bell.wait([silent, one], 60)
        assert not rings(one)


def test_an_interface_that_goes_down_rings_once_and_goes_on_when_it_is_back() -> None:
    with cable() as (sender, watcher), bell_of(watcher) as one:
        watcher.ip("link set ap down")
        rings_once(one)
        watcher.ip("link set ap up")
        wait_for_carrier(watcher)
        send(sender, [FRAME] * 2000)
        assert rings(one)


def test_an_interface_that_is_gone_rings_once_and_there_is_no_new_bell() -> None:
    with cable() as (_, watcher), bell_of(watcher) as one:
        watcher.ip("link del ap")
        rings_once(one)
        with pytest.raises(OSError, match="No such device"):
            watcher.call(lambda: Bell("ap", ONE_IN))


def test_a_burst_after_silence_is_heard_before_the_ring_is_full(tmp_path: Path) -> None:
    """Each is several times what the ring holds: that is full within a fifth of a second, before a timer would tell."""
    count, portion = 50_000, 600

    def burst_of() -> Iterator[bytes]:
        for number in range(count):
            if number % portion == 0:
                time.sleep(0.01)
            yield FRAME

    settings = {"flows": {"interfaces": ["ap"], "ring": "6MiB", "recorder": {"enabled": False}}}
    with cable() as (sender, watcher), running_exporter("flows", watcher, tmp_path, settings) as exporter:
        for burst in range(1, 6):
            time.sleep(0.7)  # it sleeps too
            send(sender, burst_of())
            eventually(
                lambda total=burst * count: exporter.value("netvane_flows_frames_total") == total,  # type: ignore[misc]
                what=f"the frames of burst {burst}",
            )
        assert exporter.value("netvane_flows_capture_dropped_total") == 0
