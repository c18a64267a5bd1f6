"""A wire with a DHCP server at one end and clients at the other, and the servers that Debian has."""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from netvane.common.raw_messages import SOCKET_NAME
from tests.lab.home import UDHCPC_SCRIPT
from tests.lab.netns import Namespace
from tests.lab.processes import Process
from tests.lab.rack import Rack
from tests.lab.raw import RunningRaw, running_raw
from tests.lab.wait import eventually

SERVER4, SERVER6 = "198.51.100.1", "fd00:51::1"
POOL4 = ("198.51.100.100", "198.51.100.149")
POOL6 = ("fd00:51::1000", "fd00:51::1fff")
# dhclient-script(8), as far as the lab needs it.
DHCLIENT_SCRIPT = "#!/bin/sh\nexit 0\n"


@dataclass(frozen=True)
class Wire:
    """`clients` are namespaces with an eth0 each, bridged to `server`'s eth0."""

    rack: Rack
    server: Namespace
    clients: tuple[Namespace, ...]

    @property
    def directory(self) -> Path:
        return self.rack.directory

    def client(self, number: int, hostname: str, *, vendor: str = "lab-client", release: bool = False) -> Process:
        """udhcpc, with a lease."""
        script = self.directory / "udhcpc.sh"
        script.write_text(UDHCPC_SCRIPT)
        script.chmod(0o755)
        flags = f"-f -i eth0 -t 10 -T 1 -s {script} -V {vendor} -x hostname:{hostname}" + (" -R" if release else "")
        client = self.clients[number].start(f"busybox udhcpc {flags}")
        eventually(lambda: "has " in client.output() or not client.running, what=f"a lease for {hostname}")
        assert client.running, client.output()
        # What is sent to a neighbour not yet looked for is lost when the address goes, as it does after a release.
        eventually(lambda: self.clients[number].run(f"ping -c 1 -W 1 {SERVER4}", check=False).returncode == 0)
        return client

    def client6(self, number: int) -> Process:
        """dhclient for DHCPv6, without configuring what it gets."""
        script = self.directory / "dhclient.sh"
        script.write_text(DHCLIENT_SCRIPT)
        script.chmod(0o755)
        files = f"-lf {self.directory}/dhclient{number}.leases -pf {self.directory}/dhclient{number}.pid"
        namespace = self.clients[number]
        eventually(lambda: "tentative" not in namespace.run("ip -6 addr show dev eth0").stdout, what="an address")
        client = namespace.start(f"dhclient -6 -d -cf /dev/null {files} -sf {script} eth0")
        eventually(lambda: "Bound to lease" in client.output() or not client.running, within=20, what="a DHCPv6 lease")
        assert client.running, client.output()
        return client


def lay_wire(rack: Rack, clients: int = 2) -> Wire:
    switch, server, *others = rack.namespaces("switch", "server", *(f"c{number}" for number in range(clients)))
    ends = [("server", server, "c0:25:06:1a:2b:01")]
    ends += [(f"c{number}", client, f"b8:27:eb:0a:00:{number + 1:02x}") for number, client in enumerate(others)]
    lines = ["link add br0 type bridge mcast_snooping 0", "link set br0 up"]
    for port, machine, mac in ends:
        machine.sysctl({"net.ipv6.conf.default.accept_dad": 0})
        lines.append(f"link add {port} type veth peer name eth0 address {mac} netns {machine.name}")
        lines.append(f"link set {port} master br0 up")
    switch.ip(*lines)
    server.ip(f"addr add {SERVER4}/24 dev eth0", f"addr add {SERVER6}/64 dev eth0")
    for _, machine, _ in ends:
        machine.ip("link set lo up", "link set eth0 up")
    return Wire(rack, server, tuple(others))


