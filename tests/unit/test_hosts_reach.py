"""Delay, jitter and loss of expected devices, from answers to sweeps and to pings."""

import pytest

from netvane.hosts.evidence import Evidence
from netvane.hosts.metrics import reach
from netvane.hosts.reach import MAX_REACHED, Reachability
from netvane.hosts.records import Merge
from netvane.hosts.registry import Registry

PI, WIFI, ONLY6 = "b8:27:eb:00:00:01", "b8:27:eb:00:00:02", "24:0a:c4:00:00:03"
SUBNET, ELSEWHERE = "198.51.100.0/24", "198.18.0.0/24"


def registry() -> Registry:
    """A Pi with two interfaces and a device without IPv4, both expected; a third device that is not."""
    known = Registry()
    for number, (mac, address) in enumerate(((PI, "198.51.100.20"), (WIFI, "198.51.100.21"), (ONLY6, "fd00::3"))):
        known.add(mac, number, announced=0)
        known.apply(Evidence(mac, number, "nd", SUBNET, address), heard_since=0)
    known.merge(Merge(WIFI, WIFI, PI, 1, "owner", ""))
    known.devices[PI].expected = known.devices[ONLY6].expected = True
    known.add("24:0a:c4:00:00:04", 5, announced=0)
    return known


def test_a_sweep_asks_all_who_have_an_address_in_it() -> None:
    measured = Reachability(registry())
    measured.swept([SUBNET], {WIFI: 0.004, "24:0a:c4:00:00:04": 0.001})
    measured.swept([SUBNET], {WIFI: 0.006, PI: 0.002})
    measured.swept([SUBNET], {})
    measured.swept([ELSEWHERE], {})
    (key, found) = next(iter(measured.reached.items()))
    assert (len(measured.reached), key) == (1, (PI, "arp"))
    assert (found.sent, found.answered, found.rtt) == (3, 2, 0.002)
    assert found.jitter == pytest.approx(0.002 / 16)


def test_pings_are_counted_beside_sweeps_and_only_while_expected() -> None:
    known = registry()
    measured = Reachability(known)
    measured.swept([SUBNET], {PI: 0.001})
    for device in measured.expected():
        measured.asked(device.id, "icmp")
    measured.heard(PI, "icmp", 0.010)
    measured.heard(PI, "icmp", 0.020)  # nobody asked for that one
    measured.heard("24:0a:c4:00:00:04", "icmp", 0.030)  # an answer to the ping of all
    samples = {
        (sample.name, sample.labels["device"], sample.labels["probe"]): sample.value
        for family in reach(measured.reached)
        for sample in family.samples
    }
    assert samples["netvane_device_rtt_seconds", PI, "icmp"] == 0.010
    assert samples["netvane_device_rtt_seconds", PI, "arp"] == 0.001
    assert samples["netvane_device_probes_sent_total", ONLY6, "icmp"] == 1
    assert samples["netvane_device_probes_answered_total", ONLY6, "icmp"] == 0
    assert ("netvane_device_rtt_seconds", ONLY6, "icmp") not in samples
    known.devices[PI].expected = False
    assert [device.id for device in measured.expected()] == [ONLY6]
    assert set(measured.reached) == {(ONLY6, "icmp")}


def test_where_a_device_is_asked() -> None:
    known = registry()
    measured = Reachability(known)
    assert measured.address_of(known.devices[PI]) == ("198.51.100.21", SUBNET)  # heard last
    assert measured.address_of(known.devices[ONLY6]) == ("fd00::3", SUBNET)
    assert measured.address_of(known.devices["24:0a:c4:00:00:04"]) is None


def test_the_number_of_measured_devices_is_bounded() -> None:
    known = Registry()
    for number in range(MAX_REACHED + 50):
        known.add(f"24:0a:c4:00:01:{number:02x}", number, announced=0).expected = True
    assert len(Reachability(known).expected()) == MAX_REACHED
