"""The hosts exporter on real packets: who is found, who is announced, who is missing, who lies."""

import contextlib
import functools
import json
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from netvane.common import exchange
from netvane.common.clock import SystemClock
from netvane.common.leases import LeasesView, PublishedLease
from tests.lab import addresses as at
from tests.lab.exporters import RunningExporter, running_exporter
from tests.lab.home import Home
from tests.lab.household import (
    FAST,
    arp_frame,
    ask,
    devices,
    events,
    first_sweep,
    send_frames,
    state,
    sweeps,
    watching,
)
from tests.lab.netns import Namespace
from tests.lab.processes import NETVANE
from tests.lab.raw import running_raw
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

STRANGER = "00:0c:29:00:00:66"
ROUTER_MAC = "c0:25:06:1a:2b:01"
MON_MAC = "b8:27:eb:0a:00:01"


def value(exporter: RunningExporter, name: str, **labels: str) -> float:
    return exporter.value(f"netvane_{name}", **labels)


def after_sweeps(exporter: RunningExporter, count: int) -> None:
    until = sweeps(exporter) + count
    eventually(lambda: sweeps(exporter) >= until, within=5 * count + 10, what=f"{count} more sweeps")


def test_everybody_is_found_and_the_first_sweep_is_one_summary(home: Home) -> None:
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        found = devices(exporter)
        assert set(found) == {ROUTER_MAC, MON_MAC, *(gadget.mac for gadget in home.gadgets)}
        assert {report["state"] for report in found.values()} == {"present"}
        apple = home.gadgets[0]
        assert found[apple.mac]["vendor"] == "Apple, Inc."
        assert apple.address in {entry["address"] for entry in found[apple.mac]["addresses"]}
        assert value(exporter, "devices", group="present", network=at.LAN4) == 4
        after_sweeps(exporter, 2)
        assert [(event["change"], event["current"]) for event in events(exporter, "device")] == [("first_sweep", "4")]
        assert value(exporter, "sweep_success") == 1
        published = exporter.directory / "devices.json"
        eventually(lambda: published.exists() and len(json.loads(published.read_text())["data"]["devices"]) == 4)


@pytest.mark.parametrize("how", ["arp", "dhcp"])
def test_a_stranger_is_announced_within_ten_seconds_and_once(home: Home, how: str) -> None:
    gadget = home.gadgets[0].ns
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        gadget.ip(f"link set eth0 address {STRANGER}", "addr flush dev eth0")
        began = time.monotonic()
        if how == "arp":
            send_frames(gadget, arp_frame(STRANGER, "198.51.100.77", at.ROUTER4))
        else:
            home.lease(gadget, hostname='fridge"\x1b[31m')
        new = {"device": STRANGER, "change": "new"}
        eventually(lambda: events(exporter, "device", **new), within=10, what="the announcement")
        assert time.monotonic() - began < 10
        if how == "dhcp":
            eventually(lambda: "fridge" in devices(exporter)[STRANGER]["name"], what="its name")
            assert devices(exporter)[STRANGER]["name"].isprintable()
        send_frames(gadget, *(arp_frame(STRANGER, "198.51.100.77", at.ROUTER4) for _ in range(20)))
        after_sweeps(exporter, 3)
        assert len(events(exporter, "device", **new)) == 1
        assert value(exporter, "device_announced_timestamp_seconds", device=STRANGER) > 0
    with watching(home.mon, home.rack.directory) as exporter:  # nor after a restart
        after_sweeps(exporter, 2)
        assert len(events(exporter, "device", **new)) == 1


def test_a_phone_with_a_new_mac_and_its_old_name_is_one_device() -> None:
    with Home(gadgets=1) as home:
        phone = home.gadgets[0].ns
        first, second = "02:11:11:11:11:11", "06:22:22:22:22:22"
        phone.ip(f"link set eth0 address {first}", "addr flush dev eth0")
        client = home.lease(phone, hostname="annas-fairphone")
        with watching(home.mon, home.rack.directory) as exporter:
            eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
            client.stop()
            client = home.lease(phone, hostname="annas-fairphone")
            eventually(lambda: devices(exporter)[first]["name"] == "annas-fairphone", what="its name")
            ask(exporter, "change", entries=[{"device": first, "trusted": True}])
            client.stop()
            phone.ip(f"link set eth0 address {second}", "addr flush dev eth0")
            home.lease(phone, hostname="annas-fairphone")
            eventually(lambda: devices(exporter)[first]["macs"] == [first, second], within=15, what="one device")
            after_sweeps(exporter, 2)
            assert second not in devices(exporter)
            assert events(exporter, "device", change="new") == []
            # Anybody can use a name: its owner's trust does not pass on by itself.
            assert value(exporter, "device_info", mac=first, trusted="true") == 1
            assert value(exporter, "device_info", mac=second, trusted="false") == 1
            ask(exporter, "change", entries=[{"device": second, "trusted": True}])
            assert value(exporter, "device_info", mac=second, trusted="true") == 1
            ask(exporter, "split", mac=second)
            assert devices(exporter)[second]["macs"] == [second]


