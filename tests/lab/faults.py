"""What can go wrong in a home: each fault is cut and healed, or held for the length of a `with` block."""

import itertools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from tests.lab.addresses import ANCHORS4, ANCHORS6, ROUTER4, ROUTER6, SITES4, SITES6
from tests.lab.cable import Cable
from tests.lab.httpd import Httpd, QuietHandler

if TYPE_CHECKING:
    from types import TracebackType

    from tests.lab.home import Gadget, Home
    from tests.lab.internet import DnsMode
    from tests.lab.netns import Namespace

PORTAL_PORT = 8080

# Pieces of nft(8) rules. The priority is before a home's own chains and, for nat, at dstnat.
INPUT = "filter hook input"
FORWARD = "filter hook forward"
CHAIN_PRIORITY = -100
DNS = "meta l4proto { tcp, udp } th"

_tables = itertools.count(1)


class Fault:
    """One way to break something, and back.

    `began_ns` and `ended_ns` are the truth to hold records against: wall clock, nanoseconds, taken just before the
    break and just after the repair; None before that. On a busy machine either takes a while: by `broken_ns` it was
    broken, and from `mending_ns` on it may have been whole.
    """

    def __init__(self, name: str, break_it: Callable[[], object], repair: Callable[[], object]) -> None:
        self.name = name
        self._break_it, self._repair = break_it, repair
        self.active = False
        self.began_ns: int | None = None
        self.broken_ns: int | None = None
        self.mending_ns: int | None = None
        self.ended_ns: int | None = None

    def __repr__(self) -> str:
        return f"Fault({self.name!r})"

    def cut(self) -> Self:
        if not self.active:
            self.began_ns, self.ended_ns = time.time_ns(), None
            self.active = True
            self._break_it()
            self.broken_ns = time.time_ns()
        return self

    def heal(self) -> None:
        if self.active:
            self.mending_ns = time.time_ns()
            self._repair()
            self.active = False
            self.ended_ns = time.time_ns()

    def __enter__(self) -> Self:
        return self.cut()

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, at: "TracebackType | None"
    ) -> None:
        self.heal()


