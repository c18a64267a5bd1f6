"""Scans: a device that tries many ports of one host, or many hosts, within a minute or two."""

from collections.abc import Iterator

from netvane.common.clock import NANOSECONDS
from netvane.flows.anomalies.limits import Limits
from netvane.flows.anomalies.records import Contact, Finding, Home, Tick, is_group

SPAN_NS = 60 * NANOSECONDS
MAX_SETS = 8_192
MAX_MEMBERS = 512  # of one set: more says nothing more
MAX_ALL = 20_000  # of all sets of a span

_TRACEROUTE = range(33434, 33535)  # UDP ports that traceroute(8) walks through

# A browser, or a phone with many apps, talks to many hosts on these.
_EVERYBODYS = frozenset({53, 80, 123, 443, 853})


class Distinct:
    """Which members each key had in this span and the one before: between one and two minutes."""

    def __init__(self) -> None:
        self._span = 0
        self._size = 0
        self._current: dict[tuple[str, str], set[str]] = {}
        self._previous: dict[tuple[str, str], set[str]] = {}

    def turn(self, now: int) -> None:
        span = now // SPAN_NS
        if span != self._span:
            self._previous = self._current if span == self._span + 1 else {}
            self._current = {}
            self._size = 0
            self._span = span

    def add(self, key: tuple[str, str], member: str) -> int:
        """How many members `key` has with this one."""
        members = self._current.get(key)
        if members is None:
            if len(self._current) >= MAX_SETS:
                return 0
            members = self._current[key] = set()
        if len(members) < MAX_MEMBERS and self._size < MAX_ALL and member not in members:
            members.add(member)
            self._size += 1
        return len(members | self._previous.get(key, set()))


class Scans:
    """Remembers what was tried lately."""

    def __init__(self) -> None:
        self._ports = Distinct()
        self._hosts = Distinct()

    def feed(self, tick: Tick, home: Home, limits: Limits) -> Iterator[Finding]:
        self._ports.turn(tick.now)
        self._hosts.turn(tick.now)
        found: dict[tuple[str, str, str], Finding] = {}  # the last of a tick has the highest count
        for contact in tick.contacts:
            if contact.mac in home.exempt or is_group(contact.peer_address):
                continue
            for finding in (self._port_scan(contact, limits), self._host_scan(contact, limits)):
                if finding is not None:
                    found[finding.kind, finding.mac, finding.subject] = finding
        yield from found.values()

    def _port_scan(self, contact: Contact, limits: Limits) -> Finding | None:
        if contact.peer_port is None or (contact.protocol == "udp" and contact.peer_port in _TRACEROUTE):
            return None
        tried = self._ports.add((contact.mac, contact.peer_address), f"{contact.protocol}/{contact.peer_port}")
        if tried < limits.scanned_ports:
            return None
        return Finding(
            kind="port_scan",
            mac=contact.mac,
            subject=contact.peer_address,
            evidence={"ports": tried, "limit_ports": limits.scanned_ports, "seconds": 2 * SPAN_NS // NANOSECONDS},
            detail=f"tries {tried} ports of {contact.peer_address}",
            address=contact.address,
            peer_address=contact.peer_address,
            packets=True,
        )

    def _host_scan(self, contact: Contact, limits: Limits) -> Finding | None:
        if contact.lan:
            subject, limit = "lan", limits.scanned_hosts
        elif contact.protocol == "tcp" and contact.peer_port not in _EVERYBODYS:
            # Programs that share files meet many hosts, but each at a port of its own.
            subject, limit = f"tcp/{contact.peer_port}", 2 * limits.scanned_hosts
        else:
            return None
        tried = self._hosts.add((contact.mac, subject), contact.peer_address)
        if tried < limit:
            return None
        where = "hosts of the network" if contact.lan else f"hosts at port {contact.peer_port}"
        return Finding(
            kind="host_scan",
            mac=contact.mac,
            subject=subject,
            evidence={"hosts": tried, "limit_hosts": limit, "seconds": 2 * SPAN_NS // NANOSECONDS},
            detail=f"tries {tried} {where}",
            address=contact.address,
            packets=True,
        )
