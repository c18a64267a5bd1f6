"""Two homes send to one central store, which goes away and comes back."""

import time
from pathlib import Path

import pytest

from tests.deploy.fleet import AGENT_PORT, STORE, STORE_PORT, Fleet, Site
from tests.lab.exporters import PORTS
from tests.lab.rack import Rack
from tests.lab.wait import eventually

pytestmark = pytest.mark.deploy

DIRECT = {"url": f"http://{STORE}:{STORE_PORT}/api/v1/write"}
THROUGH_AGENT = {"url": f"http://127.0.0.1:{AGENT_PORT}/api/v1/write"}
UP = 'up{{job="prometheus", site="{}"}}[10m]'
METRICS = f"http://127.0.0.1:{PORTS['latency']}/metrics"
SENT = "role:netvane_probe_sent:rate5m"


def test_one_query_sees_two_homes(rack: Rack, tmp_path: Path) -> None:
    fleet = Fleet(rack, tmp_path, "north", "south")
    store = fleet.start_store()
    north, south = fleet.sites
    with north.exporter(), south.exporter():
        homes = [site.prometheus(DIRECT) for site in fleet.sites]
        rates = f'{SENT}{{role="office", family="ipv4"}}'
        eventually(lambda: len(store.query(rates)) == 2, within=60, what="the rates of both homes in the store")
        assert {labels["site"] for labels, _ in store.query(rates)} == {"north", "south"}
        assert all(float(value) > 0 for _, (_, value) in store.query(rates))
        up = 'up{job="latency"} == 1'
        eventually(lambda: {labels["site"] for labels, _ in store.query(up)} == {"north", "south"}, what="both up")
        # What is fine-grained stays at home.
        assert north.namespace.http(METRICS).text.count("netvane_probe_sent_total{") > 0
        assert not store.query("netvane_probe_sent_total")
        assert homes[0].query("mac:netvane_device:figure")
        assert not store.query('{mac!=""}')
        for home in homes:  # while there still is somebody to send the rest to
            home.process.stop()


# Six hours against Prometheus's two-hour blocks are 36 seconds against blocks of 12.
OUTAGE_SECONDS = 36
BLOCKS = ("--storage.tsdb.min-block-duration=12s", "--storage.tsdb.max-block-duration=12s")


@pytest.mark.timeout(400)
def test_a_queue_on_disk_outlasts_six_hours_without_the_centre_and_a_reboot(rack: Rack, tmp_path: Path) -> None:
    """What Prometheus alone had not yet sent when it stopped, it never sends; vmagent goes on where it was."""
    fleet = Fleet(rack, tmp_path, "direct", "queued")
    store = fleet.start_store()
    direct, queued = fleet.sites
    agent = queued.agent()
    homes = [direct.prometheus(DIRECT, BLOCKS), queued.prometheus(THROUGH_AGENT, BLOCKS)]

    def received(site: Site) -> set[float]:
        return store.times(UP.format(site.name))

    eventually(lambda: received(direct) and received(queued), within=60, what="samples of both")
    store.process.stop()
    began = time.time()
    eventually(lambda: time.time() > began + OUTAGE_SECONDS / 2, within=OUTAGE_SECONDS, what="half the outage")
    for server in homes:
        server.process.stop()
    agent.stop()
    rebooted = time.time()
    queued.agent()
    homes = [direct.prometheus(DIRECT, BLOCKS), queued.prometheus(THROUGH_AGENT, BLOCKS)]
    eventually(lambda: time.time() > began + OUTAGE_SECONDS, within=OUTAGE_SECONDS, what="the other half")
    ended = time.time()
    meant = [
        {time for time in home.times(UP.format(site.name)) if began < time < ended}
        for site, home in zip(fleet.sites, homes, strict=True)
    ]
    store = fleet.start_store()
    eventually(lambda: meant[1] <= received(queued), within=120, what="all of the outage from the queue")
    eventually(lambda: max(received(direct)) > ended, within=120, what="the end of the outage without a queue")
    lost = meant[0] - received(direct)
    assert lost
    assert max(lost) < rebooted
