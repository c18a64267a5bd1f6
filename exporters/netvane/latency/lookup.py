"""Addresses of web sites, asked for when they are needed; one outlives its TTL while no other is known.

As RFC 8767 (section 5) has it for resolvers: who has an old address takes it when no answer has come for a moment, and
the question goes on. Other than there also after an answer without an address: a resolver that lies says nothing of
the site. A line that has just been cut is then known by connections that fail, seconds before the last
question for a name does.
"""

import asyncio
import contextlib
import time

import dns.exception
import dns.resolver

from netvane.latency.resolver import Found, lookup

PATIENCE_SECONDS = 1.8  # RFC 8767, section 5: the client response timer


class Lookup:
    """`resolvers` empty: those of /etc/resolv.conf at the time of each question. What `before` knew is known, but old:
    other resolvers may know better.
    """

    def __init__(self, resolvers: tuple[str, ...], before: "Lookup | None" = None) -> None:
        self._resolvers = resolvers
        known = before.known if before else {}
        self.known: dict[str, tuple[str, float]] = {name: (address, 0.0) for name, (address, _) in known.items()}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def close(self) -> None:
        for task in self._asking.values():
            task.cancel()

    async def address(self, name: str) -> str | None:
        """An IPv4 address of `name`, else an IPv6 one; None where it has none that anybody knows of."""
        address, until = self.known.get(name, (None, 0.0))
        if time.monotonic() < until:
            return address
        if name not in self._asking:
            asking = self._asking[name] = asyncio.create_task(self._learn(name))
            asking.add_done_callback(lambda _: self._asking.pop(name))
        with contextlib.suppress(TimeoutError):
            patience = None if address is None else PATIENCE_SECONDS
            await asyncio.wait_for(asyncio.shield(self._asking[name]), patience)
        return self.known.get(name, (None, 0.0))[0]

    async def _learn(self, name: str) -> None:
        found = await self._ask(name)
        if found is not None:
            self.known[name] = (found.address, time.monotonic() + found.ttl_seconds)

    async def _ask(self, name: str) -> Found | None:
        for family in (4, 6):
            try:
                return await lookup(name, family, self._resolvers)
            except dns.resolver.NoAnswer:
                continue  # the name is there, only not with an address of this family
            except (dns.exception.DNSException, OSError, ValueError):
                return None
        return None
