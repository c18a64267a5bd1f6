"""The access point as its role writes it: on a real network of namespaces, but for the radio."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.templates import rendered
from tests.lab import addresses as at
from tests.lab.home import Home
from tests.lab.netns import Namespace
from tests.lab.processes import Process, run
from tests.lab.rack import Rack
from tests.lab.wait import eventually

pytestmark = pytest.mark.deploy

GATEWAY = "198.18.40.1"
SETTINGS: dict[str, Any] = {
    "netvane_access_point": True,
    "netvane_access_point_country": "DE",
    "netvane_access_point_uplink": "eth0",
    "netvane_access_point_address": GATEWAY,
    "access_point_home": ["10.0.0.0/8", "198.51.100.0/24"],
    "access_point_security": "wpa2",
    "access_point_passphrase": "not the real one",
}
UNITS = ("netvane-access-point.service", "netvane-hostapd.service", "netvane-dnsmasq.service")
FILES = ("rules.nft", "dnsmasq.conf", *UNITS)
PORT, OTHER_PORT = 8123, 8124


@dataclass
class AccessPoint:
    """`home.mon` is the machine; two gadgets hang on its `wlan0`, through a bridge instead of the air."""

    home: Home
    directory: Path
    gadgets: list[Namespace]

    def units(self, key: str) -> list[str]:
        """The commands of the unit for `key`, as systemd would split them, without those for a radio."""
        text = (self.directory / "netvane-access-point.service").read_text().replace("\\\n", " ")
        commands = re.findall(rf"^{key}=-?(.+)$", text, flags=re.MULTILINE)
        return [command for command in commands if not re.search(r"/usr/sbin/(iw|rfkill) ", command)]

    def turn(self, key: str) -> None:
        """Run them with what the unit leaves root of its powers."""
        for command in self.units(key):
            here = command.replace("/etc/netvane/access_point", str(self.directory))
            self.home.mon.run(["setpriv", "--bounding-set=-all,+net_admin", *shlex.split(here)])

    def forwarding(self) -> dict[str, str]:
        names = ("wlan0", "eth0")
        files = (Path(f"/proc/sys/net/ipv4/conf/{name}/forwarding") for name in names)
        return self.home.mon.call(
            lambda: {name: file.read_text().strip() for name, file in zip(names, files, strict=True)}
        )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the role writes by default."""
    return rendered("access_point", FILES, tmp_path_factory.mktemp("plain"), SETTINGS)


@contextmanager
def access_point(output: Path) -> Iterator[AccessPoint]:
    with Home(gadgets=1, ipv6=False) as home:
        air, *gadgets = home.rack.namespaces("air", "lamp", "fridge")
        air.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")
        for port, machine, name in (("ap", home.mon, "wlan0"), ("g1", gadgets[0], "eth0"), ("g2", gadgets[1], "eth0")):
            air.ip(f"link add {port} type veth peer name {name} netns {machine.name}", f"link set {port} master br0 up")
            machine.ip(f"link set {name} up")
        for number, gadget in enumerate(gadgets, start=10):
            gadget.ip(f"addr add 198.18.40.{number}/24 dev eth0", f"route add default via {GATEWAY}")
        found = AccessPoint(home, output, gadgets)
        found.turn("ExecStart")
        yield found


