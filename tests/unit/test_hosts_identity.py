"""Who is taken for whom in the household: a phone keeps its history, a stranger gets nobody's trust."""

from netvane.common.event_schema import Anomaly, Event
from netvane.common.event_schema import Device as DeviceEvent
from netvane.hosts import devices_text
from netvane.hosts.evidence import Evidence
from netvane.hosts.household import Household
from netvane.hosts.metrics import devices as device_metrics
from netvane.hosts.newcomers import HOLD_SECONDS
from netvane.hosts.owner import Change, Entry, List, Owner
from netvane.hosts.registry import Registry
from netvane.hosts.snapshot import devices_view
from netvane.hosts.vendors import load_now
from tests.clock import FakeClock

PHONE, ROTATED, LAPTOP = "02:11:11:11:11:11", "06:22:22:22:22:22", "f0:18:98:00:00:01"
NETWORK = "198.51.100.0/24"
NAME, DUID = "annas-fairphone", "ff00000001000100011a2b3c4d"


class Home:
    """A household after its first sweep, with the events that it told."""

    def __init__(self) -> None:
        load_now()
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.household = Household(Registry(), self.clock, lambda event, _mac, _name: self.events.append(event))
        self.owner = Owner(self.household.registry, self.household.labels, self.clock)
        self.household.end_round({NETWORK}, frozenset())

    def hear(self, mac: str, name: str | None = None, client_id: str | None = None) -> None:
        """It speaks DHCP, and is let in after the usual wait."""
        at = self.clock.wall_ns()
        self.household.take(Evidence(mac, at, "dhcp", NETWORK, host_name=name, client_id=client_id))
        self.clock.advance(HOLD_SECONDS)
        self.household.tick()

    def trust(self, device: str) -> list[str]:
        return [event.change for event in self.owner.fulfil(Change((Entry(device, trusted=True),)))]

    def trusted(self) -> dict[str, str]:
        """By MAC, as Prometheus sees it."""
        info = next(iter(device_metrics(self.household, 100, self.clock.wall_ns())))
        return {sample.labels["mac"]: sample.labels["trusted"] for sample in info.samples}

    def anomalies(self) -> list[str]:
        return [event.anomaly for event in self.events if isinstance(event, Anomaly)]

    def changes(self) -> list[tuple[str, str | None]]:
        return [(e.change, e.previous) for e in self.events if isinstance(e, DeviceEvent) and e.change != "first_sweep"]


def test_a_rotated_mac_keeps_the_history_and_waits_for_its_owners_trust() -> None:
    for name, client_id in ((NAME, None), (None, DUID)):
        home = Home()
        home.hear(PHONE, name, client_id)
        home.trust(PHONE)
        home.clock.advance(7 * 86400)
        home.hear(ROTATED, name, client_id)
        registry = home.household.registry
        assert set(registry.devices) == {PHONE}
        assert home.changes() == [("merged", ROTATED)]
        assert home.anomalies() == []
        assert home.trusted() == {PHONE: "true", ROTATED: "false"}
        (published,) = devices_view(home.household, home.clock.wall_ns()).devices
        assert not published.trusted
        (report,) = home.owner.reports(List())
        assert f"yes, but not {ROTATED}; if that is it too: netvane devices trust {PHONE}" in devices_text.details(
            report
        )
        assert "trusted unconfirmed" in devices_text.table([report])

        assert home.trust(ROTATED) == ["merged"]
        assert home.trusted() == {PHONE: "true", ROTATED: "true"}
        assert home.trust(PHONE) == []


def test_an_export_says_nothing_of_assumed_macs_and_an_import_confirms_only_what_it_lists() -> None:
    home = Home()
    home.hear(PHONE, NAME)
    home.trust(PHONE)
    home.clock.advance(86400)
    home.hear(ROTATED, NAME)
    assert ROTATED not in devices_text.export(list(home.owner.reports(List())), "yaml")
    home.owner.fulfil(Change((Entry(PHONE, trusted=True, macs=(PHONE,)),), create=True))
    assert home.trusted()[ROTATED] == "false"
    home.owner.fulfil(Change((Entry(PHONE, trusted=True, macs=(PHONE, ROTATED)),), create=True))
    assert home.trusted()[ROTATED] == "true"


def test_who_uses_the_name_of_a_device_that_is_here_is_a_stranger_with_an_anomaly() -> None:
    home = Home()
    home.hear(PHONE, NAME)
    home.trust(PHONE)
    home.hear(ROTATED, NAME)
    home.hear(PHONE, NAME)
    home.hear(ROTATED, NAME)
    registry = home.household.registry
    assert set(registry.devices) == {PHONE, ROTATED}
    assert home.trusted() == {PHONE: "true", ROTATED: "false"}
    assert home.anomalies() == ["name_claimed"]
    assert [device.id for device in home.household.unannounced()] == [PHONE, ROTATED]  # both are announced as new


def test_a_mac_of_a_maker_with_the_name_of_a_sleeping_trusted_device_is_an_anomaly() -> None:
    for is_known in (False, True):
        home = Home()
        home.hear(PHONE, NAME)
        if is_known:
            home.trust(PHONE)
        home.clock.advance(86400)
        home.hear(LAPTOP, NAME)
        assert home.anomalies() == (["name_claimed"] if is_known else [])
        assert home.trusted()[LAPTOP] == "false"


def test_a_confirmed_mac_stays_with_its_device() -> None:
    home = Home()
    home.hear(PHONE, NAME)
    home.clock.advance(86400)
    home.hear(ROTATED, NAME)
    home.trust(PHONE)  # both, for there is nothing that it could mean but all of it
    home.clock.advance(10)
    for _ in range(3):
        home.hear(PHONE, NAME)
        home.hear(ROTATED, NAME)
    assert home.household.registry.are_one(PHONE, ROTATED)
