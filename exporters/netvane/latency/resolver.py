"""Names of targets into addresses, again and again: a name that cannot be resolved keeps its last address."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from netvane.common.log import get_logger

log = get_logger("latency.resolver")

LIFETIME_SECONDS = 5.0
MIN_SECONDS, MAX_SECONDS = 30.0, 3600.0  # an answer's TTL is kept within these
RETRY_SECONDS = (2.0, 5.0, 10.0, 30.0, 60.0)  # after the first, second … failure in a row


class Resolution:
    """One name asked for until `close`: `found(address)` is called for each answer, `failed(reason)` else."""

    def __init__(
        self,
        host: str,
        family: int,
        resolvers: tuple[str, ...],
        found: Callable[[str], None],
        failed: Callable[[str], None],
    ) -> None:
        self._host = host
        self._kind = dns.rdatatype.A if family == 4 else dns.rdatatype.AAAA
        self._resolvers = resolvers
        self._found = found
        self._failed = failed
        self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                address, pause = await self._ask()
            except (dns.exception.DNSException, OSError, ValueError) as error:
                # ValueError: a name that passes for one but that DNS cannot carry
                self._failed(reason_of(error))
                pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                log.log(_level(failures), "name not resolved", host=self._host, error=error, retry_seconds=pause)
                failures += 1
            else:
                failures = 0
                self._found(address)
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - no secret, only not all at once

    async def _ask(self) -> tuple[str, float]:
        """An address and the seconds until it is to be asked for again."""
        # Made anew each time: /etc/resolv.conf changes when the network does.
        resolver = dns.asyncresolver.Resolver(configure=not self._resolvers)
        if self._resolvers:
            resolver.nameservers = list(self._resolvers)
        asked: Coroutine[Any, Any, dns.resolver.Answer] = resolver.resolve(
            self._host, self._kind, lifetime=LIFETIME_SECONDS
        )
        answer = await asked
        # The smallest, so that an answer in another order is not another address.
        address = min(record.address for record in answer)
        ttl = answer.rrset.ttl if answer.rrset is not None else MIN_SECONDS
        return address, min(max(float(ttl), MIN_SECONDS), MAX_SECONDS)


def reason_of(error: Exception) -> str:
    """A short word for a label: nxdomain, no_address, timeout, no_resolver, dns_error."""
    if isinstance(error, dns.resolver.NXDOMAIN):
        return "nxdomain"
    if isinstance(error, dns.resolver.NoAnswer):
        return "no_address"
    if isinstance(error, dns.exception.Timeout):
        return "timeout"
    if isinstance(error, dns.resolver.NoResolverConfiguration):
        return "no_resolver"
    return "dns_error"


def _level(failures: int) -> int:
    """The first failure of a row is worth a warning, the rest are not."""
    return 30 if failures == 0 else 10
