"""Names of targets into addresses, again and again: a name that cannot be resolved keeps its last address."""

import asyncio
import random
from collections.abc import Callable
from typing import NamedTuple

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from netvane.common.log import get_logger

log = get_logger("latency.resolver")

LIFETIME_SECONDS = 5.0
MIN_SECONDS, MAX_SECONDS = 30.0, 3600.0  # an answer's TTL is kept within these
RETRY_SECONDS = (2.0, 5.0, 10.0, 30.0, 60.0)  # after the first, second … failure in a row


class Found(NamedTuple):
    """An address, and for how many seconds it is good."""

    address: str
    ttl_seconds: float


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
        self._family = family
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
                address, pause = await lookup(self._host, self._family, self._resolvers)
            except (dns.exception.DNSException, OSError, ValueError) as error:
                self._failed(reason_of(error))
                pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                log.log(_level(failures), "name not resolved", host=self._host, error=error, retry_seconds=pause)
                failures += 1
            else:
                failures = 0
                self._found(address)
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - no secret, only not all at once


async def lookup(host: str, family: int, resolvers: tuple[str, ...]) -> Found:
    """One question for `host`; `resolvers` empty: those of /etc/resolv.conf.

    Raises DNSException, OSError, or ValueError for a name that passes for one but that DNS cannot carry.
    """
    # Made anew each time: /etc/resolv.conf changes when the network does.
    resolver = dns.asyncresolver.Resolver(configure=not resolvers)
    if resolvers:
        resolver.nameservers = list(resolvers)
    kind = dns.rdatatype.A if family == 4 else dns.rdatatype.AAAA
    answer = await resolver.resolve(host, kind, lifetime=LIFETIME_SECONDS)
    # The smallest, so that an answer in another order is not another address.
    address = min(record.address for record in answer)
    ttl = float(answer.rrset.ttl) if answer.rrset is not None else MIN_SECONDS
    return Found(address, min(max(ttl, MIN_SECONDS), MAX_SECONDS))


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
