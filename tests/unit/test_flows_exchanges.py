import socket

import dns.message
import dns.rcode
import dns.rrset
import numpy as np

from netvane.common.clock import NANOSECONDS
from netvane.flows.dns import decode
from netvane.flows.exchanges import MAX_QUESTION, MAX_WAITING, DnsExchange, DnsPacket, Exchanges, exchange_of
from netvane.flows.nameport import NameReader
from netvane.flows.payload import Payload
from tests import frames
from tests.batches import batch_of

LAMP, ROUTER = bytes.fromhex("001788000001"), bytes.fromhex("02000000000a")
CLIENT, OTHER_CLIENT = socket.inet_aton("198.51.100.7"), socket.inet_aton("198.51.100.8")
SERVER, OTHER_SERVER = socket.inet_aton("198.51.100.1"), socket.inet_aton("203.0.113.99")


def question(name: str = "example.org", identifier: int = 7) -> bytes:
    return dns.message.make_query(name, "A", id=identifier).to_wire()


def answer(asked: bytes, *addresses: str) -> bytes:
    made = dns.message.make_response(dns.message.from_wire(asked))
    if addresses:
        made.answer.append(dns.rrset.from_text(made.question[0].name, 60, "IN", "A", *addresses))
    return made.to_wire()


QUERY = question()
RESPONSE = answer(QUERY, "203.0.113.1")


def query(message: bytes = QUERY, ms: int = 0, *, port: int = 5000) -> DnsPacket:
    return DnsPacket(ms * 1_000_000, Payload(LAMP, ROUTER, 17, CLIENT, SERVER, port, 53, message), message)


def response(
    message: bytes = RESPONSE, ms: int = 0, *, port: int = 5000, client: bytes = CLIENT, server: bytes = SERVER
) -> DnsPacket:
    return DnsPacket(ms * 1_000_000, Payload(ROUTER, LAMP, 17, server, client, 53, port, message), message)


def exchange(exchanges: Exchanges, answered: DnsPacket) -> DnsExchange:
    found = exchange_of(decode(answered.message), exchanges.answer(answered), answered)
    assert found is not None
    return found


def test_a_query_and_its_response_are_one_exchange() -> None:
    exchanges = Exchanges()
    assert exchanges.ask(query(ms=1000)) is None
    found = exchange(exchanges, response(ms=1020))
    assert (found.ts, found.mac) == (1_000_000_000, "00:17:88:00:00:01")
    event = found.event
    assert (event.qname, event.qtype, event.rcode, event.answers) == ("example.org", "A", "NOERROR", ("203.0.113.1",))
    assert event.latency_seconds == 0.02
    assert (event.address, event.server_address, event.transport) == ("198.51.100.7", "198.51.100.1", "udp")
    assert exchanges.expire(10 * NANOSECONDS) == []


def test_a_query_sent_again_counts_from_the_first() -> None:
    exchanges = Exchanges()
    exchanges.ask(query())
    exchanges.ask(query(ms=1000))
    assert exchange(exchanges, response(ms=1500)).event.latency_seconds == 1.5


def test_a_response_that_does_not_fit_leaves_the_question_open() -> None:
    strays = [
        response(ms=5, port=5001),
        response(ms=5, server=OTHER_SERVER),
        response(ms=5, client=OTHER_CLIENT),
        response(answer(question(identifier=8)), ms=5),
        response(answer(question("example.net")), ms=5),
    ]
    for stray in strays:
        exchanges = Exchanges()
        exchanges.ask(query())
        event = exchange(exchanges, stray).event
        assert (event.latency_seconds, event.rcode) == (None, "NOERROR")
        assert exchanges.expire(6 * NANOSECONDS) == [query()]


def test_letter_case_does_not_matter() -> None:
    """Resolvers mix it, and servers do not all give it back (draft-vixie-dnsext-dns0x20)."""
    exchanges = Exchanges()
    exchanges.ask(query(question("eXaMple.ORG")))
    found = exchange(exchanges, response(ms=7))
    assert (found.event.qname, found.event.latency_seconds) == ("example.org", 0.007)