@pytest.mark.parametrize("aim", ["everybody", "netvane only"])
def test_a_spoofer_in_front_of_the_router_is_named(home: Home, aim: str) -> None:
    spoofer = home.gadgets[1]
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        if aim == "everybody":
            frame = arp_frame(spoofer.mac, at.ROUTER4, at.ROUTER4)
        else:
            frame = arp_frame(spoofer.mac, at.ROUTER4, at.MON4, operation=2, to=MON_MAC, target_mac=MON_MAC)
        began = time.monotonic()

        def named() -> bool:
            send_frames(spoofer.ns, frame)
            found = events(exporter, "anomaly", anomaly="router_identity_changed", mac=spoofer.mac)
            return len(found) == 1

        eventually(named, within=15, what="the spoofer's name")
        assert time.monotonic() - began < 15
        assert value(exporter, "anomaly_active", anomaly="router_identity_changed", mac=spoofer.mac) == 1
        # The router itself still speaks, so that it is two on one address.
        after_sweeps(exporter, 1)
        send_frames(spoofer.ns, frame)
        after_sweeps(exporter, 1)
        eventually(lambda: events(exporter, "anomaly", anomaly="duplicate_address", mac=spoofer.mac), what="a conflict")
        assert value(exporter, "anomalies_total", anomaly="router_identity_changed") == 1


@pytest.mark.long
def test_many_addresses_and_anothers_name_are_named(home: Home) -> None:
    first, second = home.gadgets
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        send_frames(second.ns, *(arp_frame(second.mac, f"198.51.100.{n}", at.ROUTER4) for n in range(150, 180)))
        many = {"anomaly": "many_addresses", "mac": second.mac}
        eventually(lambda: events(exporter, "anomaly", **many), within=15, what="one with many addresses")

        home.lease(first.ns, hostname="annas-nas")
        eventually(lambda: devices(exporter)[first.mac]["name"] == "annas-nas", within=15, what="its name")
        home.lease(second.ns, hostname="annas-nas")
        claimed = {"anomaly": "name_claimed", "mac": second.mac}
        eventually(lambda: events(exporter, "anomaly", **claimed), within=15, what="who claims it too")
        assert value(exporter, "anomaly_active", anomaly="name_claimed", mac=second.mac, peer=first.mac) == 1
        assert set(devices(exporter)) >= {first.mac, second.mac}


def test_two_with_one_address_are_a_conflict(home: Home) -> None:
    first, second = home.gadgets
    second.ns.ip(f"addr add {first.address}/24 dev eth0")
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: events(exporter, "anomaly", anomaly="duplicate_address", address=first.address), within=20)
        assert value(exporter, "anomalies_total", anomaly="router_identity_changed") == 0


def test_a_flood_of_random_macs_is_one_anomaly_and_touches_nobody(home: Home) -> None:
    gadget = home.gadgets[0]
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        before = set(devices(exporter))
        memory = exporter.value("process_resident_memory_bytes")
        frames = [
            arp_frame(
                f"06:00:{n >> 24:02x}:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}",
                "198.51.100.250",
                at.ROUTER4,
            )
            for n in range(10_000)
        ]
        for start in range(0, len(frames), 500):  # as fast as a helper can be expected to hear them all
            send_frames(gadget.ns, *frames[start : start + 500])
            time.sleep(0.05)
        eventually(lambda: value(exporter, "devices_turned_away_total") > 5_000, within=30, what="all turned away")
        after_sweeps(exporter, 3)
        assert len(events(exporter, "anomaly", anomaly="mac_flood")) == 1
        assert value(exporter, "anomalies_total", anomaly="mac_flood") == 1
        assert set(devices(exporter)) == before
        assert {report["state"] for report in devices(exporter).values()} == {"present"}
        assert events(exporter, "device", change="new") == []
        assert len(exporter.samples("netvane_anomaly_active")) <= 50
        assert exporter.value("process_resident_memory_bytes") - memory < 20e6


