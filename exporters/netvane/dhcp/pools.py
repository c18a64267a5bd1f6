"""Pools of addresses: how many there are to give away, from the servers' own configuration or the owner's.

Formats: dnsmasq(8), --dhcp-range; Kea's documentation, "Configuration of IPv4 Address Pools" (JSON
with comments).
"""

import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

MAX_POOLS = 100

_COMMENT_OR_STRING = re.compile(r'("(?:[^"\\]|\\.)*")|#[^\n]*|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[\]}])')


class Pool(NamedTuple):
    """Addresses from `first` to `last`, as numbers, of IP `version`."""

    version: int
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    @property
    def name(self) -> str:
        kind = ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address
        return f"{kind(self.first)}-{kind(self.last)}"


def parse_pool(text: str) -> Pool:
    """``198.51.100.100-198.51.100.199`` (with or without blanks) or ``198.51.100.128/25``. Raises ValueError."""
    if "/" in text:
        network = ipaddress.ip_network(text.strip())
        return Pool(network.version, int(network.network_address), int(network.broadcast_address))
    low, _, high = text.partition("-")
    first, last = ipaddress.ip_address(low.strip()), ipaddress.ip_address(high.strip())
    if first.version != last.version or int(first) > int(last):
        raise ValueError(f"{text!r} is not a range of addresses")
    return Pool(first.version, int(first), int(last))


def from_configuration(text: str) -> tuple[Pool, ...]:
    """The pools in a configuration of dnsmasq or Kea; what is no pool there is passed over."""
    is_kea = text.lstrip().startswith(("{", "//", "/*")) or '"Dhcp' in text
    found = _from_kea(text) if is_kea else _from_dnsmasq(text)
    return tuple(dict.fromkeys(found))[:MAX_POOLS]


def used(pools: Iterable[Pool], addresses: Iterable[str]) -> dict[Pool, int]:
    """How many of `addresses` are in each pool."""
    counts = dict.fromkeys(pools, 0)
    if not counts:
        return counts
    for text in addresses:
        if "/" in text:
            continue
        version, family = (6, socket.AF_INET6) if ":" in text else (4, socket.AF_INET)
        number = int.from_bytes(socket.inet_pton(family, text), "big")
        for pool in counts:
            if pool.version == version and pool.first <= number <= pool.last:
                counts[pool] += 1
    return counts


def _from_dnsmasq(text: str) -> Iterator[Pool]:
    for line in text.splitlines():
        key, _, value = line.partition("#")[0].partition("=")
        if key.strip() != "dhcp-range":
            continue
        words = [word.strip() for word in value.split(",")]
        words = [word for word in words if not word.startswith(("tag:", "set:", "interface:"))]
        # A range has two addresses; one with `static`, `proxy` or `ra-only` instead gives none away, and the ends of
        # one that is made from an interface's prefix (``::1000``) are not known here.
        if len(words) > 1 and "constructor:" not in value:
            pool = _pool_or_none(f"{words[0]}-{words[1]}")
            if pool is not None:
                yield pool


def _from_kea(text: str) -> Iterator[Pool]:
    try:
        plain = _TRAILING_COMMA.sub(
            lambda found: found[1] or "", _COMMENT_OR_STRING.sub(lambda found: found[1] or " ", text)
        )
        configuration = json.loads(plain)
    except (ValueError, RecursionError):
        return
    yield from _pools_below(configuration)


def _pools_below(node: Any) -> Iterator[Pool]:
    """Every ``pools: [{pool: …}]`` in the tree: below subnets and below shared networks."""
    if isinstance(node, list):
        for item in node:
            yield from _pools_below(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "pools" and isinstance(value, list):
                texts = [item.get("pool") for item in value if isinstance(item, dict)]
                pools = [_pool_or_none(text) for text in texts if isinstance(text, str)]
                yield from (pool for pool in pools if pool is not None)
            else:
                yield from _pools_below(value)


def _pool_or_none(text: str) -> Pool | None:
    try:
        return parse_pool(text)
    except ValueError:
        return None
