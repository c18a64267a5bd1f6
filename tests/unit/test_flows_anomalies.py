import random
import sys
from collections.abc import Callable, Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.common.clock import NANOSECONDS
from netvane.common.event_schema import Encoder
from netvane.flows.anomalies.detector import MAX_TOLD_AN_HOUR, Detector
from netvane.flows.anomalies.episodes import MAX_EPISODES
from netvane.flows.anomalies.learned import MAX_DEVICES, MAX_VALUES, Memory, dump, load
from netvane.flows.anomalies.limits import DAY, HOUR, Limits
from netvane.flows.anomalies.records import Contact, DeviceTick, Finding, Home, Kind, Question, Tick
from tests import simulated_traffic as home
from tests import tshark
from tests.simulated_traffic import (
    ADDRESSES,
    CAMERA,
    GATEWAY,
    HOME,
    HUB,
    LAMP,
    LAPTOP,
    PHONE,
    SENSOR,
    TV,
    Life,
    far,
    near,
)

START = 1_767_225_600 * NANOSECONDS  # a Thursday
FORTNIGHT = 14 * DAY
STEP = 10  # seconds
Attack = Callable[[int], Tick]  # what is added to the tick with this number


@pytest.fixture(scope="module")
def learned() -> bytes:
    """What a detector has learned in an ordinary fortnight, in which it found nothing."""
    detector, life = Detector(Memory(), Limits()), Life(seed=1)
    for minute in range(1, FORTNIGHT // (60 * NANOSECONDS) + 1):
        now = START + minute * 60 * NANOSECONDS
        assert detector.feed(life.tick(now, 60.0), HOME) == []
    return detector.saved()


def tick(now: int = 0, **parts: tuple[object, ...]) -> Tick:
    return Tick(now=now, seconds=float(STEP), **parts)  # type: ignore[arg-type]


def live(
    learned: bytes,
    attack: Attack,
    *,
    ticks: int,
    quiet: int = 0,
    network: Home = HOME,
    hour: int = 0,
    limits: Limits | None = None,
) -> list[tuple[int, Finding]]:
    """Ordinary life with the attack for `ticks`, then without for `quiet`: findings, each with its tick's number."""
    detector, life = Detector(load(learned), limits or Limits()), Life(seed=2)
    found = []
    for number in range(ticks + quiet):
        now = START + FORTNIGHT + hour * HOUR + (number + 1) * STEP * NANOSECONDS
        ordinary = life.tick(now, float(STEP))
        extra = attack(number) if number < ticks else tick()
        both = Tick(
            now=now,
            seconds=float(STEP),
            devices=ordinary.devices + extra.devices,
            contacts=ordinary.contacts + extra.contacts,
            questions=ordinary.questions + extra.questions,
        )
        found += [(number, finding) for finding in detector.feed(both, network)]
    return found


def only(found: Iterable[tuple[int, Finding]], kind: Kind, mac: str, *, within: int) -> Finding:
    """There is one finding, of this kind and device, and it came in time (number of a tick)."""
    ((number, finding),) = found
    assert (finding.kind, finding.mac) == (kind, mac)
    assert number <= within
    assert finding.detail
    assert all(isinstance(value, int | float | None) for value in finding.evidence.values())
    assert finding.event(pcap="x.pcap").anomaly == kind
    return finding


def test_an_ordinary_fortnight_is_silent(learned: bytes) -> None:
    assert live(learned, lambda _: tick(), ticks=3 * 360) == []


def test_a_syn_flood(learned: bytes) -> None:
    def attack(_: int) -> Tick:
        return tick(
            devices=(DeviceTick(mac=LAMP, tx={"tcp": 50_000, "tcp_syn": 50_000}, addresses=(ADDRESSES[LAMP],)),)
        )

    finding = only(live(learned, attack, ticks=60, quiet=20), "syn_flood", LAMP, within=0)
    assert finding.evidence["packets_per_second"] == 5000
    assert finding.packets


def test_a_syn_flood_from_outside_is_told_of_whom_it_reaches(learned: bytes) -> None:
    def attack(_: int) -> Tick:
        flood = {"tcp": 50_000, "tcp_syn": 50_000}
        return tick(devices=(DeviceTick(mac=home.ROUTER, tx=flood), DeviceTick(mac=CAMERA, rx=flood)))

    only(live(learned, attack, ticks=60), "syn_flood", CAMERA, within=0)


def test_a_flood_from_one_device_to_another_is_told_of_the_one_that_sends(learned: bytes) -> None:
    def attack(_: int) -> Tick:
        return tick(devices=(DeviceTick(mac=TV, tx={"icmp": 5_000}), DeviceTick(mac=LAMP, rx={"icmp": 5_000})))

    only(live(learned, attack, ticks=60), "icmp_flood", TV, within=0)


def test_who_answers_a_flood_does_not_make_it(learned: bytes) -> None:
    def attack(number: int) -> Tick:
        answered = {"icmp": 5_000}
        asked = Contact(
            mac=TV, protocol="icmp", address=ADDRESSES[TV], peer_address=ADDRESSES[LAMP], peer_mac=LAMP, lan=True
        )
        return tick(
            devices=(DeviceTick(mac=LAMP, tx=answered, rx=answered), DeviceTick(mac=TV, tx=answered, rx=answered)),
            contacts=(asked,) if number == 0 else (),
        )

    findings = [finding for _, finding in live(learned, attack, ticks=60) if finding.kind == "icmp_flood"]
    assert [(finding.mac, finding.subject) for finding in findings] == [(TV, "sends")]


def test_a_flood_that_pauses_is_one_episode_and_one_that_returns_is_another(learned: bytes) -> None:
    def attack(number: int) -> Tick:
        on = (number < 60 and number % 3 == 0) or number >= 120
        return tick(devices=(DeviceTick(mac=LAMP, tx={"icmpv6": 9_000}),) if on else ())

    found = live(learned, attack, ticks=130)
    assert [(number, finding.kind) for number, finding in found] == [(0, "icmp_flood"), (120, "icmp_flood")]


@pytest.mark.parametrize("name", ["arp", "dhcp", "igmp", "mdns", "ntp", "dns", "broadcast", "other"])
def test_a_surge_of_a_packet_class(learned: bytes, name: str) -> None:
    def attack(_: int) -> Tick:
        parents = {"mdns": "multicast", "arp": "broadcast"}
        frames = {name: 5_000, parents.get(name, name): 5_000}
        return tick(devices=(DeviceTick(mac=SENSOR, tx=frames),))

    finding = only(live(learned, attack, ticks=60, quiet=10), "packet_surge", SENSOR, within=18)
    assert finding.subject == name
    assert finding.evidence["limit_packets_per_second"] is not None


def test_a_surge_is_judged_by_the_hour_of_the_week() -> None:
    memory = Memory()
    detector = Detector(memory, Limits())

    def run(begin: int, minutes: int, night: int, noon: int) -> list[Finding]:
        found = []
        for minute in range(minutes):
            now = begin + minute * 60 * NANOSECONDS
            rate = noon if now // HOUR % 24 == 12 else night
            device = DeviceTick(mac=LAMP, tx={"dns": 60 * rate})
            found += detector.feed(Tick(now=now, seconds=60.0, devices=(device,)), HOME)
        return found

    assert run(START, 8 * 1440, night=10, noon=500) == []
    assert run(START + 8 * DAY, 1440, night=10, noon=1_400) == []
    ((finding),) = run(START + 9 * DAY, 180, night=400, noon=500)  # less than at noon, but it is night
    assert finding.evidence["limit_packets_per_second"] == 30


def test_a_fixed_threshold_needs_no_learning() -> None:
    detector = Detector(Memory(), Limits(surge_packets_per_second={"mdns": 5.0}))
    found = []
    for minute in range(10):
        device = DeviceTick(mac=TV, tx={"mdns": 600, "udp": 600})
        found += detector.feed(Tick(now=START + minute * 60 * NANOSECONDS, seconds=60.0, devices=(device,)), HOME)
    (finding,) = found
    assert finding.evidence["limit_packets_per_second"] == 5


def test_a_port_scan(learned: bytes) -> None:
    def attack(number: int) -> Tick:
        return tick(contacts=tuple(near(CAMERA, LAPTOP, number * 40 + port) for port in range(40)))

    finding = only(live(learned, attack, ticks=50, quiet=10), "port_scan", CAMERA, within=0)
    assert finding.peer_address == ADDRESSES[LAPTOP]


def test_a_slow_port_scan(learned: bytes) -> None:
    def attack(number: int) -> Tick:
        return tick(contacts=tuple(near(HUB, TV, 3 * number + port) for port in range(3)))

    contact, *scan = live(learned, attack, ticks=60)
    only([contact], "lan_contact", HUB, within=0)  # that it talks to the TV at all is new
    only(scan, "port_scan", HUB, within=12)


def test_a_host_scan(learned: bytes) -> None:
    def attack(number: int) -> Tick:
        hosts = [f"198.51.100.{host}" for host in range(number * 10 + 20, number * 10 + 30) if host < 250]
        contacts = [
            Contact(mac=TV, protocol="icmp", address=ADDRESSES[TV], peer_address=host, lan=True) for host in hosts
        ]
        return tick(contacts=tuple(contacts), devices=(DeviceTick(mac=TV, tx={"arp": 400, "broadcast": 400}),))

    *contacts, scan = live(learned, attack, ticks=22, quiet=20)
    only([scan], "host_scan", TV, within=3)
    assert [finding.kind for _, finding in contacts] == ["lan_contact"] * 2


def test_a_scan_of_far_hosts(learned: bytes) -> None:
    def attack(number: int) -> Tick:
        return tick(
            contacts=tuple(
                Contact(
                    mac=CAMERA, protocol="tcp", address=ADDRESSES[CAMERA], peer_address=f"203.0.113.{n}", peer_port=23
                )
                for n in range(number * 12 + 1, min(number * 12 + 13, 255))
            )
        )

    found = live(learned, attack, ticks=21)
    # The first try already is a port that the camera never used.
    assert [finding.kind for _, finding in found] == ["new_port", "host_scan"]


def test_a_path_trace_is_no_scan(learned: bytes) -> None:
    def attack(_: int) -> Tick:
        return tick(contacts=tuple(far(LAPTOP, "www.06site1.example", port, "udp") for port in range(33434, 33524)))

    kinds = {finding.kind for _, finding in live(learned, attack, ticks=3)}
    assert "port_scan" not in kinds


def test_a_source_address_of_another_network(learned: bytes) -> None:
    stranger = "203.0.113.77"
    found = live(learned, lambda _: tick(devices=(DeviceTick(mac=LAMP, addresses=(stranger,)),)), ticks=400)
    finding = only(found, "off_network_address", LAMP, within=0)
    assert finding.address == stranger
    assert finding.packets


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "169.254.9.9", "255.255.255.255", "224.0.0.1", "::", "fe80::9", "fd12::9", "2001:db8::9", "?"],
)
def test_source_addresses_that_prove_nothing(learned: bytes, address: str) -> None:
    """Of IPv6 only a made-up prefix is known here."""
    assert live(learned, lambda _: tick(devices=(DeviceTick(mac=LAMP, addresses=(address,)),)), ticks=40) == []


