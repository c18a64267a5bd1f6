"""DNS questions and their answers, put together as events.

A question is matched with its answer by its bytes, and decoded only if none comes: the answer says it again.
"""

from collections.abc import Hashable
from typing import NamedTuple

import msgspec

from netvane.common.clock import NANOSECONDS
from netvane.common.event_schema import Dns
from netvane.flows.decode import UDP
from netvane.flows.dns import HEADER_BYTES, DnsMessage
from netvane.flows.dnsdata import address_text
from netvane.flows.dnsnames import MAX_NAME_BYTES
from netvane.flows.payload import Payload, mac_text

MAX_WAITING = 4096
MAX_QUESTION = HEADER_BYTES + MAX_NAME_BYTES + 4  # bytes: name, type and class behind the header
TIMEOUT_NS = 5 * NANOSECONDS  # resolvers give up by then (resolv.conf(5): 5 s)


class DnsPacket(NamedTuple):
    """A DNS message as it was seen, at `ts` (Unix ns); over TCP the packet may have more messages."""

    ts: int
    payload: Payload
    message: bytes


class DnsExchange(msgspec.Struct, frozen=True, gc=False):
    """A question of a device, with its answer if there was one: what becomes an event. `ts` is that of the question."""

    ts: int
    mac: str
    event: Dns


class Exchanges:
    """The questions that wait for their answers, at most MAX_WAITING; the oldest goes first.

    A question sent again (same id, same port) is the same: its latency counts from the first.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, DnsPacket] = {}

    def ask(self, query: DnsPacket) -> DnsPacket | None:
        """Take a question; gives the one that it pushes out."""
        payload = query.payload
        key = _key(payload.source, payload.source_port, payload.destination, query.message)
        if key in self._waiting:
            return None
        pushed_out = None
        if len(self._waiting) >= MAX_WAITING:
            pushed_out = self._waiting.pop(next(iter(self._waiting)))
        if len(payload.data) > MAX_QUESTION:  # nobody is to fill the memory with what is never read
            short = msgspec.structs.replace(payload, data=b"")
            query = DnsPacket(query.ts, short, query.message[:MAX_QUESTION])
        self._waiting[key] = query
        return pushed_out

    def answer(self, response: DnsPacket) -> DnsPacket | None:
        """The question that `response` answers; None if it was not seen. It waits no more."""
        payload = response.payload
        key = _key(payload.destination, payload.destination_port, payload.source, response.message)
        return self._waiting.pop(key, None)

    def expire(self, now: int) -> list[DnsPacket]:
        """The questions that stayed without an answer, once each; `now` is Unix time in ns."""
        # Whoever sets the clock back must not make questions wait for ever.
        late = [key for key, query in self._waiting.items() if abs(now - query.ts) > TIMEOUT_NS]
        return [self._waiting.pop(key) for key in late]


def _key(client: bytes, port: int, server: bytes, message: bytes) -> Hashable:
    """The same for a question and for its answer: id, name in any letter case, type and class."""
    end = message.find(0, HEADER_BYTES)
    return client, port, server, message[:2], message[HEADER_BYTES:end].lower(), message[end : end + 5]


def exchange_of(message: DnsMessage, query: DnsPacket | None, response: DnsPacket | None) -> DnsExchange | None:
    """`message`: the response decoded, or the query where none came. None where there is no question in it."""
    seen = response or query
    if seen is None or message.name is None or message.type is None:
        return None
    payload = seen.payload
    mac, client, server = payload.source_mac, payload.source, payload.destination
    if response is not None:
        mac, client, server = payload.destination_mac, server, client
    latency = None
    if response is not None and query is not None and response.ts >= query.ts:
        latency = (response.ts - query.ts) / NANOSECONDS
    event = Dns(
        qname=message.name,
        qtype=message.type,
        rcode=message.rcode,
        answers=tuple([answer.text for answer in message.answers]),
        latency_seconds=latency,
        address=address_text(client),
        server_address=address_text(server),
        transport="udp" if payload.protocol == UDP else "tcp",
    )
    return DnsExchange((query or seen).ts, mac_text(mac), event)
