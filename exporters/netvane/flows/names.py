"""What devices asked the DNS: questions matched with their answers, and the names behind the addresses they use."""

from typing import Literal

import msgspec

from netvane.common.clock import NANOSECONDS
from netvane.common.event_schema import Dns
from netvane.flows.dns import Answer, DnsMessage

MAX_WAITING = 4096
TIMEOUT_NS = 5 * NANOSECONDS  # resolvers give up by then (resolv.conf(5): 5 s)

MAX_NAMES = 16_384
MAX_NAMES_OF_DEVICE = 1_024
# Programs keep an address long after its TTL, which is a minute where a load balancer answers.
MIN_HOLD_NS = 3_600 * NANOSECONDS
MAX_HOLD_NS = 24 * 3_600 * NANOSECONDS

Transport = Literal["udp", "tcp"]

_ADDRESS_TYPES, _SERVICE_TYPES = frozenset({"A", "AAAA"}), frozenset({"HTTPS", "SVCB"})


class DnsPacket(msgspec.Struct, frozen=True, gc=False):
    """A DNS message as it was seen; `mac`, `client` and `port` are of the device that asks, in a response too.

    `ts` is the time of capture as Unix time in ns.
    """

    ts: int
    mac: str
    client: str
    port: int
    server: str
    transport: Transport
    message: DnsMessage


class DnsExchange(msgspec.Struct, frozen=True):
    """A question of a device, with its answer if there was one: what becomes an event. `ts` is that of the question."""

    ts: int
    mac: str
    event: Dns


_Key = tuple[str, int, str, int, str, str]  # client, its port, server, id, name, type


class Exchanges:
    """Matches responses with queries, and gives up on queries that stay without.

    A query sent again (same id, same port) is the same question: its latency counts from the first. A response whose
    query was not seen is an exchange without a latency. At most MAX_WAITING queries wait; the oldest goes first.
    """

    def __init__(self) -> None:
        self._waiting: dict[_Key, DnsPacket] = {}

    def feed(self, packet: DnsPacket) -> DnsExchange | None:
        """Take one message; gives the exchange that it ends, or that it pushes out. Nothing has no question."""
        message = packet.message
        if message.name is None or message.type is None:
            return None
        key = (packet.client, packet.port, packet.server, message.id, message.name, message.type)
        if message.response:
            return _exchange(packet, self._waiting.pop(key, None))
        if key in self._waiting:
            return None
        pushed_out = None
        if len(self._waiting) >= MAX_WAITING:
            pushed_out = _exchange(None, self._waiting.pop(next(iter(self._waiting))))
        self._waiting[key] = packet
        return pushed_out

    def expire(self, now: int) -> list[DnsExchange]:
        """The questions that stayed without an answer, once each; `now` is Unix time in ns."""
        # Whoever sets the clock back must not make questions wait for ever.
        late = [key for key, query in self._waiting.items() if abs(now - query.ts) > TIMEOUT_NS]
        return [_exchange(None, self._waiting.pop(key)) for key in late]


def _exchange(response: DnsPacket | None, query: DnsPacket | None) -> DnsExchange:
    packet = query or response
    if packet is None:
        raise ValueError("neither a query nor a response")
    latency = None
    if query is not None and response is not None and response.ts >= query.ts:
        latency = (response.ts - query.ts) / NANOSECONDS
    event = Dns(
        qname=packet.message.name or "",
        qtype=packet.message.type or "",
        rcode=response.message.rcode if response else None,
        answers=tuple(answer.text for answer in response.message.answers) if response else (),
        latency_seconds=latency,
        address=packet.client,
        server_address=packet.server,
        transport=packet.transport,
    )
    return DnsExchange(packet.ts, packet.mac, event)


class _Name(msgspec.Struct, frozen=True, gc=False):
    name: str
    expires: int


class NameMemory:
    """For each device, the name that it asked for before it used an address.

    The same address has other names for other devices, as many servers share one. The latest name counts. Bounded per
    device and in all: at the bound the oldest name goes, of that device or of the one that has long learned none.
    """

    def __init__(self) -> None:
        # Those that learned a name last come last.
        self._devices: dict[str, dict[str, _Name]] = {}
        self._size = 0

    def learn_answers(self, mac: str, name: str, answers: tuple[Answer, ...], now: int) -> None:
        """Remember the addresses in a response to `mac` under the name that was asked for, not that of a CNAME."""
        found = _addresses(answers)
        if found:
            self._learn(mac, name, found, now)

    def learn(self, mac: str, address: str, name: str, now: int, ttl: int = 0) -> None:
        """Remember one name, as from a TLS hello; `now` in ns, `ttl` in seconds."""
        self._learn(mac, name, [(address, ttl)], now)

    def _learn(self, mac: str, name: str, addresses: list[tuple[str, int]], now: int) -> None:
        """`addresses` with the TTL of each in seconds."""
        names = self._devices.pop(mac, {})
        for address, ttl in addresses:
            if names.pop(address, None) is not None:
                self._size -= 1
            if len(names) >= MAX_NAMES_OF_DEVICE:
                del names[next(iter(names))]
                self._size -= 1
            elif self._size >= MAX_NAMES:
                self._drop_one()
            hold = min(max(ttl * NANOSECONDS, MIN_HOLD_NS), MAX_HOLD_NS)
            names[address] = _Name(name, now + hold)
            self._size += 1
        self._devices[mac] = names

    def name_of(self, mac: str, address: str, now: int) -> str | None:
        """The name that `mac` asked for to get `address`; None if it is not known, or was too long ago."""
        known = self._devices.get(mac, {}).get(address)
        return known.name if known is not None and known.expires >= now else None

    def expire(self, now: int) -> None:
        """Forget what is out of date; for a call every few minutes."""
        for mac in list(self._devices):
            names = {address: name for address, name in self._devices[mac].items() if name.expires >= now}
            self._size -= len(self._devices[mac]) - len(names)
            if names:
                self._devices[mac] = names
            else:
                del self._devices[mac]

    def __len__(self) -> int:
        return self._size

    def _drop_one(self) -> None:
        mac, names = next(iter(self._devices.items()))
        del names[next(iter(names))]
        self._size -= 1
        if not names:
            del self._devices[mac]


def _addresses(answers: tuple[Answer, ...]) -> list[tuple[str, int]]:
    """The addresses in a response with their TTL in seconds; those in HTTPS records are used as they are (RFC 9460)."""
    found: list[tuple[str, int]] = []
    for answer in answers:
        if answer.type in _ADDRESS_TYPES:
            found.append((answer.text, answer.ttl))
        elif answer.type in _SERVICE_TYPES:
            for word in answer.text.split(" "):
                key, _, hints = word.partition("=")
                if key in {"ipv4hint", "ipv6hint"}:
                    found += [(address, answer.ttl) for address in hints.split(",") if address]
    return found
