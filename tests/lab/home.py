"""A home and what lies beyond it, as network namespaces.

    mon, d1…dN ── sw ══ gw ── isp ── upstream ── net
    Netvane,    switch  router  the provider's     name server, web servers, anchors
    gadgets                     first two hops

Every line is a veth pair into a bridge in `sw`, where a port can be taken down: the machine at its other end then
loses its carrier, as if somebody had pulled the cable, and keeps its addresses.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import addresses as at
from tests.lab.cable import Cable
from tests.lab.certificate import Certificate
from tests.lab.faults import Faults
from tests.lab.netns import Namespace
from tests.lab.processes import PYTHON_ENV, Process
from tests.lab.rack import Rack
from tests.lab.remote import Remote
from tests.lab.wait import eventually

ROUTER_MAC = "c0:25:06:1a:2b:01"
MON_MAC = "b8:27:eb:0a:00:01"

ROUTER_SYSCTLS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    # Every probe and every trace gets its error message, however many there are.
    "net.ipv4.icmp_ratelimit": 0,
    "net.ipv6.icmp.ratelimit": 0,
}

MASQUERADE = """
table inet home {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    meta nfproto ipv4 oifname "wan" masquerade;
  }
}
"""

# Without a cache, so that a resolver which lies or dies is noticed at the next question.
DNSMASQ = f"""
interface=lan
bind-dynamic
pid-file=
no-resolv
no-hosts
server={at.RESOLVER4}
cache-size=0
domain=home.arpa
local=/home.arpa/
local=/100.51.198.in-addr.arpa/
local=/0.0.1.0.1.5.0.0.0.0.d.f.ip6.arpa/
dhcp-range={at.DHCP_POOL[0]},{at.DHCP_POOL[1]},1h
dhcp-option=option:router,{at.ROUTER4}
dhcp-authoritative
no-ping
log-dhcp
log-facility=-
user=root
"""
DNSMASQ_IPV6 = """
enable-ra
dhcp-range=::1000,::1fff,constructor:lan,slaac,64,1h
"""

# udhcpc's script, see udhcpc(8): told by $1 what happened.
UDHCPC_SCRIPT = """#!/bin/sh
case "$1" in
bound|renew)
  ip addr replace "$ip/$mask" dev "$interface"
  ip route replace default via "$router" dev "$interface"
  echo "has $ip"
  ;;
deconfig)
  ip addr flush dev "$interface" scope global
  ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Gadget:
    name: str
    mac: str
    address: str
    ns: Namespace


