"""What comes in from outside: netlink, mDNS, nmap's XML, host names, subnets, import files. Nothing of it crashes."""

import contextlib
import csv
import io
import ipaddress
import struct
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.common.raw_messages import ArpAnswer, NmapRequest, Sighting
from netvane.hosts import devices_text, kinds, mdns_message, netlink, vendors
from netvane.hosts.devices_text import ImportFileError
from netvane.hosts.evidence import is_device_mac, of_sighting, parse_mac, usable_address
from netvane.hosts.household import Household
from netvane.hosts.kernel import Interface
from netvane.hosts.owner import Change, Entry, Forget, List, MergeInto, Owner, OwnerError, Split, Wish
from netvane.hosts.registry import MAX_MACS, Registry
from netvane.hosts.scan import differences
from netvane.hosts.subnets import plan
from netvane.raw import nmap
from netvane.raw.sightings import Capture
from netvane.raw.sweep import Answers, Place, SubnetError, parse_subnet, request_frame
from netvane.raw.timestamps import Stamp
from tests.clock import FakeClock

PI, PHONE, OTHER = "b8:27:eb:00:00:01", "02:11:11:11:11:11", "00:0c:29:00:00:66"


# netlink

NEIGHBOUR = (
    struct.pack("=IHHII", 56, netlink.NEW_NEIGHBOUR, 0, 0, 0)
    + struct.pack("=BxxxiHBB", 2, 7, netlink.REACHABLE, 0, 1)
    + struct.pack("=HH4s", 8, 1, bytes([198, 51, 100, 20]))
    + struct.pack("=HH6s2x", 10, 2, bytes.fromhex(PI.replace(":", "")))
)
NEIGHBOUR = struct.pack("=I", len(NEIGHBOUR)) + NEIGHBOUR[4:]


def test_a_neighbour() -> None:
    assert list(netlink.parse(NEIGHBOUR)) == [netlink.Neighbour(7, "198.51.100.20", PI, netlink.REACHABLE)]


@given(st.binary(max_size=200), st.integers(0, len(NEIGHBOUR)))
def test_netlink_never_surprises(rubbish: bytes, cut: int) -> None:
    for buffer in (rubbish, NEIGHBOUR[:cut] + rubbish):
        with contextlib.suppress(netlink.MalformedError, OSError):
            list(netlink.parse(buffer))


# mDNS


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def record(owner: bytes, kind: int, data: bytes, ttl: int = 120) -> bytes:
    return owner + struct.pack("!HHIH", kind, 0x8001, ttl, len(data)) + data


RESPONSE = (
    struct.pack("!6H", 0, 0x8400, 0, 4, 0, 0)
    + record(name("_ipp._tcp.local"), 12, name("Old printer._ipp._tcp.local"))
    + record(b"\x05laser" + struct.pack("!H", 0xC000 | (12 + 10)), 1, bytes(4))
    + record(name("_services._dns-sd._udp.local"), 12, name("_http._tcp.local"))
    + record(name("gone.local"), 1, bytes(4), ttl=0)
)


def test_an_mdns_response() -> None:
    found = mdns_message.parse(RESPONSE)
    assert found is not None
    assert found.services == ("_ipp._tcp", "_http._tcp")
    assert found.host_names == ("laser",)
    assert mdns_message.parse(mdns_message.query("_ipp._tcp.local")) is None


@given(st.binary(max_size=300), st.integers(0, len(RESPONSE)), st.integers(0, len(RESPONSE) - 1), st.integers(0, 255))
def test_mdns_never_surprises(rubbish: bytes, cut: int, at: int, value: int) -> None:
    altered = bytearray(RESPONSE)
    altered[at] = value
    for message in (rubbish, RESPONSE[:cut] + rubbish, bytes(altered)):
        try:
            found = mdns_message.parse(message)
        except mdns_message.MalformedError:
            continue
        for text in (*found.host_names, *found.services) if found is not None else ():
            assert text.isprintable()
            assert not set(text) & set("\"'<>\\")


# nmap

REPORT = """<?xml version="1.0"?><nmaprun><host><status state="up"/><address addr="198.51.100.20" addrtype="ipv4"/>
<address addr="B8:27:EB:00:00:01" addrtype="mac"/><times srtt="64"/><ports><port protocol="tcp" portid="22">
<state state="open"/><service name="ssh" product="OpenSSH" version="9.2&#27;[31m"/></port></ports>
<os><osmatch name="Linux 5.x"/></os></host><runstats><finished exit="success"/></runstats></nmaprun>""".replace(
    "&#27;", ""
)


