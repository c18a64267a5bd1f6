"""Netvane's machine as the access point of gadgets: a bridge in `mon` with a network of its own and a DHCP server.

lamp, camera, … ── ap0 (mon: 198.51.101.1, dnsmasq, NAT) ── eth0 ── the rest of the home
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.lab import addresses as at
from tests.lab.home import Home
from tests.lab.netns import Namespace
from tests.lab.wait import eventually

BRIDGE = "ap0"
ADDRESS = "198.51.101.1"
SUBNET = "198.51.101.0/24"
TIME_SERVER = at.ANCHORS4[0]
MQTT_PORT, NTP_PORT, MDNS_PORT = 1883, 123, 5353
MDNS_GROUP = "224.0.0.251"

MASQUERADE = """
table ip access_point {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "eth0" masquerade;
  }
}
"""

DNSMASQ = f"""
interface={BRIDGE}
bind-dynamic
pid-file=
no-resolv
no-hosts
server={at.ROUTER4}
dhcp-range=198.51.101.100,198.51.101.199,1h
dhcp-option=option:router,{ADDRESS}
dhcp-authoritative
no-ping
log-facility=-
user=root
"""


class AccessPoint:
    """``AccessPoint(home, {"lamp": "24:0a:c4:0a:02:01"})``: gadgets by name, each with a lease under that name."""

    def __init__(self, home: Home, macs: dict[str, str]) -> None:
        self.macs = macs
        self.leases: Path = home.rack.directory / "access_point.leases"
        self._home = home
        home.mon.sysctl({"net.ipv4.ip_forward": 1})
        home.mon.ip(
            f"link add {BRIDGE} type bridge mcast_snooping 0",
            f"addr add {ADDRESS}/24 dev {BRIDGE}",
            f"link set {BRIDGE} up",
        )
        home.mon.nft(MASQUERADE)
        configuration = home.rack.directory / "access_point.conf"
        configuration.write_text(f"{DNSMASQ}dhcp-leasefile={self.leases}\n")
        dnsmasq = home.mon.start(["dnsmasq", "--keep-in-foreground", f"--conf-file={configuration}"])
        eventually(lambda: "started, version" in dnsmasq.output() or not dnsmasq.running, what="dnsmasq")
        self.gadgets = dict(zip(macs, home.rack.namespaces(*macs), strict=True))

    def join(self, name: str) -> Namespace:
        """The gadget comes into the Wi-Fi and gets its address."""
        gadget = self.gadgets[name]
        self._home.mon.ip(f"link add {name} type veth peer name eth0 address {self.macs[name]} netns {gadget.name}")
        self._home.mon.ip(f"link set {name} master {BRIDGE} up")
        gadget.ip("link set eth0 up", "link set lo up")
        gadget.use_resolvers(ADDRESS)
        self._home.lease(gadget, hostname=name)
        return gadget

    def address(self, name: str) -> str:
        leases = (line.split() for line in self.leases.read_text().splitlines())
        return next(address for _, mac, address, *_ in leases if mac == self.macs[name])


def exchange(gadget: Namespace, message: bytes, address: str, port: int, source: str = "") -> bytes:
    """Send a datagram from the address `source`, or from any; the answer."""

    def ask() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.settimeout(5)
            channel.bind((source, 0))
            channel.sendto(message, (address, port))
            return channel.recv(2048)

    return gadget.call(ask)


def ask_names(gadget: Namespace, names: Sequence[str], server: str, source: str = "") -> None:
    """A DNS question of type A for each name, one after the other."""
    for number, name in enumerate(names, 1):
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        query = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01"
        assert exchange(gadget, query, server, 53, source)[:2] == query[:2]


def ask_time(gadget: Namespace) -> None:
    """A client's NTP message, RFC 5905."""
    assert len(exchange(gadget, b"\x23" + bytes(47), TIME_SERVER, NTP_PORT)) == 48


def ask_neighbours(gadget: Namespace) -> None:
    """An mDNS question for all services, RFC 6762 and 6763."""
    name = b"".join(bytes([len(label)]) + label for label in (b"_services", b"_dns-sd", b"_udp", b"local"))

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            channel.bind(("", MDNS_PORT))
            channel.sendto(struct.pack("!6H", 0, 0, 1, 0, 0, 0) + name + b"\0\0\x0c\0\x01", (MDNS_GROUP, MDNS_PORT))

    gadget.call(ask)


def upload(gadget: Namespace, address: str, port: int, size: int) -> None:
    with gadget.connect(address, port) as channel:
        channel.sendall(bytes(size))


@contextlib.contextmanager
def time_server(machine: Namespace) -> Iterator[None]:
    """Answers every NTP message; what time it is does not matter here."""

    def bind() -> socket.socket:
        channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        channel.bind((TIME_SERVER, NTP_PORT))
        return channel

    channel = machine.call(bind)
    ending = threading.Event()

    def serve() -> None:
        channel.settimeout(0.2)
        while not ending.is_set():
            with contextlib.suppress(TimeoutError):
                _, peer = channel.recvfrom(2048)
                channel.sendto(b"\x24\x02" + bytes(46), peer)

    with channel, _thread(serve, ending):
        yield


@contextlib.contextmanager
def storage(machine: Namespace, address: str, port: int) -> Iterator[None]:
    """Takes whatever is uploaded."""
    listener = machine.listen(address, port)
    ending = threading.Event()

    def serve() -> None:
        listener.settimeout(0.2)
        while not ending.is_set():
            with contextlib.suppress(TimeoutError):
                channel, _ = listener.accept()
                with channel:
                    channel.settimeout(5)
                    while channel.recv(1 << 16):
                        pass

    with listener, _thread(serve, ending):
        yield


@contextlib.contextmanager
def _thread(serve: Callable[[], None], ending: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(10)


@contextlib.contextmanager
def mqtt_broker(home: Home, hub: Namespace) -> Iterator[None]:
    configuration = home.rack.directory / "mosquitto.conf"
    configuration.write_text(f"listener {MQTT_PORT}\nallow_anonymous true\nuser root\n")
    with hub.start(["mosquitto", "-c", str(configuration)]) as broker:

        def listens() -> bool:
            assert broker.running, broker.output()
            return f":{MQTT_PORT}" in hub.run("ss -Hltn").stdout

        eventually(listens, what="the MQTT broker")
        yield


class Day:
    """What the gadgets do all day: each step in turn, again and again, until the block ends."""

    def __init__(self, access_point: AccessPoint, hub: str) -> None:
        self._gadgets = access_point.gadgets
        self._hub = hub
        self.rounds = 0

    def live(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._round()
            self.rounds += 1

    def _round(self) -> None:
        gadgets = self._gadgets
        gadgets["lamp"].run(f"mosquitto_pub -h {self._hub} -t lamp/state -m on")
        gadgets["lamp"].run("busybox wget -q -O /dev/null http://site1.example/")
        gadgets["camera"].run("busybox wget -q -O /dev/null http://site2.example/")
        ask_time(gadgets["camera"])
        ask_neighbours(gadgets["phone"])
        number = 3 + self.rounds % 90  # people look at ever new things
        gadgets["phone"].run(f"busybox wget -q -O /dev/null http://site{number}.example/")
        gadgets["phone"].run(f"ping -c 2 -i 0.2 {ADDRESS}")