def dnsmasq(wire: Wire, leases: Path, *more: str, namespace: Namespace | None = None) -> Process:
    configuration = leases.with_suffix(".conf")
    lines = [
        *(
            "port=0",
            "interface=eth0",
            "bind-interfaces",
            "no-ping",
            "dhcp-authoritative",
            "user=root",
            "log-facility=-",
        ),
        *("no-resolv", "no-hosts", "conf-file=", f"dhcp-leasefile={leases}", *more),
    ]
    if not any(line.startswith("dhcp-range") for line in more):
        lines.append(f"dhcp-range={POOL4[0]},{POOL4[1]},2m")
    configuration.write_text("\n".join(lines) + "\n")
    server = (namespace or wire.server).start(["dnsmasq", "--keep-in-foreground", f"--conf-file={configuration}"])
    _ready(server, "started")
    return server


def kea(wire: Wire, leases: Path, *, lifetime: int, version: int = 4) -> Process:
    configuration = leases.with_suffix(".conf")
    pool = " - ".join(POOL4 if version == 4 else POOL6)
    subnet = {"id": 1, "subnet": "198.51.100.0/24" if version == 4 else "fd00:51::/64", "pools": [{"pool": pool}]}
    section = {
        "interfaces-config": {"interfaces": ["eth0"]},
        "lease-database": {"type": "memfile", "persist": True, "name": str(leases), "lfc-interval": 0},
        "expired-leases-processing": {"reclaim-timer-wait-time": 1, "hold-reclaimed-time": 60},
        "valid-lifetime": lifetime,
        **({"server-id": {"type": "LLT", "persist": False}, "preferred-lifetime": lifetime} if version == 6 else {}),
        f"subnet{version}": [{**subnet, "interface": "eth0"}],
        "loggers": [{"name": f"kea-dhcp{version}", "output_options": [{"output": "stdout"}], "severity": "INFO"}],
    }
    configuration.write_text("// Kea allows comments\n" + json.dumps({f"Dhcp{version}": section}))
    folder = str(wire.directory)
    env = {"KEA_PIDFILE_DIR": folder, "KEA_LOCKFILE_DIR": folder, "KEA_LOGGER_DESTINATION": "stdout"}
    server = wire.server.start([f"kea-dhcp{version}", "-c", str(configuration)], env=env)
    _ready(server, f"DHCP{version}_STARTED")
    return server


def isc(wire: Wire, leases: Path, *, lifetime: int, version: int = 4) -> Process:
    configuration = leases.with_suffix(".conf")
    if version == 4:
        subnet = f"subnet 198.51.100.0 netmask 255.255.255.0 {{ range {POOL4[0]} {POOL4[1]}; }}"
        times = f"default-lease-time {lifetime}; max-lease-time {lifetime}; min-lease-time {lifetime};"
        vendor = "set vendor-class-identifier = option vendor-class-identifier;"
    else:
        subnet = f"subnet6 fd00:51::/64 {{ range6 {POOL6[0]} {POOL6[1]}; }}"
        times, vendor = f"default-lease-time {lifetime}; preferred-lifetime {lifetime};", ""
    configuration.write_text(f"authoritative; ping-check false; {times}\n{vendor}\n{subnet}\n")
    leases.touch()
    for path in (leases.parent, leases):
        os.chown(path, 0, 0)
    command = f"dhcpd -{version} -f -d -cf {configuration} -lf {leases} -pf {leases.with_suffix('.pid')} eth0"
    server = wire.server.start([*shlex.split(command), "-user", "root", "-group", "root"])
    _ready(server, "Server starting service.")
    return server


def _ready(server: Process, word: str) -> None:
    eventually(lambda: word in server.output() or not server.running, within=20, what="the DHCP server")
    assert server.running, server.output()


@contextmanager
def raw(namespace: Namespace, rack: Rack, run_dir: Path) -> Iterator[RunningRaw]:
    """`netvane raw`, as unprivileged as in earnest, where an exporter with that run directory looks for it."""
    with running_raw(namespace, rack.directory, "--interface=eth0") as running:
        (run_dir / SOCKET_NAME).symlink_to(running.socket)
        yield running