class Faults:
    """The faults of one home: ``with home.fault.router_unplugged(): …``."""

    def __init__(self, home: "Home") -> None:
        self._home = home

    # Cables and ports

    def own_link_down(self) -> Fault:
        """Netvane's own cable is out: no carrier."""
        return self._ports_down("own link down", "mon")

    def router_unplugged(self) -> Fault:
        """The router's LAN cable is out; everybody else's is in."""
        return self._ports_down("router unplugged", "gw-lan")

    def gadget_unplugged(self, gadget: "Gadget") -> Fault:
        return self._ports_down(f"{gadget.name} unplugged", gadget.name)

    def wan_cut(self) -> Fault:
        """The router sees that its WAN cable is out and says "network unreachable" to whoever asks."""
        return self._ports_down("WAN cut", "gw-wan", "isp-wan")

    def isp_dead(self) -> Fault:
        """The first hop of the provider is gone; the router's WAN cable leads to a modem and has a carrier."""
        return self._ports_down("first provider hop dead", "isp-wan", "isp-up")

    def upstream_cut(self) -> Fault:
        """Behind the first hop, which lives, nothing goes on."""
        return self._ports_down("upstream cut", "upstream-up")

    def _ports_down(self, name: str, *ports: str) -> Fault:
        def switch(state: str) -> Callable[[], None]:
            return lambda: self._home.sw.ip(*(f"link set {port} {state}" for port in ports))

        return Fault(name, switch("down"), switch("up"))

    # Lines that got worse; the home needs the cable for it

    def lan_worse(self, *, delay: float = 0.0, jitter: float = 0.0, loss: float = 0.0) -> Fault:
        """Between the switch and the router; seconds each way, loss on the way out."""
        return self._line("LAN worse", self._home.lan_cable, delay, jitter, loss)

    def wan_worse(self, *, delay: float = 0.0, jitter: float = 0.0, loss: float = 0.0) -> Fault:
        """Between the router and the provider; seconds each way, loss on the way out."""
        return self._line("WAN worse", self._home.wan_cable, delay, jitter, loss)

    def _line(self, name: str, cable: Cable, delay: float, jitter: float, loss: float) -> Fault:
        name = f"{name}: {delay * 1000:g} ms ± {jitter * 1000:g} ms each way, {loss:.0%} loss"
        return Fault(name, lambda: cable.set(delay=delay, jitter=jitter, loss=loss), cable.set)

    # Filters

    def router_mute(self) -> Fault:
        """Forwards, but answers no ping and reports no exceeded time."""
        return self._mute("router mute to ping", self._home.gw)

    def isp_mute(self) -> Fault:
        return self._mute("provider hop mute", self._home.isp)

    def _mute(self, name: str, namespace: "Namespace") -> Fault:
        return _filter(
            name,
            namespace,
            (INPUT, ["icmp type echo-request drop", "icmpv6 type echo-request drop"]),
            ("filter hook output", ["icmp type time-exceeded drop", "icmpv6 type time-exceeded drop"]),
        )

    def ipv6_black_hole(self) -> Fault:
        """The provider loses all IPv6, without a word; addresses and routes at home stay."""
        return _filter("IPv6 black hole", self._home.isp, (FORWARD, ["meta nfproto ipv6 drop"]))

    def sites_refuse_tcp(self) -> Fault:
        rules = [f"ip daddr {SITES4} meta l4proto tcp reject with tcp reset"]
        rules += [f"ip6 daddr {SITES6} meta l4proto tcp reject with tcp reset"]
        return _filter("sites refuse TCP", self._home.net, (INPUT, rules))

    def anchor_dead(self, index: int = 0) -> Fault:
        rules = [f"ip daddr {ANCHORS4[index]} drop", f"ip6 daddr {ANCHORS6[index]} drop"]
        return _filter(f"anchor {ANCHORS4[index]} dead", self._home.net, (INPUT, rules))

    def router_resolver_dead(self) -> Fault:
        """The router's own resolver answers nobody on the LAN any more."""
        rules = [f"ip daddr {ROUTER4} {DNS} dport 53 drop"]
        rules += [f"ip6 daddr {ROUTER6} {DNS} dport 53 drop"]
        return _filter("router's resolver dead", self._home.gw, (INPUT, rules))

    # Services that lie

    def resolver(self, mode: "DnsMode") -> Fault:
        """The provider's resolver, which the router asks for everybody, is `mute`, `nxdomain`, `wrong`, `slow` …"""
        ask = self._home.internet.ask
        return Fault(f"resolver: {mode}", lambda: ask(dns=mode), lambda: ask(dns="ok"))

    def captive_portal(self) -> Fault:
        """The provider sends every HTTP request to its log-in page, lets DNS through and drops the rest."""
        isp = self._home.isp
        portal: list[Httpd] = []
        rules = _filter(
            "captive portal",
            isp,
            (FORWARD, [f"{DNS} dport 53 accept", f"{DNS} sport 53 accept", "drop"]),
            ("nat hook prerouting", [f"meta nfproto ipv4 tcp dport 80 redirect to :{PORTAL_PORT}"]),
        )

        def open_portal() -> None:
            portal.append(Httpd(isp.listen("0.0.0.0", PORTAL_PORT), _Portal).__enter__())
            rules.cut()

        def close_portal() -> None:
            rules.heal()
            portal.pop().close()

        return Fault("captive portal", open_portal, close_portal)

    # In time

    def flapping(self, fault: Fault, *, broken: float, whole: float) -> Fault:
        """`fault` again and again: that many seconds broken, then that many whole, beginning with a break."""
        stop = threading.Event()

        def flap() -> None:
            while not stop.is_set():
                with fault:
                    stop.wait(broken)
                stop.wait(whole)

        thread = threading.Thread(target=flap, daemon=True)

        def settle() -> None:
            stop.set()
            thread.join()

        return Fault(f"flapping: {fault.name}", thread.start, settle)


class _Portal(QuietHandler):
    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        self.send_response(302)
        self.send_header("Location", "http://portal.example/login")
        self.send_header("Content-Length", "0")
        self.end_headers()


def _filter(name: str, namespace: "Namespace", *chains: tuple[str, list[str]]) -> Fault:
    """An nft table of its own, with a chain per pair of type (`filter hook input`) and rules."""
    table = f"inet fault{next(_tables)}"
    lines = [f"table {table} {{"]
    for number, (kind, rules) in enumerate(chains):
        lines += [f"chain chain{number} {{", f"type {kind} priority {CHAIN_PRIORITY};", *rules, "}"]
    ruleset = "\n".join([*lines, "}"])
    return Fault(name, lambda: namespace.nft(ruleset), lambda: namespace.nft(f"delete table {table}"))