def test_a_report_of_nmap() -> None:
    (host,) = nmap.parse(REPORT.encode()).hosts
    assert (host.address, host.mac, host.rtt_seconds, host.system) == ("198.51.100.20", PI, 64e-6, "Linux 5.x")
    assert [(s.port, s.name, s.product) for s in host.services] == [(22, "ssh", "OpenSSH 9.2[31m")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not XML"),
        ("nmap: command failed", "not XML"),
        (REPORT[:200], "not XML"),
        ("<nmaprun/>", "half a report"),
        ("<html><runstats><finished/></runstats></html>", "half a report"),
        ('<nmaprun><runstats><finished exit="error" errormsg="no\x09route"/></runstats></nmaprun>', "no route"),
    ],
)
def test_reports_that_are_none(text: str, problem: str) -> None:
    with pytest.raises(nmap.NmapOutputError, match=problem):
        nmap.parse(text.encode())


@given(st.text(alphabet='<>/="abcdefhimnoprstu 0123456789.:-', max_size=200), st.integers(0, len(REPORT)))
def test_nmap_xml_never_surprises(rubbish: str, at: int) -> None:
    for text in (rubbish, REPORT[:at] + rubbish + REPORT[at:]):
        with contextlib.suppress(nmap.NmapOutputError):
            nmap.parse(text.encode())


def test_what_nmap_may_be_pointed_at() -> None:
    assert nmap.arguments(NmapRequest("198.51.100.0/24"))[-2:] == ["--", "198.51.100.0/24"]
    assert "--top-ports" in nmap.arguments(NmapRequest("198.51.100.7", "services", 20))
    for target in ("-iL /etc/passwd", "example.org", "10.0.0.0/8", "127.0.0.1", "224.0.0.1", ""):
        with pytest.raises(nmap.TargetError):
            nmap.arguments(NmapRequest(target))
    with pytest.raises(nmap.TargetError):
        nmap.arguments(NmapRequest("198.51.100.0/24", "os"))


# ARP sweep


def test_sweep_takes_answers_to_its_own_questions_only() -> None:
    place = Place(bytes.fromhex(PHONE.replace(":", "")), ipaddress.IPv4Address("198.51.100.2"))
    answers = Answers(ipaddress.IPv4Network("198.51.100.0/24"), place)
    frame = request_frame(place, int(ipaddress.IPv4Address("198.51.100.20")))
    assert frame[12:14] == b"\x08\x06"
    answers.take(Capture(frame, 1, "eth0"))
    answers.take(Capture(b"rubbish", 1, "eth0"))
    assert answers.result(1).answers == ()


def test_a_sweep_says_when_each_answer_came() -> None:
    place = Place(bytes.fromhex(PHONE.replace(":", "")), ipaddress.IPv4Address("198.51.100.2"))
    answers = Answers(ipaddress.IPv4Network("198.51.100.0/24"), place)
    target = ipaddress.IPv4Address("198.51.100.20")
    answers.sent(int(target), Stamp(5_000_000_000, 1))
    mac = bytes.fromhex("020000000001")
    reply = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, mac, target.packed, place.mac, place.address.packed)
    answers.take(Capture(place.mac + mac + b"\x08\x06" + reply, 5_000_250_000, "eth0"))
    (answer,) = answers.result(6_200_000_000).answers
    assert answer == ArpAnswer("198.51.100.20", "02:00:00:00:00:01", 0.00025, 1.2)


def test_what_may_be_swept() -> None:
    own = ipaddress.IPv4Address("198.51.100.2")
    assert parse_subnet("198.51.100.0/24", own).num_addresses == 256
    for text in ("203.0.113.0/24", "198.51.100.2/24", "198.0.0.0/8", "fd00::/64", "x"):
        with pytest.raises(SubnetError):
            parse_subnet(text, own)


# evidence


