"""DNS tunnels: data carried out in the names that are asked for, and in what is answered.

A tunnel asks for ever new names below one domain, long ones that look like noise. A program that makes up domains to
find its master gets no such name from most of them.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from netvane.common.clock import NANOSECONDS
from netvane.flows.anomalies.limits import Limits
from netvane.flows.anomalies.records import Finding, Home, Question, Tick
from netvane.flows.domains import beneath, is_listed, registrable_domain

SPAN_NS = 300 * NANOSECONDS
MAX_DOMAINS = 2_048
MAX_NAMES = 512  # of one domain: more says nothing more
MAX_ALL = 50_000  # of all domains in a span

MIN_LENGTH = 20  # mean characters in front of the domain
MIN_ENTROPY = 3.0  # mean bits per character of what stands there; words of a language have less in such a length
MIN_NXDOMAIN_SHARE = 0.5

_UNLISTED = "(no public suffix)"


class _Asked(msgspec.Struct):
    names: set[int] = set()  # their hashes; msgspec copies it for each
    characters: int = 0
    entropy: float = 0.0
    nxdomain: int = 0


@lru_cache(maxsize=4096)  # a home asks for the same names again and again
def entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    size = len(text)
    shares = [text.count(character) / size for character in set(text)]
    return -sum(share * math.log2(share) for share in shares)


class Tunnels:
    """Counts the different names that each device asks for, by domain, for five minutes at a time."""

    def __init__(self) -> None:
        self._span = 0
        self._size = 0
        self._domains: dict[tuple[str, str], _Asked] = {}
        self._devices: dict[str, _Asked] = {}

    def feed(self, tick: Tick, home: Home, limits: Limits) -> Iterator[Finding]:
        if tick.now // SPAN_NS != self._span:
            self._span = tick.now // SPAN_NS
            self._size = 0
            self._domains.clear()
            self._devices.clear()
        changed: dict[str, set[str]] = {}
        for question in tick.questions:
            # A resolver in the house asks for what its clients asked.
            if question.mac in home.exempt or question.address in home.resolvers or question.qname.endswith(".arpa"):
                continue
            # A tunnel to a server that is asked directly needs no name that exists.
            domain = registrable_domain(question.qname) if is_listed(question.qname) else _UNLISTED
            self._count(question, domain)
            changed.setdefault(question.mac, set()).add(domain or "")
        for mac, domains in changed.items():
            below = [finding for domain in domains if (finding := self._below(mac, domain, limits))]
            yield from below or self._nowhere(mac, limits)

    def _count(self, question: Question, domain: str | None) -> None:
        nxdomain = question.rcode == "NXDOMAIN"
        device = self._devices.get(question.mac)
        if device is None and len(self._devices) < MAX_DOMAINS:
            device = self._devices[question.mac] = _Asked()
        if device is not None and self._is_new(device, question.qname):
            device.nxdomain += nxdomain
        front = question.qname if domain == _UNLISTED else beneath(question.qname, domain or "")
        if not domain or not front:
            return
        asked = self._domains.get((question.mac, domain))
        if asked is None and len(self._domains) < MAX_DOMAINS:
            asked = self._domains[question.mac, domain] = _Asked()
        if asked is not None and self._is_new(asked, front):
            asked.characters += len(front)
            asked.entropy += entropy(front)
            asked.nxdomain += nxdomain

    def _is_new(self, asked: _Asked, name: str) -> bool:
        key = hash(name)
        if key in asked.names or len(asked.names) >= MAX_NAMES or self._size >= MAX_ALL:
            return False
        asked.names.add(key)
        self._size += 1
        return True

    def _below(self, mac: str, domain: str, limits: Limits) -> Finding | None:
        asked = self._domains.get((mac, domain))
        if asked is None or len(asked.names) < limits.tunnel_names:
            return None
        count = len(asked.names)
        length, bits = asked.characters / count, asked.entropy / count
        if length < MIN_LENGTH or bits < MIN_ENTROPY:
            return None
        return Finding(
            kind="dns_tunnel",
            mac=mac,
            subject=domain,
            evidence={
                "names": count,
                "limit_names": limits.tunnel_names,
                "mean_characters": round(length, 1),
                "mean_entropy_bits": round(bits, 2),
                "nxdomain_ratio": round(asked.nxdomain / count, 2),
            },
            detail=f"asks for {count} different names below {domain}, {length:.0f} characters long on average",
            peer_name=None if domain == _UNLISTED else domain,
        )

    def _nowhere(self, mac: str, limits: Limits) -> Iterator[Finding]:
        device = self._devices.get(mac)
        if device is None or device.nxdomain < limits.tunnel_names:
            return
        ratio = device.nxdomain / len(device.names)
        if ratio >= MIN_NXDOMAIN_SHARE:
            yield Finding(
                kind="dns_tunnel",
                mac=mac,
                subject="nxdomain",
                evidence={
                    "names": len(device.names),
                    "limit_names": limits.tunnel_names,
                    "nxdomain_ratio": round(ratio, 2),
                },
                detail=f"asks for {device.nxdomain} different names that do not exist",
            )