def test_owners_words_survive_kill_9(home: Home) -> None:
    gadget = home.gadgets[0].mac
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        ask(exporter, "change", entries=[{"device": gadget, "name": "Kitchen", "trusted": True}])
        exporter.process.signal(signal.SIGKILL)
        exporter.process.wait(10)
        with running_exporter("hosts", home.mon, exporter.directory, FAST) as again:
            report = devices(again)[gadget]
            assert (report["name"], report["trusted"]) == ("Kitchen", True)
            assert set(devices(again)) >= {ROUTER_MAC, *(gadget.mac for gadget in home.gadgets)}
            after_sweeps(again, 1)
            assert events(again, "device", change="new") == []


@pytest.mark.long
def test_a_locked_registry_is_a_metric_and_no_end(home: Home) -> None:
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        path = exporter.directory / "data" / "hosts" / "registry.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            send_frames(home.gadgets[0].ns, arp_frame(STRANGER, "198.51.100.77", at.ROUTER4))
            eventually(lambda: value(exporter, "registry_writable") == 0, within=20, what="it is said")
            eventually(lambda: "cannot be written" in home.mon.http(exporter.url + "/").text, what="the reason")
            eventually(lambda: events(exporter, "device", change="new", device=STRANGER), within=15, what="announced")
            after_sweeps(exporter, 1)
            other.execute("ROLLBACK")
        eventually(lambda: value(exporter, "registry_writable") == 1, within=30, what="written again")


@pytest.mark.long
def test_a_registry_locked_at_the_start_is_waited_for(home: Home) -> None:
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        exporter.process.stop()
        path = exporter.directory / "data" / "hosts" / "registry.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            other.execute("UPDATE devices SET run = run")
            with running_exporter("hosts", home.mon, exporter.directory, FAST) as again:
                assert value(again, "registry_writable") == 0
                other.execute("ROLLBACK")
                other.close()
                eventually(lambda: value(again, "registry_writable") == 1, within=20, what="opened")
                after_sweeps(again, 1)
                assert events(again, "device", change="new") == []


@pytest.mark.long
def test_without_helper_it_says_so_and_knows_who_was_here(home: Home) -> None:
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        exporter.process.stop()
    with running_exporter("hosts", home.mon, exporter.directory, FAST) as alone:
        eventually(lambda: value(alone, "sweep_failures_total") >= 1, what="a failed sweep")
        eventually(
            lambda: "no sweeps and no passive listener" in home.mon.http(alone.url + "/").text, what="the reason"
        )
        assert value(alone, "sweep_success") == 0
        assert len(devices(alone)) == 4
        # Failed sweeps are nobody's absence.
        until = value(alone, "sweep_failures_total") + 4
        eventually(lambda: value(alone, "sweep_failures_total") >= until, within=60, what="more failed sweeps")
        assert value(alone, "devices", group="away") == 0


# Takes connections, says its second argument to each, and keeps them open.
BAD_HELPER = """
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(64)
kept = []
while True:
    connection, _ = server.accept()
    connection.recv(4096)
    connection.sendall(sys.argv[2].encode())
    kept = [*kept, connection][-64:]
"""


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("", "does not answer within 1 s"),
        ('{"type":"arp_sweep","answers":[[1]]}\n', "answered rubbish"),
        ('{"type":"nmap"}\n', "answered another question"),
    ],
)
def test_a_helper_that_hangs_or_talks_rubbish(home: Home, said: str, problem: str) -> None:
    directory = home.rack.directory
    settings = {"hosts": {**FAST["hosts"], "sweep_limit": "1s"}}
    with (
        home.mon.start([sys.executable, "-c", BAD_HELPER, str(directory / "raw.sock"), said]),
        running_exporter("hosts", home.mon, directory, settings) as exporter,
    ):
        eventually(lambda: value(exporter, "sweep_failures_total") >= 2, within=30, what="failed sweeps")
        assert value(exporter, "sweep_success") == 0
        assert problem in exporter.process.output()
        assert home.mon.http(exporter.url + "/-/healthy").status == 200
        assert set(devices(exporter)) >= {MON_MAC}
        assert exporter.process.stop(grace=5) == 0
        assert "Traceback" not in exporter.process.output()