def test_an_ipv6_source_address_of_another_network(learned: bytes) -> None:
    network = msgspec.structs.replace(HOME, prefixes=("198.51.100.0/24", "2001:db8:1::/64"))
    found = live(
        learned, lambda _: tick(devices=(DeviceTick(mac=LAMP, addresses=("2001:db8:2::9",)),)), ticks=9, network=network
    )
    only(found, "off_network_address", LAMP, within=0)


def test_an_address_without_a_lease(learned: bytes) -> None:
    device = DeviceTick(mac="02:00:00:00:00:99", addresses=("198.51.100.99",))
    found = live(learned, lambda _: tick(devices=(device,)), ticks=400)
    finding = only(found, "unleased_address", device.mac, within=18)
    assert finding.evidence["leases_of_others"] == 0


def test_an_address_that_is_leased_to_another(learned: bytes) -> None:
    taken = ADDRESSES[TV]
    found = live(learned, lambda _: tick(devices=(DeviceTick(mac=LAMP, addresses=(taken,)),)), ticks=60)
    assert only(found, "unleased_address", LAMP, within=18).evidence["leases_of_others"] == 1


def test_a_lease_that_is_told_late_or_cannot_be_read_is_no_finding(learned: bytes) -> None:
    device = DeviceTick(mac="02:00:00:00:00:99", addresses=("198.51.100.99",))
    assert live(learned, lambda _: tick(devices=(device,)), ticks=12) == []
    unknown = msgspec.structs.replace(HOME, leases=None)
    assert live(learned, lambda _: tick(devices=(device,)), ticks=60, network=unknown) == []


