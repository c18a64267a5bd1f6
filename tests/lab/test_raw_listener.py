"""The passive listener of `netvane raw`: what devices give away, and what happens to interfaces meanwhile."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.l2 import ARP, Ether

from netvane.common.raw_messages import DhcpServer
from netvane.raw.feed import RECENT
from tests.lab import addresses as at
from tests.lab.home import ROUTER_MAC, Home
from tests.lab.netns import Namespace
from tests.lab.rack import Rack
from tests.lab.raw import RunningRaw, running_raw
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

GADGET_MAC = "02:00:00:00:00:09"


@pytest.fixture
def raw(home: Home) -> Iterator[RunningRaw]:
    with running_raw(home.mon, home.rack.directory) as raw:
        yield raw


@pytest.fixture
def pair(rack: Rack) -> tuple[Namespace, Namespace]:
    """A watcher and a neighbour, a veth pair between them: eth0 at both ends."""
    watcher, neighbour = rack.namespaces("watcher", "neighbour")
    connect(watcher, neighbour)
    return watcher, neighbour


def connect(watcher: Namespace, neighbour: Namespace) -> None:
    watcher.ip(f"link add eth0 type veth peer name eth0 netns {neighbour.name}", "link set eth0 up")
    neighbour.ip("link set eth0 up")


def wire(namespace: Namespace) -> socket.socket:
    """Sends whole frames."""

    def opened() -> socket.socket:
        channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        channel.bind(("eth0", 0))
        return channel

    return namespace.call(opened)


def arp(mac: str, address: str) -> bytes:
    return bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=mac, psrc=address, pdst="198.51.100.1"))


def announce(namespace: Namespace, *, address: str = "198.51.100.9") -> None:
    with wire(namespace) as channel:
        channel.send(arp(GADGET_MAC, address))


def test_gadgets_give_themselves_away(home: Home, raw: RunningRaw) -> None:
    gadget = home.gadgets[0]
    gadget.ns.run(f"ping -c 1 -W 5 {at.MON4}")
    # The gadget's own IPv6 address comes with the router's next advertisement.
    eventually(lambda: gadget.ns.run(f"ping -c 1 -W 5 {at.MON6}", check=False).returncode == 0, what="IPv6")
    arp = raw.sighting(lambda seen: seen.kind == "arp" and seen.mac == gadget.mac)
    assert (arp.message, arp.address, arp.interface) == ("request", gadget.address, "eth0")
    seen = raw.sighting(lambda seen: seen.kind == "nd" and seen.mac == gadget.mac and seen.address is not None)
    assert seen.address is not None
    assert ":" in seen.address
    router = raw.sighting(lambda seen: seen.kind == "nd" and seen.router)
    assert (router.mac, router.message) == (ROUTER_MAC, "router-advertisement")
    # What mon itself sends, answers to all these, is no news.
    assert {seen.mac for seen in raw.known()} <= {ROUTER_MAC, *(one.mac for one in home.gadgets)}
    interface = raw.interface()
    assert interface is not None
    assert (interface.malformed, interface.dropped) == (0, 0)
    assert interface.sightings == interface.frames > 0


def test_a_device_asks_for_an_address(home: Home, raw: RunningRaw) -> None:
    gadget = home.gadgets[1]
    # -B: the server's answers are broadcast, so that everybody hears them.
    gadget.ns.run("busybox udhcpc -f -q -n -B -i eth0 -s /bin/true -F kitchen -x hostname:kitchen-pi -V udhcp-test")
    request = raw.sighting(lambda seen: seen.message == "request" and seen.kind == "dhcp4")
    assert request.mac == gadget.mac
    assert (request.host_name, request.vendor_class, request.address) == ("kitchen-pi", "udhcp-test", None)
    assert request.client_id == "01" + gadget.mac.replace(":", "")
    assert {1, 3, 6, 12} <= set(request.fingerprint)
    ack = raw.sighting(lambda seen: seen.message == "ack")
    assert (ack.mac, ack.address) == (ROUTER_MAC, at.ROUTER4)
    assert ack.server == DhcpServer(
        server_id=at.ROUTER4,
        client_mac=gadget.mac,
        offered=request.requested,
        routers=(at.ROUTER4,),
        dns=(at.ROUTER4,),
        lease_seconds=3600,
    )
    offer = raw.sighting(lambda seen: seen.message == "offer")
    assert offer.server == ack.server


def test_the_interface_of_the_default_route_is_found_once_there_is_one(pair: tuple[Namespace, Namespace]) -> None:
    watcher, neighbour = pair
    with running_raw(watcher, rack_directory(watcher), interface=None) as raw:
        assert raw.status().interfaces == ()
        watcher.ip("addr add 198.51.100.10/24 dev eth0", "route add default via 198.51.100.1")
        eventually(raw.is_listening, what="eth0 found")
        announce(neighbour)
        raw.sighting(lambda seen: seen.mac == GADGET_MAC)
        # A router that goes away takes the route along; the interface stays of interest.
        watcher.run("ip route del default")
        announce(neighbour, address="198.51.100.11")
        raw.sighting(lambda seen: seen.address == "198.51.100.11")


def test_listening_follows_the_default_route(pair: tuple[Namespace, Namespace]) -> None:
    watcher, neighbour = pair
    watcher.ip("addr add 198.51.100.10/24 dev eth0", "route add default via 198.51.100.1")
    watcher.ip("link add eth1 type veth peer name eth1 netns " + neighbour.name, "link set eth1 up")
    neighbour.ip("link set eth1 up")
    with running_raw(watcher, rack_directory(watcher)) as raw:
        announce(neighbour)
        raw.sighting(lambda seen: seen.interface == "eth0")
        watcher.run("ip route replace default dev eth1")
        eventually(lambda: raw.is_listening("eth1"), what="eth1")
        assert raw.interface("eth0") is None
        assert raw.interface("eth1") is not None
        watcher.run("ip route replace default via 198.51.100.1")
        eventually(raw.is_listening, what="eth0 again")
        announce(neighbour, address="198.51.100.11")
        raw.sighting(lambda seen: (seen.interface, seen.address) == ("eth0", "198.51.100.11"))


def rack_directory(namespace: Namespace) -> Path:
    return Path("/run/netvane-lab", namespace.name.rpartition("-")[0])


def state(raw: RunningRaw) -> str | None:
    found = raw.interface()
    return found.state if found else None


def test_interface_down_up_gone_and_made_again(pair: tuple[Namespace, Namespace]) -> None:
    watcher, neighbour = pair
    with running_raw(watcher, rack_directory(watcher), "--interface=eth0") as raw:
        announce(neighbour, address="198.51.100.1")
        raw.sighting(lambda seen: seen.address == "198.51.100.1")

        neighbour.ip("link set eth0 down")  # the cable is out
        eventually(lambda: state(raw) == "down", what="no carrier")
        watcher.ip("link set eth0 down")
        eventually(lambda: state(raw) == "down", what="down")
        watcher.ip("link set eth0 up")
        neighbour.ip("link set eth0 up")
        eventually(lambda: state(raw) == "listening", what="up again")
        announce(neighbour, address="198.51.100.2")
        raw.sighting(lambda seen: seen.address == "198.51.100.2")

        watcher.ip("link del eth0")
        eventually(lambda: state(raw) == "missing", what="gone")
        connect(watcher, neighbour)
        eventually(lambda: state(raw) == "listening", what="made again")
        announce(neighbour, address="198.51.100.3")
        raw.sighting(lambda seen: seen.address == "198.51.100.3")

        watcher.ip("link del eth0")  # and replaced before anybody looks
        connect(watcher, neighbour)
        eventually(lambda: announced(raw, neighbour, "198.51.100.4"), what="the replaced interface")

        interface = raw.interface()
        assert interface is not None
        assert interface.sightings >= 4  # counters survive all this
        log = raw.process.output()
        assert "state=down" in log
        assert "state=missing" in log


def announced(raw: RunningRaw, neighbour: Namespace, address: str) -> bool:
    announce(neighbour, address=address)
    return any(seen.address == address for seen in raw.known())


def test_a_dead_interface_costs_no_time(pair: tuple[Namespace, Namespace]) -> None:
    """An error that is not read off the socket would make its reader spin."""
    watcher, _ = pair
    with running_raw(watcher, rack_directory(watcher), "--interface=eth0") as raw:
        watcher.ip("link set eth0 down")
        eventually(lambda: state(raw) == "down", what="down")
        began, before = time.monotonic(), cpu_seconds(raw.process.pid)
        time.sleep(2)  # the measurement itself: a reader that spins takes most of a core
        assert cpu_seconds(raw.process.pid) - before < (time.monotonic() - began) / 4


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_interface_that_is_not_ethernet(rack: Rack) -> None:
    (watcher,) = rack.namespaces("watcher")
    with running_raw(watcher, rack.directory, "--interface=lo", "--interface=absent0", interface=None) as raw:
        eventually(lambda: len(raw.status().interfaces) == 2, what="both looked at")
        watcher.run("ping -c 1 127.0.0.1")
        states = {found.name: (found.state, found.frames) for found in raw.status().interfaces}
        assert states == {"lo": ("not ethernet", 0), "absent0": ("missing", 0)}


def test_flood_of_random_devices(pair: tuple[Namespace, Namespace]) -> None:
    watcher, neighbour = pair
    count = 10_000
    with running_raw(watcher, rack_directory(watcher), "--interface=eth0") as raw:
        with wire(neighbour) as channel:
            for number in range(count):
                channel.send(arp(f"02:00:00:01:{number // 256:02x}:{number % 256:02x}", "198.51.100.200"))
                if number % 100 == 0:
                    channel.send(b"\xff" * 6 + bytes.fromhex("020000000009") + b"\x08\x06" + b"\0" * 10)

        def all_accounted_for() -> bool:
            found = raw.interface()
            assert found is not None
            return found.frames + found.dropped >= count + count // 100

        eventually(all_accounted_for, within=30, what="the flood to be over")
        status = raw.status()
        (interface,) = status.interfaces
        assert interface.malformed > 0
        assert interface.frames == interface.sightings + interface.malformed
        assert status.recent <= RECENT
        assert status.recent + status.evicted <= status.sightings
        announce(neighbour)
        assert raw.sighting(lambda seen: seen.mac == GADGET_MAC)


def test_vlans_are_told_apart(pair: tuple[Namespace, Namespace]) -> None:
    watcher, neighbour = pair
    with running_raw(watcher, rack_directory(watcher), "--interface=eth0") as raw, wire(neighbour) as channel:
        plain = arp(GADGET_MAC, "198.51.100.9")
        channel.send(plain)
        channel.send(plain[:12] + b"\x81\x00\x20\x2a" + plain[12:])  # priority 1, VLAN 42
        seen = eventually(lambda: len(known := raw.known()) == 2 and known, what="both")
        assert isinstance(seen, list)
        assert [one.vlan for one in seen] == [None, 42]
        assert {(one.mac, one.address) for one in seen} == {(GADGET_MAC, "198.51.100.9")}