def test_a_helper_that_lies_about_who_answered(home: Home) -> None:
    """What is no device's MAC or address, or came before it was asked for, is left out."""
    directory = home.rack.directory
    answers = [["198.51.100.9", "01:00:5e:00:00:01", 0.1, 1.0], ["224.0.0.1", STRANGER, 0.1, 1.0]]
    answers += [["x", STRANGER, 0.1, 1.0], ["198.51.100.9", STRANGER, -1.0, 1.0], ["198.51.100.9", "rubbish", 0.1, 1.0]]
    said = json.dumps({"type": "arp_sweep", "answers": answers}) + "\n"
    with (
        home.mon.start([sys.executable, "-c", BAD_HELPER, str(directory / "raw.sock"), said]),
        running_exporter("hosts", home.mon, directory, FAST) as exporter,
    ):
        after_sweeps(exporter, 2)
        assert value(exporter, "sweep_success") == 1
        assert STRANGER not in devices(exporter)
        assert all(report["device"].count(":") == 5 for report in devices(exporter).values())


@pytest.mark.long
def test_every_interface_that_is_swept_is_listened_on(home: Home) -> None:
    """raw is told of one; the exporter finds a second network, also one that comes later."""
    gadget = home.gadgets[0].ns
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        gadget.ip(f"link add second type veth peer name eth1 netns {home.mon.name}", "link set second up")
        home.mon.ip("addr add 198.18.77.1/24 dev eth1", "link set eth1 up")
        there = {"network": "198.18.77.0/24"}
        eventually(lambda: value(exporter, "sweep_success", **there) == 1, within=20, what="a sweep there")

        def heard() -> bool:
            # For an address that no sweep asks for: only a listener can know of it.
            send_frames(gadget, arp_frame(STRANGER, "198.51.100.77", "198.18.77.1"), interface="second")
            return STRANGER in devices(exporter)

        eventually(heard, within=30, what="the stranger")
        assert devices(exporter)[STRANGER]["network"] in {"198.18.77.0/24", at.LAN4}


@pytest.mark.long
def test_reachability_of_an_expected_device_comes_from_sweeps_and_pings(home: Home) -> None:
    gadget = home.gadgets[0].mac
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        assert exporter.samples("netvane_device_probes_sent_total") == []

        def answered_twice(of: dict[str, str]) -> bool:
            return value(exporter, "device_probes_answered_total", **of) >= 2

        ask(exporter, "change", entries=[{"device": gadget, "expected": True}])
        for probe in ("arp", "icmp"):
            of = {"device": gadget, "probe": probe}
            eventually(functools.partial(answered_twice, of), within=30, what=f"answers by {probe}")
            assert 0 < value(exporter, "device_rtt_seconds", **of) < 1
        with home.fault.gadget_unplugged(home.gadgets[0]):

            def lost(probe: str) -> float:
                of = {"device": gadget, "probe": probe}
                return value(exporter, "device_probes_sent_total", **of) - value(
                    exporter, "device_probes_answered_total", **of
                )

            eventually(lambda: min(lost("arp"), lost("icmp")) >= 2, within=40, what="losses of both kinds")


