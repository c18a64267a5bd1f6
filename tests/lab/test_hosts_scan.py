"""The nightly look at what runs on the devices, with the real nmap: changes are events, failures are no changes."""

import asyncio

import pytest

from netvane.common.clock import SystemClock
from netvane.common.event_schema import Device as DeviceEvent
from netvane.common.event_schema import Event
from netvane.hosts.evidence import Evidence
from netvane.hosts.household import Household
from netvane.hosts.registry import Registry
from netvane.hosts.scan import NightlyScan
from netvane.hosts.settings import Scan
from netvane.hosts.vendors import load_now
from tests.lab.crowd import crowd, mac_of
from tests.lab.httpd import Httpd, QuietHandler
from tests.lab.rack import Rack
from tests.lab.raw import running_raw

pytestmark = [pytest.mark.lab, pytest.mark.long]

ADDRESS = "198.51.100.20"
SETTINGS = Scan(enabled=True, top_ports=3)


def test_a_service_that_came_is_an_event(rack: Rack) -> None:
    load_now()
    mon, hosts = crowd(rack, [ADDRESS])
    clock = SystemClock()
    told: list[Event] = []
    household = Household(Registry(), clock, lambda event, _mac, _name: told.append(event))
    household.take(Evidence(mac_of(0), clock.wall_ns(), "sweep", "198.51.100.0/24", ADDRESS))

    def changes() -> list[DeviceEvent]:
        return [event for event in told if isinstance(event, DeviceEvent) and event.change == "service"]

    with running_raw(mon, rack.directory, "--interface=eth0") as raw:
        nightly = NightlyScan(raw.socket, household)
        asyncio.run(nightly.scan(SETTINGS))
        assert changes() == []  # the first look has nothing to compare with
        with Httpd(hosts.listen(ADDRESS, 80), QuietHandler):  # nmap waits long for one that is mute
            asyncio.run(nightly.scan(SETTINGS))
    (came,) = changes()
    assert (came.device, came.previous, (came.current or "")[:11]) == (mac_of(0), None, "80/tcp http")
    asyncio.run(nightly.scan(SETTINGS))  # the helper is gone: nothing is known, so nothing has changed
    assert len(changes()) == 1