def test_addresses_and_macs() -> None:
    assert parse_mac("B8-27-EB-00-00-01") == parse_mac("b827.eb00.0001") == PI
    assert parse_mac("01:00:5e:00:00:fb") is None
    assert parse_mac("name") is None
    assert not is_device_mac("00:00:00:00:00:00")
    assert usable_address("fe80::1%eth0") == "fe80::1"
    for nobody in ("224.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.0", "::", "ff02::1", "x", None):
        assert usable_address(nobody) is None
    sighting = Sighting(ts=5, interface="eth0", mac=PI, kind="dhcp4", message="request", host_name="pi")
    assert (of_sighting(sighting).source, of_sighting(sighting).host_name) == ("dhcp", "pi")


# kinds and vendors


def test_kinds_and_vendors() -> None:
    vendors.load_now()
    assert vendors.vendor(PI) == "Raspberry Pi Foundation"
    assert vendors.vendor(PHONE) == "randomised"
    assert vendors.vendor("70:b3:d5:00:00:01") == vendors.vendor("fc:ff:ff:00:00:01") == "unknown"
    assert kinds.guess("Espressif Inc.", ["_ipp._tcp"], []) == kinds.Guess("printer", ("mDNS _ipp._tcp",))
    assert kinds.guess("Espressif Inc.", [], []).kind == "smart home"
    assert kinds.guess("unknown", [], ["annas-iphone"]).because == ("name annas-iphone",)
    assert kinds.guess("unknown", [], []).kind == "unknown"


# subnets


def interface(name: str, *addresses: str, hardware: int = 1, is_up: bool = True) -> Interface:
    return Interface(name, PI, hardware, is_up, addresses)


def test_what_is_swept_by_itself() -> None:
    found = plan(
        [
            interface("lo", "127.0.0.1/8", hardware=772),
            interface("eth0", "192.168.1.10/24", "fd00::1/64"),
            interface("wlan0", "10.0.0.5/24"),
            interface("docker0", "172.17.0.1/16"),
            interface("veth12ab", "172.18.0.1/24"),
            interface("br-0123456789ab", "172.19.0.1/24"),
            interface("wg0", "10.8.0.1/24", hardware=65534),
            interface("tun0", "10.9.0.1/24", hardware=65534),
            interface("eth1", "8.8.4.4/24"),
            interface("eth2", "10.1.0.1/16"),
            interface("eth3", "192.168.9.1/24", is_up=False),
            interface("eth4", "169.254.3.4/16"),
        ],
        ("192.168.77.0/24", "10.200.0.0/16"),
        only=None,
        largest_prefix=22,
    )
    assert [attached.subnet for attached in found.attached] == ["192.168.1.0/24", "10.0.0.0/24"]
    assert found.routed == ("192.168.77.0/24",)
    assert {refused.subnet for refused in found.refused} == {"8.8.4.0/24", "10.1.0.0/16", "10.200.0.0/16"}
    assert found.network_of("10.0.0.77") == "10.0.0.0/24"
    assert found.network_of("fe80::1", "eth0") == "192.168.1.0/24"
    assert found.network_of("fe80::1") is None


def test_naming_makes_it_so() -> None:
    named = plan(
        [interface("docker0", "172.17.0.1/24"), interface("eth1", "8.8.4.4/24")],
        ("172.17.0.0/24", "8.8.4.0/24"),
        only=None,
        largest_prefix=22,
    )
    assert [attached.interface for attached in named.attached] == ["docker0", "eth1"]
    only = plan(
        [interface("eth0", "10.0.0.1/24"), interface("eth1", "10.0.1.1/24")], (), only="eth1", largest_prefix=22
    )
    assert [attached.interface for attached in only.attached] == ["eth1"]


# the owner


def owner() -> Owner:
    vendors.load_now()
    registry = Registry()
    registry.add(PI, 10, announced=0)
    registry.add(PHONE, 20, announced=0)
    household = Household(registry, FakeClock(), lambda _event, _mac, _name: None)
    return Owner(registry, household.labels, FakeClock())


def test_owner_names_and_finds_by_name() -> None:
    asked = owner()
    assert [event.change for event in asked.fulfil(Change((Entry(PI, name="Pi", trusted=True),)))] == [
        "name",
        "trusted",
    ]
    assert asked.fulfil(Change((Entry("pi", trusted=True),))) == []
    assert [report.name for report in asked.reports(List("PI"))] == ["Pi"]
    assert [event.change for event in asked.fulfil(Change((Entry("pi", name=""),)))] == ["name"]


