"""Addresses of web sites, asked for when they are needed; one outlives its TTL while nobody answers."""

import time

import dns.exception
import dns.resolver

from netvane.latency.resolver import Found, lookup


class Lookup:
    """`resolvers` empty: those of /etc/resolv.conf at the time of each question."""

    def __init__(self, resolvers: tuple[str, ...]) -> None:
        self._resolvers = resolvers
        self._known: dict[str, tuple[str, float]] = {}

    async def address(self, name: str) -> str | None:
        """An IPv4 address of `name`, else an IPv6 one; None where it has none that anybody knows of."""
        address, until = self._known.get(name, (None, 0.0))
        if time.monotonic() < until:
            return address
        found = await self._ask(name)
        if found is None:
            return address
        self._known[name] = (found.address, time.monotonic() + found.ttl_seconds)
        return found.address

    async def _ask(self, name: str) -> Found | None:
        for family in (4, 6):
            try:
                return await lookup(name, family, self._resolvers)
            except dns.resolver.NoAnswer:
                continue  # the name is there, only not with an address of this family
            except (dns.exception.DNSException, OSError, ValueError):
                return None
        return None