class Home:
    """``with Home(gadgets=3) as home: home.mon.run("ping -c 1 203.0.113.11")``.

    `lan_cable` and `wan_cable`: put a Cable between switch and router, between router and provider.
    `dhcp`: mon and the gadgets ask the router for their IPv4 addresses instead of having fixed ones; slower.
    `certificate`: the Internet speaks TLS with it: HTTPS on every address, DoT on its resolver's.
    """

    sw: Namespace
    gw: Namespace
    isp: Namespace
    upstream: Namespace
    net: Namespace
    mon: Namespace
    internet: Remote

    def __init__(
        self,
        *,
        gadgets: int = 2,
        ipv6: bool = True,
        lan_cable: bool = False,
        wan_cable: bool = False,
        dhcp: bool = False,
        certificate: Certificate | None = None,
    ) -> None:
        if gadgets > at.MOST_GADGETS:
            raise ValueError(f"at most {at.MOST_GADGETS} gadgets have an address")
        self.rack = Rack()
        self.gadgets: list[Gadget] = []
        self.fault = Faults(self)
        self._gadgets, self._ipv6, self._dhcp = gadgets, ipv6, dhcp
        self._certificate = certificate
        self._cabled = {"lan": lan_cable, "wan": wan_cable}
        self._cables: dict[str, Cable] = {}

    @property
    def lan_cable(self) -> Cable:
        return self._cables["lan"]

    @property
    def wan_cable(self) -> Cable:
        return self._cables["wan"]

    @property
    def leases(self) -> Path:
        """The router's lease file, dnsmasq's format."""
        return self.rack.directory / "dnsmasq.leases"

    def __enter__(self) -> Self:
        self.rack.__enter__()
        try:
            self._build()
        except BaseException:
            self.rack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at_: TracebackType | None
    ) -> None:
        self.rack.close()

    def lease(self, namespace: Namespace, *, hostname: str = "") -> Process:
        """A DHCP client on its eth0, which stays and renews; returns once it has its address."""
        script = self.rack.directory / "udhcpc.sh"
        script.write_text(UDHCPC_SCRIPT)
        script.chmod(0o755)
        command = f"busybox udhcpc -f -i eth0 -t 10 -T 1 -s {script}"
        client = namespace.start(command + (f" -F {hostname} -x hostname:{hostname}" if hostname else ""))
        eventually(lambda: "has " in client.output() or not client.running, what="a lease")
        if not client.running:
            raise RuntimeError(f"no lease for {namespace.name}: {client.output()}")
        return client

    def _build(self) -> None:
        names = [f"d{number}" for number in range(1, self._gadgets + 1)]
        made = self.rack.namespaces("sw", "gw", "isp", "upstream", "net", "mon", *names)
        self.sw, self.gw, self.isp, self.upstream, self.net, self.mon, *machines = made
        for number, (name, machine) in enumerate(zip(names, machines, strict=True)):
            mac = f"{at.MACS[number % len(at.MACS)]}:0a:01:{number:02x}"
            self.gadgets.append(Gadget(name, mac, f"198.51.100.{20 + number}", machine))

        self._set_sysctls()
        self._lay_lines()
        self._configure_path()
        self.internet = Remote(self._start_internet())
        dnsmasq = self._start_router()
        self._configure_lan()
        self.internet.ask()
        eventually(lambda: "started, version" in dnsmasq.output() or not dnsmasq.running, what="dnsmasq")
        if not dnsmasq.running:
            raise RuntimeError(f"dnsmasq: {dnsmasq.output()}")

    def _set_sysctls(self) -> None:
        self.sw.sysctl({"net.ipv6.conf.default.disable_ipv6": 1})
        for router in (self.gw, self.isp, self.upstream):
            router.sysctl(ROUTER_SYSCTLS)
        self.mon.sysctl({"net.ipv4.ping_group_range": "0 2147483647", "net.ipv6.conf.default.accept_ra": 0})
        for gadget in self.gadgets:
            gadget.ns.sysctl({"net.ipv6.conf.default.router_solicitation_delay": 0})

    def _lay_lines(self) -> None:
        ends = [
            ("lan", "mon", self.mon, "eth0", f"address {MON_MAC}"),
            ("lan-far" if self._cabled["lan"] else "lan", "gw-lan", self.gw, "lan", f"address {ROUTER_MAC}"),
            ("wan", "gw-wan", self.gw, "wan", ""),
            ("wan-far" if self._cabled["wan"] else "wan", "isp-wan", self.isp, "near", ""),
            ("up", "isp-up", self.isp, "far", ""),
            ("up", "upstream-up", self.upstream, "near", ""),
            ("core", "upstream-core", self.upstream, "far", ""),
            ("core", "net-core", self.net, "near", ""),
            *(("lan", gadget.name, gadget.ns, "eth0", f"address {gadget.mac}") for gadget in self.gadgets),
        ]
        lines = []
        for bridge in sorted({end[0] for end in ends}):
            lines += [f"link add br-{bridge} type bridge mcast_snooping 0", f"link set br-{bridge} up"]
        for bridge, port, machine, device, mac in ends:
            lines.append(f"link add {port} type veth peer name {device} {mac} netns {machine.name}")
            lines.append(f"link set {port} master br-{bridge} up")
        self.sw.ip(*lines)
        self._cables = {name: Cable(self.sw, name) for name, wanted in self._cabled.items() if wanted}

    def _configure_path(self) -> None:
        self.gw.ip(
            "link set lan addrgenmode none",
            f"addr add {at.ROUTER4}/24 dev lan",
            f"addr add {at.ROUTER_LINK_LOCAL}/64 dev lan",
            *([f"addr add {at.ROUTER6}/64 dev lan"] if self._ipv6 else []),
            "link set lan up",
            *_ends(("wan", at.WAN4[0], at.WAN6[0])),
            f"route add default via {at.WAN4[1]}",
            f"route add default via {at.WAN6[1]}",
        )
        # Without a carrier on the WAN side there is no route: the router says so at once.
        self.gw.sysctl({f"net.{ip}.conf.wan.ignore_routes_with_linkdown": 1 for ip in ("ipv4", "ipv6")})
        self.gw.nft(MASQUERADE)
        self.isp.ip(
            *_ends(("near", at.WAN4[1], at.WAN6[1]), ("far", at.UP4[0], at.UP6[0])),
            f"route add default via {at.UP4[1]}",
            f"route add default via {at.UP6[1]}",
            f"route add {at.LAN6} via {at.WAN6[0]}",
        )
        self.upstream.ip(
            *_ends(("near", at.UP4[1], at.UP6[1]), ("far", at.NET4[0], at.NET6[0])),
            f"route add default via {at.NET4[1]}",
            f"route add default via {at.NET6[1]}",
            f"route add {at.WAN4[0]}/32 via {at.UP4[0]}",
            f"route add {at.WAN6[0]}/128 via {at.UP6[0]}",
            f"route add {at.LAN6} via {at.UP6[0]}",
        )
        services = (*at.ANCHORS4, *at.ANCHORS6, at.RESOLVER4, at.RESOLVER6, at.SMTP4, at.SMTP6, at.CHECK4, at.CHECK6)
        self.net.ip(
            *_ends(("near", at.NET4[1], at.NET6[1])),
            *(f"addr add {address} dev lo" for address in services),
            f"route add local {at.SITES4} dev lo",
            f"route add local {at.SITES6} dev lo",
            f"route add default via {at.NET4[0]}",
            f"route add default via {at.NET6[0]}",
        )

    def _start_internet(self) -> Process:
        tls = self._certificate
        files = [] if tls is None else [str(tls.certificate), str(tls.key)]
        return self.net.start([sys.executable, "-m", "tests.lab.internet", *files], env=PYTHON_ENV, piped=True)

    def _start_router(self) -> Process:
        configuration = self.rack.directory / "dnsmasq.conf"
        configuration.write_text(f"{DNSMASQ}dhcp-leasefile={self.leases}\n{DNSMASQ_IPV6 if self._ipv6 else ''}")
        return self.gw.start(["dnsmasq", "--keep-in-foreground", f"--conf-file={configuration}"])

    def _configure_lan(self) -> None:
        for name, cable in self._cables.items():
            cable.plug(f"br-{name}", f"br-{name}-far")
        ipv6 = [f"addr add {at.MON6}/64 dev eth0", f"route add default via {at.ROUTER_LINK_LOCAL} dev eth0"]
        machines = [(self.mon, at.MON4, ipv6 if self._ipv6 else [])]
        machines += [(gadget.ns, gadget.address, []) for gadget in self.gadgets]
        for machine, address, more in machines:
            machine.use_resolvers(at.ROUTER4)
            fixed = [f"addr add {address}/24 dev eth0", f"route add default via {at.ROUTER4}"]
            machine.ip("link set eth0 up", *([] if self._dhcp else fixed), *more)
        if self._dhcp:
            for machine, *_ in machines:
                self.lease(machine)


def _ends(*lines: tuple[str, str, str]) -> list[str]:
    """The ends of point-to-point lines: device, IPv4 and IPv6 address."""
    commands = []
    for device, ipv4, ipv6 in lines:
        commands += [f"addr add {ipv4}/30 dev {device}", f"addr add {ipv6}/64 dev {device}", f"link set {device} up"]
    return commands