@pytest.mark.parametrize(
    "wish",
    [
        Change((Entry(PI, name="kept"), Entry("nobody"))),
        Change((Entry(PI, name="kept"), Entry(PI.upper()))),
        Change((Entry(PI, name="kept"), Entry(PHONE, macs=("x",)))),
        Change((Entry(PI, name="kept"), Entry(PHONE, name="\x1b\x00"))),
        Change((Entry(PI, name="kept", macs=(PHONE,)), Entry(PHONE))),
        Change((Entry(PI, name="kept", macs=(OTHER,)), Entry(PHONE, macs=(OTHER,)))),
        Change(tuple(Entry(f"06:00:00:00:{n // 256:02x}:{n % 256:02x}") for n in range(MAX_MACS)), create=True),
        MergeInto(PI, PI),
        Split(PI),
        Forget("01:00:5e:00:00:01"),
    ],
)
def test_what_cannot_be_done_changes_nothing(wish: Change | MergeInto | Split | Forget) -> None:
    asked = owner()
    before = [msgspec.json.encode(report) for report in asked.reports(List())]
    with pytest.raises(OwnerError):
        asked.fulfil(wish)
    assert [msgspec.json.encode(report) for report in asked.reports(List())] == before


@pytest.mark.parametrize("output", ["yaml", "csv"])
def test_export_and_import(tmp_path: Path, output: str) -> None:
    asked = owner()
    asked.fulfil(Change((Entry(PI, name="=SUM(A1)", notes="under the stairs, left", expected=True),)))
    asked.fulfil(MergeInto(PHONE, PI))
    file = tmp_path / f"devices.{output}"
    file.write_text(devices_text.export(list(asked.reports(List())), output))
    if output == "csv":
        assert next(iter(csv.DictReader(io.StringIO(file.read_text()))))["name"] == "'=SUM(A1)"
    empty = Owner(Registry(), owner()._labels, FakeClock())
    empty._labels._registry = empty._registry
    empty.fulfil(Change(devices_text.read(file), create=True))
    (report,) = empty.reports(List())
    assert set(report.macs) == {PI, PHONE}  # never seen by this one, and of one device all the same
    assert (report.name, report.notes, report.expected) == ("=SUM(A1)", "under the stairs, left", True)
    assert devices_text.table([report]).count("\n") == 2
    assert "under the stairs" in devices_text.details(report)


@pytest.mark.parametrize(
    ("file_name", "text", "problem"),
    [
        ("a.yaml", "devices: {", "line 1: is not YAML"),
        ("a.yaml", "- x", "expected `devices:`"),
        ("a.yaml", "devices: [{device: 1}]", r"devices\[0\]: Expected `str`"),
        ("a.yaml", "devices: [{device: a, nmae: b}]", r"devices\[0\]: .*nmae"),
        ("a.yaml", "a: &a [*a]", "expected `devices:`|is not YAML"),
        ("a.csv", "mac,name\nx,y\n", "line 1: expected the columns"),
        ("a.csv", "device,trusted\nx,maybe\n", "line 2: trusted: expected true or false, got 'maybe'"),
        ("a.csv", "device,name\nx\n", "line 2: has fewer cells"),
        ("a.csv", "device,name\nx,y,z\n", "line 2: has more cells"),
        ("a.csv", 'device,name\n"x,y\n', "is not CSV"),
    ],
)
def test_import_files_with_mistakes(tmp_path: Path, file_name: str, text: str, problem: str) -> None:
    file = tmp_path / file_name
    file.write_text(text)
    with pytest.raises(ImportFileError, match=problem):
        devices_text.read(file)


def test_import_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="cannot be read"):
        devices_text.read(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"devices: [{device: \xff}]")
    with pytest.raises(ImportFileError, match="not UTF-8"):
        devices_text.read(tmp_path / "latin")


@given(st.binary(max_size=200))
def test_requests_never_surprise(rubbish: bytes) -> None:
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        msgspec.json.decode(rubbish, type=Wish)


def test_changes_of_services() -> None:
    assert differences(None, {"22/tcp": "ssh"}) == []
    assert differences({"22/tcp": "ssh 1", "80/tcp": "http"}, {"22/tcp": "ssh 2", "443/tcp": "https"}) == [
        ("22/tcp ssh 1", "22/tcp ssh 2"),
        (None, "443/tcp https"),
        ("80/tcp http", None),
    ]
