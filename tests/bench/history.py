"""Ninety days of a home with fifty devices, as Prometheus would have recorded them for the Home dashboard.

Made once, a day at a time through `promtool tsdb create-blocks-from openmetrics`, and kept for the next time.
"""

import math
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

CACHE = Path("/var/cache/netvane/bench")
FORM = 1
"""Of what is made here: another number, another cache."""

DAYS = 90
DEVICES = 50
STEP_SECONDS = 60
DAY_SECONDS = 86_400
# Any full day will do, as long as it is the same each time.
END = 20_600 * DAY_SECONDS

_SEGMENTS = [
    f'role="{role}",family="{family}"' for role in ("router", "isp", "anchor") for family in ("ipv4", "ipv6")
] + ['role="resolver",family="ipv4"']
_CULPRITS = ("captive_portal", "dns", "isp", "link", "router", "upstream", "web")
_GROUPS = ("away", "new", "present", "quiet", "unknown")


def mac(device: int) -> str:
    return f"24:0a:c4:00:00:{device:02x}"


def names() -> dict[str, float]:
    """Each series (without the label site) and about which value it moves; 0 and 1 stay as they are."""
    found = {
        "site:netvane_verdict:worst1m": 0.0,
        "site:netvane_outage_active:max1m": 0.0,
        "site:netvane_outage_last_start_timestamp_seconds:max": 1.0,
        "site:netvane_devices:expected_away": 0.0,
        'ALERTS{alertname="Watchdog",alertstate="firing",severity="none"}': 1.0,
        'netvane_build_info{job="latency"}': 1.0,
    }
    found |= {f'culprit:netvane_outage_active:max1m{{culprit="{culprit}"}}': 0.0 for culprit in _CULPRITS}
    for segment in _SEGMENTS:
        found[f"segment:netvane_probe_loss:ratio_rate5m{{{segment}}}"] = 0.002
        found[f"segment:netvane_probe_rtt_seconds:p50_rate5m{{{segment}}}"] = 0.012
        found[f"segment:netvane_probe_rtt_seconds:p95_rate5m{{{segment}}}"] = 0.03
    found |= {f'site:netvane_devices:sum{{group="{group}"}}': float(DEVICES) for group in _GROUPS}
    for direction in ("rx", "tx"):
        for scope in ("lan", "wan"):
            found[f'site:netvane_flows_device_bytes:rate5m{{direction="{direction}",scope="{scope}"}}'] = 2e6
        for device in range(DEVICES):
            found[f'mac:netvane_flows_device_bytes:rate5m{{mac="{mac(device)}",direction="{direction}"}}'] = 4e4
    for device in range(DEVICES):
        labels = f'mac="{mac(device)}",device="{mac(device)}",name="gadget {device}"'
        found[f"mac:netvane_device_info:named{{{labels}}}"] = 1.0
    return found


def made() -> Path:
    """The directory of a TSDB with them; some minutes the first time."""
    directory = CACHE / f"history-{FORM}-{DAYS}d-{DEVICES}"
    if not directory.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as building:
            for day in range(DAYS):
                _make_day(Path(building), END - (DAYS - day) * DAY_SECONDS, day)
            shutil.move(Path(building) / "tsdb", directory)
    return directory


def _make_day(building: Path, start: int, seed: int) -> None:
    file = building / "day.om"
    with file.open("w") as lines:
        lines.writelines(_day(start, seed))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=24h"]
    subprocess.run([*command, file, building / "tsdb"], check=True, capture_output=True)


def _day(start: int, seed: int) -> Iterator[str]:
    chance = random.Random(seed)  # noqa: S311 - the same days each time
    times = range(start, start + DAY_SECONDS, STEP_SECONDS)
    for series, usual in names().items():
        name, _, labels = series.partition("{")
        written = f'{name}{{site="home"{"," + labels if labels else "}"}'
        if usual in (0.0, 1.0):
            yield from (f"{written} {usual:g} {at}\n" for at in times)
        else:
            # By day more than at night, with a share of noise in every digit, as measured values have.
            for at in times:
                tide = 1 + 0.5 * math.sin(at / DAY_SECONDS * math.tau)
                yield f"{written} {usual * tide * (1 + 0.2 * chance.random())!r} {at}\n"
    yield "# EOF\n"
