"""The verdict on what the fault matrix (test_fault_matrix.py) does not play: what was odd before Netvane came."""

import time
from pathlib import Path

import pytest

from tests.lab.exporters import running_exporter
from tests.lab.home import Home
from tests.lab.wait import eventually
from tests.lab.watched import SETTINGS, running_raw

pytestmark = [pytest.mark.lab, pytest.mark.long]


def test_what_was_mute_from_the_start_is_nobodys_fault(tmp_path: Path) -> None:
    with Home(gadgets=1) as home:
        for odd in (home.fault.router_mute(), home.fault.isp_mute(), home.fault.anchor_dead(0)):
            odd.cut()
        with running_raw(home, tmp_path), running_exporter("latency", home.mon, tmp_path, SETTINGS) as exporter:
            eventually(lambda: exporter.value("netvane_verdict", verdict="ok") == 1, within=30, what="ok at the start")
            for _ in range(40):
                time.sleep(0.5)
                assert exporter.value("netvane_verdict", verdict="ok") == 1
