"""Names read from packets: DNS exchanges, and the servers that TLS and QUIC clients ask for.

A ClientHello that is too large for one segment goes on in one that no stateless filter can tell: it is looked for
among the frames that are counted, of which the first 400 bytes are there.
"""

from dataclasses import dataclass

import numpy as np

from netvane.common.clock import NANOSECONDS
from netvane.flows import dns
from netvane.flows import keys as k
from netvane.flows.batch import U64, Batch
from netvane.flows.decode import TCP, UDP
from netvane.flows.dns import DnsMessage
from netvane.flows.dnsdata import address_text
from netvane.flows.dnsnames import DnsError
from netvane.flows.exchanges import DnsExchange, DnsPacket, Exchanges, exchange_of
from netvane.flows.names import NameMemory
from netvane.flows.payload import Payload, mac_text, payload_of
from netvane.flows.quic import Initials
from netvane.flows.tls import Hello, Hellos, TlsError

DNS_PORT, TLS_PORT = 53, 443
_TLS_PORT_IN_KEY = np.uint64((TLS_PORT & 0xFF) << 8 | TLS_PORT >> 8)
WAIT_NS = 2 * NANOSECONDS
MAX_WAITING = 256

_Connection = tuple[bytes, bytes, int]  # client, server, client's port


@dataclass(slots=True)
class Counts:
    """Since the start."""

    messages: int = 0
    undecodable: int = 0
    hellos: int = 0


class NameReader:
    """Takes batches of the name socket; keeps what flows are named by."""

    def __init__(self) -> None:
        self.memory = NameMemory()
        self.counts = Counts()
        self._exchanges = Exchanges()
        self._hellos = Hellos()
        self._initials = Initials()
        self._waiting: dict[_Connection, int] = {}  # begun hellos, and since when

    def read(self, batch: Batch) -> list[DnsExchange]:
        """The exchanges that ended with a message in the batch."""
        found: list[DnsExchange] = []
        rows = np.arange(len(batch))
        for frame, wire, ts in zip(batch.frames_at(rows), batch.wire.tolist(), batch.ts.tolist(), strict=True):
            payload = payload_of(frame, wire)
            if payload is None or not payload.data:
                continue
            if DNS_PORT in (payload.source_port, payload.destination_port):
                self._dns(payload, ts, found)
            else:
                self._hello(frame, payload, ts)
        return found

    def read_rest(self, batch: Batch, last: U64) -> None:
        """Look for the rest of begun hellos in a batch that was counted; `last` is word 6 of its frames' keys."""
        if not self._waiting:
            return
        # The names of all the time that the batch spans were read before it.
        oldest, newest = int(batch.ts[0]) - WAIT_NS, int(batch.ts[-1]) + WAIT_NS
        self._waiting = {key: ts for key, ts in self._waiting.items() if oldest < ts < newest}
        ports = np.array([port for _, _, port in self._waiting], dtype=np.uint64)
        swapped = (ports & np.uint64(0xFF)) << np.uint64(8) | ports >> np.uint64(8)
        wanted = swapped | _TLS_PORT_IN_KEY << np.uint64(16) | np.uint64(TCP << k.PROTOCOL_SHIFT)
        rows = np.flatnonzero(np.isin(last & np.uint64((1 << k.FLAGS_SHIFT) - 1), wanted))
        for frame, wire, ts in zip(
            batch.frames_at(rows), batch.wire[rows].tolist(), batch.ts[rows].tolist(), strict=True
        ):
            payload = payload_of(frame, wire)
            if payload is None or not payload.data or _connection(payload) not in self._waiting:
                continue
            # Beginnings come whole through the name socket, and here cut short.
            if payload.data[:1] != b"\x16" or payload.data[5:6] != b"\x01":
                self._hello(frame, payload, ts)

    def expire(self, now: int) -> list[DnsExchange]:
        """The questions that stayed without an answer; for a call every few seconds."""
        found: list[DnsExchange] = []
        for query in self._exchanges.expire(now):
            self._unanswered(query, found)
        return found

    def _dns(self, payload: Payload, ts: int, found: list[DnsExchange]) -> None:
        for raw in (payload.data,) if payload.protocol == UDP else dns.tcp_messages(payload.data):
            self.counts.messages += 1
            packet = DnsPacket(ts, payload, raw)
            if dns.is_query(raw):
                pushed_out = self._exchanges.ask(packet)
                if pushed_out is not None:
                    self._unanswered(pushed_out, found)
                continue
            message = self._decode(raw)
            if message is None:
                continue
            exchange = exchange_of(message, self._exchanges.answer(packet), packet)
            if exchange is not None:
                found.append(exchange)
                if message.answers:
                    self.memory.learn_answers(exchange.mac, exchange.event.qname, message.answers, ts)

    def _unanswered(self, query: DnsPacket, found: list[DnsExchange]) -> None:
        message = self._decode(query.message)
        exchange = None if message is None else exchange_of(message, query, None)
        if exchange is not None:
            found.append(exchange)

    def _decode(self, raw: bytes) -> DnsMessage | None:
        try:
            return dns.decode(raw)
        except DnsError:
            self.counts.undecodable += 1
            return None

    def _hello(self, frame: bytes, payload: Payload, ts: int) -> None:
        connection = _connection(payload)
        hello: Hello | None = None
        if payload.protocol == UDP:
            hello = self._initials.feed(connection, payload.data, ts)
        else:
            try:
                hello = self._hellos.feed(connection, _sequence(frame), payload.data, ts)
            except TlsError:
                self.counts.undecodable += 1
                self._waiting.pop(connection, None)
                return
            if hello is None and len(self._waiting) < MAX_WAITING:
                self._waiting.setdefault(connection, ts)
        if hello is not None:
            self.counts.hellos += 1
            self._waiting.pop(connection, None)
            if hello.server_name:
                self.memory.learn(
                    mac_text(payload.source_mac), address_text(payload.destination), hello.server_name, ts
                )


def _connection(payload: Payload) -> _Connection:
    return payload.source, payload.destination, payload.source_port


def _sequence(frame: bytes) -> int:
    """The sequence number in a frame whose payload was found: four bytes behind the ports."""
    at = 18 if frame[12:14] == b"\x81\x00" else 14
    at += (frame[at] & 15) * 4 if frame[at] >> 4 == 4 else 40
    return int.from_bytes(frame[at + 4 : at + 8])