def test_a_newer_registry_is_refused_with_a_line(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "data" / "hosts"
    path.mkdir(parents=True)
    with closing(sqlite3.connect(path / "registry.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    command = [*NETVANE, "hosts"]
    command += [f"--storage.data-dir={tmp_path / 'data'}", f"--storage.run-dir={tmp_path}"]
    with home.mon.start(command) as process:
        assert process.wait(20) == 1
        assert "version 99, this Netvane knows up to 1" in process.output()
        assert "Traceback" not in process.output()


def test_a_truncated_registry_is_restored(home: Home) -> None:
    gadget = home.gadgets[0].mac
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        ask(exporter, "change", entries=[{"device": gadget, "name": "Kitchen"}])
        exporter.process.stop()
        path = exporter.directory / "data" / "hosts" / "registry.db"
        os.truncate(path, path.stat().st_size // 2)
        with running_exporter("hosts", home.mon, exporter.directory, FAST) as again:
            assert value(again, "registry_restored_timestamp_seconds") > 0
            assert devices(again)[gadget]["name"] == "Kitchen"
            assert "was damaged" in home.mon.http(again.url + "/").text
        assert list(path.parent.glob("registry.db.damaged-*"))


@pytest.mark.long
def test_an_ipv6_only_device_is_found_and_stays_present(home: Home) -> None:
    gadget = home.gadgets[0]
    gadget.ns.ip(f"addr del {gadget.address}/24 dev eth0")
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: gadget.mac in devices(exporter), within=20, what="the device")
        after_sweeps(exporter, 6)
        assert state(exporter, gadget.mac) == "present"
        assert all(":" in entry["address"] for entry in devices(exporter)[gadget.mac]["addresses"])


def test_mdns_names_and_services(home: Home) -> None:
    gadget = home.gadgets[0]
    script = (
        "import socket,struct,time\n"
        "n=lambda t:b''.join(bytes([len(l)])+l for l in t.split(b'.'))+b'\\0'\n"
        "r=lambda o,k,d:n(o)+struct.pack('!HHIH',k,0x8001,120,len(d))+d\n"
        "m=struct.pack('!6H',0,0x8400,0,2,0,0)+r(b'_ipp._tcp.local',12,n(b'Old printer._ipp._tcp.local'))"
        f"+r(b'laser.local',1,socket.inet_aton('{gadget.address}'))\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
        f"s.setsockopt(0,socket.IP_MULTICAST_IF,socket.inet_aton('{gadget.address}'))\n"
        "while True:\n s.sendto(m,('224.0.0.251',5353));time.sleep(0.5)\n"
    )
    with watching(home.mon, home.rack.directory) as exporter, gadget.ns.start([sys.executable, "-c", script]):
        eventually(lambda: devices(exporter).get(gadget.mac, {}).get("services"), within=20, what="its services")
        report = devices(exporter)[gadget.mac]
        assert (report["services"], report["kind"], report["names"]) == (["_ipp._tcp"], "printer", [["laser", "mdns"]])


@pytest.fixture
def quiet_home(home: Home) -> Namespace:
    return home.mon


def test_a_subnet_that_is_too_large_is_refused_with_the_reason(quiet_home: Namespace, tmp_path: Path) -> None:
    quiet_home.ip("addr flush dev eth0", "addr add 10.9.0.1/16 dev eth0")
    with running_exporter("hosts", quiet_home, tmp_path, FAST) as exporter:
        page = exporter.url + "/"
        wanted = "10.9.0.0/16 is larger than /22"
        eventually(lambda: wanted in quiet_home.http(page).text, what="the reason")
        assert exporter.samples("netvane_sweep_success") == []


@pytest.mark.long
def test_a_full_disk_is_a_metric_and_no_end(home: Home) -> None:
    """The state lies on a tmpfs of its own, in a mount namespace of the exporter's."""
    directory = home.rack.directory / "raw"
    script = 'mkdir "$0" && mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    inside = ["unshare", "--mount", "sh", "-c", script, str(directory / "data")]
    with (
        running_raw(home.mon, home.rack.directory, "--interface=eth0") as raw,
        running_exporter("hosts", home.mon, raw.socket.parent, FAST, through=inside) as exporter,
    ):
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        # Its file system is seen through the process.
        filler = Path(f"/proc/{exporter.process.pid}/root{directory}/data/filler")
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        for number in range(8):
            mac = f"00:0c:29:00:01:{number:02x}"
            send_frames(home.gadgets[0].ns, arp_frame(mac, f"198.51.100.{80 + number}", at.ROUTER4))
        eventually(lambda: value(exporter, "registry_writable") == 0, within=30, what="it is said")
        assert value(exporter, "registry_write_failures_total") >= 1
        eventually(lambda: len(devices(exporter)) >= 12, what="they are known all the same")
        after_sweeps(exporter, 1)
        filler.unlink()
        eventually(lambda: value(exporter, "registry_writable") == 1, within=40, what="written again")


def test_netvane_devices(home: Home) -> None:
    gadget = home.gadgets[0]

    def run(*words: str, code: int = 0) -> str:
        command = [*NETVANE, "devices", f"--run-dir={exporter.directory}"]
        with home.rack.processes.start([*command, f"--data-dir={exporter.directory / 'data'}", *words]) as asked:
            assert asked.wait(20) == code, asked.output()
            return asked.output()

    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        assert gadget.mac in run("list")
        assert "trusted: false -> true" in run("trust", gadget.mac)
        assert "name: - -> Kitchen light" in run("name", gadget.mac, "Kitchen light", "--notes", "by the window")
        assert "nothing to change" in run("trust", "kitchen light")
        assert gadget.address in run("show", "Kitchen light")
        assert events(exporter, "device", change="name", by="owner", current="Kitchen light", mac=gadget.mac)
        assert "no device has the MAC" in run("trust", "00:0c:29:00:00:99", code=1)
        exported = run("export")
        (home.rack.directory / "d.yaml").write_text(exported.replace("Kitchen light", "Hall light"))
        (home.rack.directory / "bad.csv").write_text("device,trusted\n" + gadget.mac + ",perhaps\n")
        assert "expected true or false" in run("import", str(home.rack.directory / "bad.csv"), code=2)
        assert "Kitchen light -> Hall light" in run("import", str(home.rack.directory / "d.yaml"))
        other = home.gadgets[1].mac
        run("merge", other, gadget.mac)
        assert set(devices(exporter)[gadget.mac]["macs"]) == {gadget.mac, other}
        run("split", other)
        exporter.process.stop()
        # And where the exporter is stopped
        assert "Hall light" in run("list")
        assert "expected: false -> true" in run("expect", "Hall light")
        run("forget", other)
        with running_exporter("hosts", home.mon, exporter.directory, FAST) as again:
            assert devices(again)[gadget.mac]["expected"] is True
            # What was changed meanwhile is told now, as of then and once.
            told = {"change": "expected", "by": "owner", "mac": gadget.mac, "current": "true"}
            gone = {"change": "forgotten", "by": "owner", "mac": other}
            eventually(lambda: events(again, "device", **told), within=20, what="the event of what was expected")
            eventually(lambda: events(again, "device", **gone), within=20, what="the event of what was forgotten")
            (expected,) = events(again, "device", **told)
            assert expected["device_name"] == "Hall light"
            assert len(events(again, "device", **gone)) == 1
            eventually(lambda: value(again, "registry_writes_total") >= 1, what="a save")
            again.process.stop()
        with running_exporter("hosts", home.mon, exporter.directory, FAST) as third:
            after_sweeps(third, 1)
            assert len(events(third, "device", change="forgotten", by="owner", mac=other)) == 1
    assert json.loads(run("show", gadget.mac, "--format", "json"))["own_name"] == "Hall light"


def test_reload_keeps_what_is_known(home: Home) -> None:
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        exporter.configure({"hosts": {**FAST["hosts"], "address_metrics": True}})
        exporter.process.signal(signal.SIGHUP)
        eventually(lambda: exporter.samples("netvane_device_address_info"), what="addresses")
        exporter.configure({"hosts": {"interval": "1ms"}})
        exporter.process.signal(signal.SIGHUP)
        eventually(lambda: exporter.value("netvane_config_last_reload_successful") == 0, what="a refusal")
        after_sweeps(exporter, 1)
        assert len(devices(exporter)) == 4


@pytest.mark.long
def test_a_routed_subnet_is_counted_by_nmap(home: Home) -> None:
    settings = {"hosts": {**FAST["hosts"], "subnets": ["203.0.113.0/28"]}}
    with watching(home.mon, home.rack.directory, settings) as exporter:
        there = {"network": "203.0.113.0/28", "method": "nmap"}
        eventually(lambda: value(exporter, "sweep_success", **there) == 1, within=40, what="a sweep by nmap")
        assert value(exporter, "sweep_hosts", **there) >= 3  # the anchors
        assert set(devices(exporter)) == {ROUTER_MAC, MON_MAC, *(gadget.mac for gadget in home.gadgets)}


@pytest.mark.long
def test_names_come_from_leases_that_another_exporter_publishes(home: Home) -> None:
    gadget, nobody = home.gadgets[0].mac, "00:0c:29:00:00:99"
    held = (
        PublishedLease("198.51.100.20", gadget, "hall\x1b[31m-lamp"),
        PublishedLease("198.51.100.98", nobody, "ghost"),
    )
    with watching(home.mon, home.rack.directory) as exporter:
        eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
        exchange.publish(exporter.directory / "leases.json", LeasesView(held), SystemClock())
        eventually(lambda: ["hall[31m-lamp", "lease"] in devices(exporter)[gadget]["names"], within=30, what="its name")
        assert nobody not in devices(exporter)  # a lease is no sighting
