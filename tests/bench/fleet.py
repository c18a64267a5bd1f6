"""What one home of twenty devices sends to a central store: series, samples, bytes on the wire.

Counted by the home's own Prometheus, at its usual pace, from a first minute on in which the rules get something to say.
"""

import time
from typing import Any

from tests.deploy.fleet import store
from tests.lab import addresses as at
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.prometheus import netvane_up
from tests.lab.wait import eventually

GADGETS = 20
WARM_UP_SECONDS = 120
MEASURED_SECONDS = 300
SENT = "prometheus_remote_storage_samples_total", "prometheus_remote_storage_bytes_total"
OWN_METRICS = "http://127.0.0.1:9090/metrics"


def run() -> dict[str, Any]:
    with Home(gadgets=GADGETS) as home:
        centre = store(home.net, at.ANCHORS4[2], home.rack.directory / "store")
        settings = {
            "site": "bench",
            "latency": latency_settings(),
            "flows": {"interfaces": ["eth0"]},
            "up": {"remote_write": {"url": f"{centre.url}/api/v1/write"}},
        }
        with netvane_up(home, settings):
            eventually(lambda: centre.query("up") or None, within=120, what="a first sample in the store")
            time.sleep(WARM_UP_SECONDS)
            began, before = time.monotonic(), _sent(home)
            time.sleep(MEASURED_SECONDS)
            seconds = time.monotonic() - began
            samples, sent = (after - earlier for after, earlier in zip(_sent(home), before, strict=True))
            series = centre.query('count({__name__!=""})')[0][1][1]
    return {
        "devices": GADGETS,
        "series": int(series),
        "samples_a_second": round(samples / seconds, 1),
        "bytes_a_second": round(sent / seconds),
        "bytes_a_sample": round(sent / samples, 1),
        "mb_a_day": round(sent / seconds * 86_400 / 1e6, 1),
    }


def _sent(home: Home) -> tuple[float, ...]:
    """Samples, and bytes of compressed requests, so far."""
    text = home.mon.http(OWN_METRICS).text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(sum(float(line.split()[-1]) for line in lines if line.startswith(name)) for name in SENT)
