"""The alerts about this machine use series that the real node exporter really has, on a Raspberry Pi's /sys."""

import re
from pathlib import Path

import pytest
import yaml

from netvane.common import assets
from netvane.up.parts import NODE_COLLECTORS
from tests.lab.rack import Rack
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

URL = "http://127.0.0.1:9100/metrics"


def raspberry_pi(sys: Path) -> None:
    """Two hwmon chips and a thermal zone, as Linux 6.6 shows them on a Pi 4 whose supply is too weak just now."""
    volt = sys / "class/hwmon/hwmon1"
    zone = sys / "class/thermal/thermal_zone0"
    chip = sys / "class/hwmon/hwmon0"
    for file, text in {
        volt / "name": "rpi_volt",
        volt / "in0_lcrit_alarm": "1",
        chip / "name": "cpu_thermal",
        chip / "temp1_input": "61342",
        zone / "type": "cpu-thermal",
        zone / "temp": "61342",
        zone / "policy": "step_wise",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


def test_series_of_the_alerts_about_the_machine(rack: Rack, tmp_path: Path) -> None:
    raspberry_pi(tmp_path)
    (namespace,) = rack.namespaces("pi")
    process = namespace.start(
        [
            *("prometheus-node-exporter", "--web.listen-address=127.0.0.1:9100", f"--path.sysfs={tmp_path}"),
            *("--collector.disable-defaults", *(f"--collector.{name}" for name in NODE_COLLECTORS)),
        ]
    )

    def scrape() -> str:
        assert process.running, process.output()
        try:
            return namespace.http(URL).text
        except OSError:
            return ""

    text = eventually(scrape, within=20, what="node exporter")
    there = set(re.findall(r"^(node_\w+)", text, flags=re.MULTILINE))
    groups = yaml.safe_load((assets.path("prometheus") / "alerts/machine.yml").read_text())["groups"]
    wanted = {name for rule in groups[0]["rules"] for name in re.findall(r"\bnode_\w+", rule["expr"])}
    assert len(wanted) >= 7
    assert wanted <= there
    # What the driver says as 1 is more than 0 here, and degrees are degrees.
    assert re.search(r"^node_hwmon_in_lcrit_alarm_volts\{.*\} 0.001$", text, flags=re.MULTILINE)
    assert re.search(r"^node_thermal_zone_temp\{.*\} 61.342$", text, flags=re.MULTILINE)