def test_a_dns_tunnel(learned: bytes) -> None:
    noise = random.Random(3)  # noqa: S311 - names for a test

    def attack(_: int) -> Tick:
        names = ["".join(noise.choices("abcdefghijklmnopqrstuvwxyz234567", k=48)) + ".t.example.com" for _ in range(20)]
        return tick(questions=tuple(Question(mac=TV, qname=name, rcode="NOERROR") for name in names))

    finding = only(live(learned, attack, ticks=90, quiet=10), "dns_tunnel", TV, within=3)
    assert finding.peer_name == "example.com"
    assert (finding.evidence["mean_characters"] or 0) > 40


def test_a_program_that_looks_for_its_master(learned: bytes) -> None:
    noise = random.Random(3)  # noqa: S311 - names for a test

    def attack(_: int) -> Tick:
        names = ["".join(noise.choices("abcdefghijklmnop", k=10)) + ".com" for _ in range(10)]
        return tick(questions=tuple(Question(mac=LAPTOP, qname=name, rcode="NXDOMAIN") for name in names))

    finding = only(live(learned, attack, ticks=30), "dns_tunnel", LAPTOP, within=8)
    assert (finding.evidence["nxdomain_ratio"] or 0) > 0.9


@tshark.needs_tshark
def test_a_tunnel_in_a_real_capture(learned: bytes) -> None:
    """dnscat2, whose server is asked directly, so that its names end in no suffix that exists."""
    capture = tshark.CAPTURES / "dns_exfiltration.pcap"
    rows = tshark.fields(capture, "dns.flags.response == 0", "frame.time_relative", "dns.qry.name")
    names = [
        (int(float(seconds)) // STEP, Question(mac=TV, qname=name.lower(), rcode="NOERROR")) for seconds, name in rows
    ]

    def attack(number: int) -> Tick:
        return tick(questions=tuple(question for at, question in names if at == number))

    only(live(learned, attack, ticks=30), "dns_tunnel", TV, within=5)


def test_names_of_a_language_and_reverse_names_are_no_tunnel(learned: bytes) -> None:
    def attack(number: int) -> Tick:
        names = [f"img{20 * number + k}.cdn.example" for k in range(20)]
        names += [f"{k}.{number}.100.51.198.in-addr.arpa" for k in range(20)]
        return tick(questions=tuple(Question(mac=TV, qname=name, rcode="NOERROR") for name in names))

    assert live(learned, attack, ticks=60) == []


@pytest.mark.parametrize(
    ("contact", "subject"),
    [
        (far(TV, "", 53, "udp", peer_name=None, peer_address="203.0.113.53"), "dns 203.0.113.53"),
        (far(TV, "resolver.example", 853), "dot resolver.example"),
        (far(TV, "resolver.example", 853, "udp"), "doq resolver.example"),
        (far(TV, "abc123.dns.nextdns.io"), "doh abc123.dns.nextdns.io"),
        (far(TV, "", 443, peer_name=None, peer_address="8.8.8.8"), "doh 8.8.8.8"),
    ],
)
def test_dns_that_goes_around_the_network(learned: bytes, contact: Contact, subject: str) -> None:
    found = live(learned, lambda number: tick(contacts=(contact,) if number % 30 == 0 else ()), ticks=720)
    bypasses = [(number, finding) for number, finding in found if finding.kind == "dns_bypass"]
    assert only(bypasses, "dns_bypass", TV, within=0).subject == subject


@pytest.mark.parametrize(
    ("contact", "network"),
    [
        (far(TV, "x", 53, "udp"), msgspec.structs.replace(HOME, resolvers=frozenset())),
        (far(TV, "x", 53, "udp", peer_address=GATEWAY), HOME),
        (near(TV, HUB, 53), HOME),
        (far(HUB, "x", 53, "udp"), msgspec.structs.replace(HOME, resolvers=frozenset({ADDRESSES[HUB]}))),
        (far(TV, "www.04site1.example"), HOME),
    ],
)
def test_dns_that_goes_where_it_should(contact: Contact, network: Home) -> None:
    detector = Detector(Memory(), Limits())
    assert detector.feed(tick(START, contacts=(contact,)), network) == []


def test_a_gadget_that_talks_to_a_new_destination(learned: bytes) -> None:
    contact = far(LAMP, "cdn.evil.example", country="DE")
    found = live(learned, lambda number: tick(contacts=(contact,) if number % 7 == 0 else ()), ticks=60)
    finding = only(found, "new_destination", LAMP, within=0)
    assert finding.subject == "evil.example"
    assert finding.peer_name == "cdn.evil.example"


def test_a_gadget_that_talks_to_a_new_country_or_port(learned: bytes) -> None:
    country = far(LAMP, "bridge.lamps.example", country="KP")
    assert (
        only(live(learned, lambda _: tick(contacts=(country,)), ticks=6), "new_country", LAMP, within=0).subject == "KP"
    )
    port = far(LAMP, "bridge.lamps.example", 6667, country="DE")
    only(live(learned, lambda _: tick(contacts=(port,)), ticks=6), "new_port", LAMP, within=0)
    all_three = far(LAMP, "evil.example", 6667, country="KP")
    finding = only(live(learned, lambda _: tick(contacts=(all_three,)), ticks=6), "new_destination", LAMP, within=0)
    assert finding.evidence["new_country"] == finding.evidence["new_port"] == 1


def test_a_gadget_that_is_given_a_new_life_is_learned_again(learned: bytes) -> None:
    found = live(
        learned, lambda number: tick(contacts=(far(LAMP, f"www.new{number}.example", country="DE"),)), ticks=300
    )
    assert 1 <= len(found) <= 3


def test_people_may_go_where_they_like(learned: bytes) -> None:
    def attack(number: int) -> Tick:
        return tick(contacts=tuple(far(mac, f"www.new{number}.example", country="KP") for mac in (PHONE, LAPTOP)))

    kinds = [finding.kind for _, finding in live(learned, attack, ticks=30)]
    assert set(kinds) <= {"new_country"}
    assert len(kinds) <= 2


def test_an_upload_that_is_larger_than_ever(learned: bytes) -> None:
    def attack(_: int) -> Tick:
        return tick(devices=(DeviceTick(mac=TV, wan_tx_bytes=STEP * 1_000_000),))

    finding = only(live(learned, attack, ticks=360, quiet=30), "upload_surge", TV, within=11)
    assert (finding.evidence["bytes"] or 0) > 100_000_000


def test_a_backup_that_runs_every_night_is_usual(learned: bytes) -> None:
    def attack(_: int) -> Tick:
        return tick(devices=(DeviceTick(mac=LAPTOP, wan_tx_bytes=STEP * 200_000),))

    assert live(learned, attack, ticks=300) == []


def test_a_gadget_that_contacts_another_in_the_house(learned: bytes) -> None:
    found = live(
        learned, lambda number: tick(contacts=(near(CAMERA, LAPTOP, 445),) if number % 9 == 0 else ()), ticks=60
    )
    assert only(found, "lan_contact", CAMERA, within=0).peer_address == ADDRESSES[LAPTOP]


def test_who_greets_a_new_device_is_no_finding(learned: bytes) -> None:
    new = "02:00:00:00:00:99"
    contact = Contact(
        mac=HUB,
        protocol="tcp",
        address=ADDRESSES[HUB],
        peer_address="198.51.100.99",
        peer_mac=new,
        peer_port=80,
        lan=True,
    )
    assert live(learned, lambda _: tick(devices=(DeviceTick(mac=new),), contacts=(contact,)), ticks=9) == []


def test_a_contact_with_the_router_or_a_group_is_no_finding(learned: bytes) -> None:
    def attack(_: int) -> Tick:
        peers = (GATEWAY, "224.0.0.251", "198.51.100.255", "ff02::fb")
        return tick(
            contacts=tuple(
                Contact(mac=LAMP, protocol="udp", address=ADDRESSES[LAMP], peer_address=peer, peer_port=5353, lan=True)
                for peer in peers
            )
        )

    assert live(learned, attack, ticks=9) == []


def test_a_beacon(learned: bytes) -> None:
    """On a laptop, whose destinations are new every day."""
    jitter = random.Random(5)  # noqa: S311 - times for a test
    times, at = set(), 0.0
    while at < 7200:
        times.add(int(at // STEP))
        at += 90 * jitter.uniform(0.85, 1.15)

    def attack(number: int) -> Tick:
        return tick(contacts=(far(LAPTOP, "c2.evil.example"),) if number in times else ())

    finding = only(live(learned, attack, ticks=720), "beacon", LAPTOP, within=17 * 9 + 20)
    assert finding.evidence["interval_seconds"] == pytest.approx(90, rel=0.2)


def test_what_was_learned_survives_a_restart_and_so_does_an_episode(learned: bytes) -> None:
    flood = tick(START + FORTNIGHT + NANOSECONDS, devices=(DeviceTick(mac=LAMP, tx={"tcp_syn": 50_000}),))
    first = Detector(load(learned), Limits())
    assert len(first.feed(flood, HOME)) == 1
    assert first.going() == {(LAMP, "syn_flood"): 1}
    second = Detector(load(first.saved()), Limits())
    again = msgspec.structs.replace(flood, now=flood.now + 20 * NANOSECONDS)
    assert second.feed(again, HOME) == []
    assert second.going() == {(LAMP, "syn_flood"): 1}
    assert load(second.saved()) == load(load_and_save(second.saved()))


def load_and_save(raw: bytes) -> bytes:
    return dump(load(raw))


@pytest.mark.parametrize("raw", [b"", b"{", b'{"version": 99}', b'{"devices": 3}', b"\xff"])
def test_a_damaged_memory_is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's errors and our own are ValueErrors
        load(raw)


def test_nothing_is_found_of_devices_before_their_learning_time() -> None:
    detector = Detector(Memory(), Limits())
    for number in range(20):
        contacts = (far(LAMP, f"{number}.new{number}.example", 1000 + number, country="KP"), near(LAMP, TV, 445))
        devices = (DeviceTick(mac=LAMP, wan_tx_bytes=10**9, addresses=(ADDRESSES[LAMP],)),)
        assert detector.feed(tick(START + number * STEP * NANOSECONDS, contacts=contacts, devices=devices), HOME) == []


def test_a_flood_from_made_up_devices_is_told_a_few_times(learned: bytes) -> None:
    detector = Detector(load(learned), Limits())
    found = []
    for number in range(10):
        devices = tuple(
            DeviceTick(mac=f"06:00:00:00:{number:02x}:{mac:02x}", tx={"tcp_syn": 5_000}) for mac in range(100)
        )
        found += detector.feed(tick(START + FORTNIGHT + number * NANOSECONDS, devices=devices), HOME)
    assert len(found) == MAX_TOLD_AN_HOUR
    assert detector.found == {"syn_flood": 1000}
    assert detector.untold == {"syn_flood": 1000 - MAX_TOLD_AN_HOUR}


def test_memory_is_bounded_whatever_comes(learned: bytes) -> None:
    """A flood of keys that nobody has seen, from devices that nobody has seen."""
    detector = Detector(load(learned), Limits(learning_days=0.001, learning_active_hours=1))
    keys = random.Random(6)  # noqa: S311 - keys for a test
    for number in range(60):
        macs = [f"02:{keys.randrange(2**40):010x}" for _ in range(200)]
        contacts = [
            Contact(
                mac=keys.choice(macs),
                protocol="tcp",
                address="198.51.100.9",
                peer_address=f"203.0.113.{keys.randrange(255)}",
                peer_port=keys.randrange(65536),
                peer_name=f"{keys.random()}.x{keys.random()}.example",
                peer_country=keys.choice(["DE", "US"]),
                lan=keys.random() < 0.3,
            )
            for _ in range(600)
        ]
        flood = Tick(
            now=START + FORTNIGHT + number * STEP * NANOSECONDS,
            seconds=float(STEP),
            devices=tuple(
                DeviceTick(mac=mac, tx={"tcp_syn": 5_000}, addresses=(f"203.0.113.{keys.randrange(255)}",))
                for mac in macs
            ),
            contacts=tuple(contacts),
            questions=tuple(
                Question(mac=keys.choice(macs), qname=f"{keys.random()}.{keys.random()}.x", rcode="NXDOMAIN")
                for _ in range(600)
            ),
        )
        detector.feed(flood, HOME)
    memory = load(detector.saved())
    assert len(memory.devices) <= MAX_DEVICES
    assert set(ADDRESSES) - {home.ROUTER} <= set(memory.devices)  # who lives here is not forgotten
    assert len(memory.episodes) <= MAX_EPISODES
    assert all(
        len(values.known) <= MAX_VALUES for device in memory.devices.values() for values in device.values.values()
    )
    assert sys.getsizeof(detector.saved()) < 20_000_000


TEXTS = st.sampled_from(
    ["", "x", LAMP, "203.0.113.1", "fd00::1", "ff02::1", "a.b.example.com", "x" * 300, "..", "\\000.com"]
)
NUMBERS = st.none() | st.integers(0, 65535)
CONTACTS = st.builds(
    Contact, mac=TEXTS, protocol=TEXTS, address=TEXTS, peer_address=TEXTS, peer_port=NUMBERS,
    peer_mac=st.none() | TEXTS, peer_name=st.none() | TEXTS, peer_country=st.none() | TEXTS, lan=st.booleans(),
)  # fmt: skip
COUNTS = st.dictionaries(st.sampled_from(["tcp_syn", "icmp", "dns", "unheard of"]), st.integers(0, 10**9))
TICKS = st.builds(
    Tick,
    now=st.integers(0, 2**62),
    seconds=st.floats(0.1, 60),
    devices=st.lists(
        st.builds(
            DeviceTick, mac=TEXTS, tx=COUNTS, rx=COUNTS, wan_tx_bytes=st.integers(0, 10**12), addresses=st.tuples(TEXTS)
        ),
        max_size=4,
    ).map(tuple),
    contacts=st.lists(CONTACTS, max_size=8).map(tuple),
    questions=st.lists(st.builds(Question, mac=TEXTS, qname=TEXTS, rcode=st.none() | TEXTS), max_size=8).map(tuple),
)


@given(st.lists(TICKS, max_size=5))
def test_any_ticks_are_taken_and_what_is_learned_of_them_is_read_again(ticks: list[Tick]) -> None:
    detector = Detector(Memory(), Limits(learning_days=1e-9, learning_active_hours=1))
    for some in ticks:
        for finding in detector.feed(some, HOME):
            Encoder("home", "host").encode(finding.event(), 0, finding.mac, None)
    assert load(detector.saved()) is not None


def test_a_clock_that_is_set_back_makes_no_finding_and_no_error(learned: bytes) -> None:
    detector, life = Detector(load(learned), Limits()), Life(seed=4)
    for now in (START + FORTNIGHT, START + HOUR, START + FORTNIGHT + DAY, START + 3 * HOUR):
        for number in range(90):
            assert detector.feed(life.tick(now + number * STEP * NANOSECONDS, float(STEP)), HOME) == []