def test_a_question_without_an_answer_is_given_once_after_its_time() -> None:
    exchanges = Exchanges()
    exchanges.ask(query(ms=1000))
    assert exchanges.expire(6 * NANOSECONDS) == []
    (late,) = exchanges.expire(6 * NANOSECONDS + 1)
    assert exchanges.expire(60 * NANOSECONDS) == []
    found = exchange_of(decode(late.message), late, None)
    assert found is not None
    assert (found.ts, found.mac, found.event.rcode, found.event.answers) == (NANOSECONDS, "00:17:88:00:00:01", None, ())
    assert (found.event.address, found.event.server_address) == ("198.51.100.7", "198.51.100.1")


def test_a_clock_set_back_gives_no_negative_latency_and_no_question_for_ever() -> None:
    exchanges = Exchanges()
    exchanges.ask(query(ms=100_000))
    assert len(exchanges.expire(NANOSECONDS)) == 1
    exchanges.ask(query(ms=100_000))
    assert exchange(exchanges, response()).event.latency_seconds is None


def test_waiting_questions_are_bounded_and_none_is_lost() -> None:
    exchanges = Exchanges()
    out = [exchanges.ask(query(port=port)) for port in range(MAX_WAITING + 100)]
    assert [each and each.payload.source_port for each in out] == [None] * MAX_WAITING + list(range(100))
    assert len(exchanges.expire(60 * NANOSECONDS)) == MAX_WAITING


def test_of_a_long_query_only_the_question_is_kept() -> None:
    exchanges = Exchanges()
    name = ".".join(["a" * 63] * 3 + ["b" * 61])  # the longest there is
    exchanges.ask(query(question(name) + bytes(60_000)))
    (late,) = exchanges.expire(60 * NANOSECONDS)
    assert len(late.message) + len(late.payload.data) <= MAX_QUESTION
    found = exchange_of(decode(late.message), late, None)
    assert found is not None
    assert (found.event.qname, found.event.qtype, found.event.address) == (name, "A", "198.51.100.7")


def read(reader: NameReader, *messages: bytes, protocol: int = 17) -> list[DnsExchange]:
    """Messages of one packet each, queries from a gadget and the others to it."""
    sent = []
    for message in messages:
        there = message[4 if protocol == 6 else 2 :][:1] < b"\x80"
        ports = (5000, 53) if there else (53, 5000)
        segment = frames.udp(*ports, message) if protocol == 17 else frames.tcp(*ports, payload=message)
        addresses = (frames.LOCAL, frames.FAR) if there else (frames.FAR, frames.LOCAL)
        macs = (frames.GADGET, frames.ROUTER) if there else (frames.ROUTER, frames.GADGET)
        sent.append(frames.ethernet(frames.ipv4(segment, protocol, *addresses), 0x0800, *macs))
    return reader.read(batch_of([(frame, len(frame)) for frame in sent], np.arange(len(sent)) * 1_000_000))


def test_names_are_read_from_packets() -> None:
    reader = NameReader()
    (found,) = read(reader, QUERY, RESPONSE)
    assert (found.mac, found.event.qname, found.event.latency_seconds) == (frames.GADGET.hex(":"), "example.org", 0.001)
    assert reader.memory.name_of(frames.GADGET.hex(":"), "203.0.113.1", 2_000_000) == "example.org"
    assert (reader.counts.messages, reader.counts.undecodable) == (2, 0)


def test_several_messages_in_one_tcp_segment() -> None:
    other = question("example.net", 8)
    both = b"".join(len(message).to_bytes(2) + message for message in (QUERY, other))
    reader = NameReader()
    assert read(reader, both, protocol=6) == []
    answers = [answer(QUERY, "203.0.113.1"), answer(other, "203.0.113.2")]
    back = b"".join(len(message).to_bytes(2) + message for message in answers)
    found = read(reader, back, protocol=6)
    assert [(each.event.qname, each.event.transport) for each in found] == [
        ("example.org", "tcp"),
        ("example.net", "tcp"),
    ]


def test_what_cannot_be_decoded_is_counted() -> None:
    """A query when it is given up, a response at once; a question that it names none of stays open."""
    reader = NameReader()
    loop = QUERY[:12] + b"\xc0\x0c\0\x01\0\x01"
    empty = QUERY[:4] + bytes(8)
    assert read(reader, loop, empty, RESPONSE[:12] + b"\xc0\x0c", b"\0\x07", RESPONSE[:4] + bytes(8)) == []
    assert (reader.counts.messages, reader.counts.undecodable) == (5, 2)
    assert reader.expire(60 * NANOSECONDS) == []
    assert reader.counts.undecodable == 3