@pytest.mark.parametrize("unit", UNITS)
def test_units(plain: Path, unit: str) -> None:
    verified = subprocess.run(["systemd-analyze", "verify", plain / unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    # The first runs for a moment only, and it changes the network.
    limit = 45 if unit == UNITS[0] else 20
    run(["systemd-analyze", "security", "--offline=true", f"--threshold={limit}", str(plain / unit)])


def reaches(source: Namespace, target: Namespace, address: str, port: int) -> bool:
    """Whether TCP from `source` arrives at `address`, where `target` listens for the while."""
    with target.listen(address, port), suppress(OSError):
        source.connect(address, port, timeout=1.0).close()
        return True
    return False


def test_gadgets_reach_the_internet_and_not_the_home(plain: Path) -> None:
    with access_point(plain) as ap:
        gadget, home = ap.gadgets[0], ap.home
        lan = home.gadgets[0]
        assert reaches(gadget, home.net, at.ANCHORS4[0], PORT)
        assert not reaches(gadget, lan.ns, lan.address, PORT)
        assert not reaches(gadget, home.gw, at.ROUTER4, PORT)
        # Nor this machine's own services, by either of its addresses.
        assert not reaches(gadget, home.mon, GATEWAY, 3000)
        assert not reaches(gadget, home.mon, at.MON4, 3000)
        gadget.run(f"ping -c 1 -W 2 {GATEWAY}")
        lan.ns.ip(f"route add 198.18.40.0/24 via {at.MON4}")
        assert not reaches(lan.ns, gadget, "198.18.40.10", PORT)
        # The rest of the machine is as it was.
        assert reaches(lan.ns, home.mon, at.MON4, 3000)


def test_rules_and_the_home_s_own_way_in(tmp_path: Path) -> None:
    allow = [{"to": "198.51.100.20", "protocol": "tcp", "port": PORT}]
    more = {
        "netvane_access_point_allow": allow,
        "netvane_access_point_from_home": True,
        "netvane_access_point_isolate": False,
    }
    with access_point(rendered("access_point", FILES, tmp_path, {**SETTINGS, **more})) as ap:
        gadget, lan = ap.gadgets[0], ap.home.gadgets[0]
        assert lan.address == "198.51.100.20"
        assert reaches(gadget, lan.ns, lan.address, PORT)
        assert not reaches(gadget, lan.ns, lan.address, OTHER_PORT)
        lan.ns.ip(f"route add 198.18.40.0/24 via {at.MON4}")
        assert reaches(lan.ns, gadget, "198.18.40.10", PORT)


def test_a_gadget_cannot_pretend_to_be_somebody_else(plain: Path) -> None:
    with access_point(plain) as ap:
        gadget = ap.gadgets[0]
        gadget.ip("addr add 198.18.41.9/32 dev lo")
        gadget.run(f"ping -c 1 -W 1 -I 198.18.41.9 {at.ANCHORS4[0]}", check=False)
        rules = ap.home.mon.run("nft list chain inet netvane_access_point from_gadgets").stdout
        assert re.search(r"ip saddr != 198\.18\.40\.0/24 counter packets [1-9]", rules)


def test_turned_off_the_machine_is_as_it_was(plain: Path) -> None:
    with access_point(plain) as ap:
        mon = ap.home.mon
        assert ap.forwarding() == {"wlan0": "1", "eth0": "1"}
        ap.turn("ExecStart")  # again: nothing breaks
        ap.turn("ExecStopPost")
        assert ap.forwarding() == {"wlan0": "0", "eth0": "0"}
        assert mon.run("nft list tables").stdout == ""
        assert GATEWAY not in mon.run("ip address show dev wlan0").stdout
        assert not reaches(ap.gadgets[0], ap.home.net, at.ANCHORS4[0], PORT)


def test_addresses_and_names(plain: Path) -> None:
    with access_point(plain) as ap:
        mon, gadget = ap.home.mon, ap.gadgets[0]
        place = writable(ap.home.rack)
        leases, config = place / "leases", place / "dnsmasq.conf"
        text = (ap.directory / "dnsmasq.conf").read_text()
        config.write_text(text.replace("/var/lib/misc/dnsmasq.leases", str(leases)))
        assert "OK" in run(["dnsmasq", "--test", f"--conf-file={config}"]).stderr
        unprivileged(
            mon,
            "net_admin,net_bind_service,net_raw",
            *("dnsmasq", "--keep-in-foreground", "--log-facility=-", f"--conf-file={config}"),
        )
        gadget.ip("addr flush dev eth0")
        ap.home.lease(gadget, hostname="lamp")
        assert re.fullmatch(r"\d+ \S+ 198\.18\.40\.\d+ lamp \S+\n", eventually(leases.read_text))
        assert eventually(lambda: asked(gadget, "lamp.iot.home.arpa"))
        assert asked(gadget, "site1.example")
        assert not asked(gadget, "nobody.iot.home.arpa")


def asked(namespace: Namespace, name: str) -> bool:
    """Whether the machine's resolver has an answer."""
    done = namespace.run(["busybox", "nslookup", name, GATEWAY], check=False)
    return done.returncode == 0


@pytest.mark.parametrize("security", ["wpa2", "wpa3", "wpa2+wpa3"])
def test_hostapd_takes_its_configuration(rack: Rack, tmp_path: Path, security: str) -> None:
    """Without a radio hostapd has its driver for wires, which knows no countries: with one it waits for it."""
    output = rendered("access_point", ["hostapd.conf"], tmp_path, {**SETTINGS, "access_point_security": security})
    (machine,) = rack.namespaces("pi")
    machine.ip("link add wlan0 type veth peer name air", "link set wlan0 up", "link set air up")
    place = writable(rack)
    full = (output / "hostapd.conf").read_text().replace("driver=nl80211", "driver=wired")
    full = full.replace("/run/netvane-hostapd", str(place / "control"))
    starts(machine, place / "full.conf", full, "COUNTRY_UPDATE")
    starts(machine, place / "wired.conf", re.sub(r"(country_code|ieee80211d)=.*\n", "", full), "ENABLED")


def starts(machine: Namespace, file: Path, configuration: str, state: str) -> None:
    """See hostapd get to `state` with it."""
    file.write_text(configuration)
    # bind_service: for wires only, where hostapd listens for DHCP.
    with unprivileged(machine, "net_admin,net_raw,net_bind_service", "hostapd", str(file)) as hostapd:
        eventually(lambda: f"->{state}" in hostapd.output() or not hostapd.running, what=state)
        assert hostapd.running, hostapd.output()


def test_hostapd_would_say_what_it_does_not_take(rack: Rack, tmp_path: Path) -> None:
    output = rendered("access_point", ["hostapd.conf"], tmp_path, {**SETTINGS, "access_point_passphrase": "short"})
    (machine,) = rack.namespaces("pi")
    refused = machine.run(["hostapd", str(output / "hostapd.conf")], check=False)
    assert refused.returncode == 1
    assert "invalid WPA passphrase" in refused.stdout


def unprivileged(namespace: Namespace, capabilities: str, *command: str) -> Process:
    """Start `command` as its unit does: nobody, with a few capabilities."""
    held = ",".join(f"+{name}" for name in capabilities.split(","))
    return namespace.start(
        [
            *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs"),
            *(f"--inh-caps={held}", f"--ambient-caps={held}", f"--bounding-set=-all,{held}", *command),
        ]
    )


def writable(rack: Rack) -> Path:
    """A directory for whoever has no privileges."""
    place = rack.directory / "writable"
    place.mkdir()
    place.chmod(0o777)
    return place
