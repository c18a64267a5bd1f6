import random
from typing import Any

import msgspec

from netvane.common.clock import NANOSECONDS
from netvane.flows.dns import Answer, DnsMessage
from netvane.flows.names import (
    MAX_HOLD_NS,
    MAX_NAMES,
    MAX_NAMES_OF_DEVICE,
    MAX_WAITING,
    MIN_HOLD_NS,
    DnsPacket,
    Exchanges,
    NameMemory,
)

LAMP, PHONE = "00:17:88:00:00:01", "f0:18:98:00:00:02"
QUERY = DnsMessage(7, False, None, "example.org", "A", 1, (), True)
RESPONSE = DnsMessage(7, True, "NOERROR", "example.org", "A", 1, (Answer("A", "203.0.113.1", 60),), True)


def packet(message: DnsMessage, ms: int = 0, **changes: Any) -> DnsPacket:
    seen = DnsPacket(ms * 1_000_000, LAMP, "198.51.100.7", 5000, "198.51.100.1", "udp", message)
    return msgspec.structs.replace(seen, **changes)


def test_a_query_and_its_response_are_one_exchange() -> None:
    exchanges = Exchanges()
    assert exchanges.feed(packet(QUERY, 1000)) is None
    exchange = exchanges.feed(packet(RESPONSE, 1020))
    assert exchange is not None
    assert (exchange.ts, exchange.mac) == (1_000_000_000, LAMP)
    event = exchange.event
    assert (event.qname, event.qtype, event.rcode, event.answers) == ("example.org", "A", "NOERROR", ("203.0.113.1",))
    assert event.latency_seconds == 0.02
    assert (event.address, event.server_address, event.transport) == ("198.51.100.7", "198.51.100.1", "udp")
    assert exchanges.expire(10 * NANOSECONDS) == []


def test_a_query_sent_again_counts_from_the_first() -> None:
    exchanges = Exchanges()
    exchanges.feed(packet(QUERY, 0))
    exchanges.feed(packet(QUERY, 1000))
    exchange = exchanges.feed(packet(RESPONSE, 1500))
    assert exchange is not None
    assert exchange.event.latency_seconds == 1.5


def test_a_response_that_does_not_fit_leaves_the_question_open() -> None:
    for changes in ({"port": 5001}, {"server": "203.0.113.99"}, {"client": "198.51.100.8"}):
        exchanges = Exchanges()
        exchanges.feed(packet(QUERY))
        stray = exchanges.feed(packet(RESPONSE, 5, **changes))
        assert stray is not None
        assert stray.event.latency_seconds is None
        assert stray.event.rcode == "NOERROR"
        (unanswered,) = exchanges.expire(6 * NANOSECONDS)
        assert (unanswered.event.rcode, unanswered.event.answers) == (None, ())


def test_a_question_without_an_answer_is_given_once_after_its_time() -> None:
    exchanges = Exchanges()
    exchanges.feed(packet(QUERY, 1000))
    assert exchanges.expire(6 * NANOSECONDS) == []
    assert len(exchanges.expire(6 * NANOSECONDS + 1)) == 1
    assert exchanges.expire(60 * NANOSECONDS) == []


def test_a_clock_set_back_gives_no_negative_latency_and_no_question_for_ever() -> None:
    exchanges = Exchanges()
    exchanges.feed(packet(QUERY, 100_000))
    assert len(exchanges.expire(NANOSECONDS)) == 1
    exchanges.feed(packet(QUERY, 100_000))
    exchange = exchanges.feed(packet(RESPONSE, 0))
    assert exchange is not None
    assert exchange.event.latency_seconds is None


def test_waiting_questions_are_bounded_and_none_is_lost() -> None:
    exchanges = Exchanges()
    out = [exchanges.feed(packet(QUERY, port=port)) for port in range(MAX_WAITING + 100)]
    assert [exchange is not None for exchange in out] == [False] * MAX_WAITING + [True] * 100
    assert len(exchanges.expire(60 * NANOSECONDS)) == MAX_WAITING


def test_messages_without_a_question_are_no_exchange() -> None:
    assert Exchanges().feed(packet(msgspec.structs.replace(RESPONSE, name=None, type=None))) is None


def test_addresses_have_the_name_that_this_device_asked_for() -> None:
    memory = NameMemory()
    chain = (Answer("CNAME", "edge.example.net", 60), Answer("A", "203.0.113.1", 60), Answer("AAAA", "fd00::1", 60))
    memory.learn_answers(LAMP, "cloud.example.org", chain, 0)
    memory.learn(PHONE, "203.0.113.1", "shop.example.com", 0)
    assert memory.name_of(LAMP, "203.0.113.1", 1) == "cloud.example.org"
    assert memory.name_of(LAMP, "fd00::1", 1) == "cloud.example.org"
    assert memory.name_of(PHONE, "203.0.113.1", 1) == "shop.example.com"
    assert memory.name_of(PHONE, "fd00::1", 1) is None
    memory.learn(LAMP, "203.0.113.1", "other.example.org", 2)
    assert memory.name_of(LAMP, "203.0.113.1", 3) == "other.example.org"
    assert len(memory) == 3


def test_addresses_in_https_records_are_remembered() -> None:
    memory = NameMemory()
    text = "1 . alpn=h3 ipv4hint=203.0.113.1,203.0.113.2 ech ipv6hint=fd00::1"
    memory.learn_answers(LAMP, "example.org", (Answer("HTTPS", text, 60),), 0)
    assert {memory.name_of(LAMP, a, 0) for a in ("203.0.113.1", "203.0.113.2", "fd00::1")} == {"example.org"}


def test_a_name_is_kept_for_its_ttl_within_bounds() -> None:
    memory = NameMemory()
    for address, ttl in (("203.0.113.1", 1), ("203.0.113.2", 7200), ("203.0.113.3", 2**31)):
        memory.learn(LAMP, address, "x.example", 0, ttl)
    held = {"203.0.113.1": MIN_HOLD_NS, "203.0.113.2": 7200 * NANOSECONDS, "203.0.113.3": MAX_HOLD_NS}
    for address, hold in held.items():
        assert memory.name_of(LAMP, address, hold) == "x.example"
        assert memory.name_of(LAMP, address, hold + 1) is None
    memory.expire(MAX_HOLD_NS)
    assert len(memory) == 1
    memory.expire(MAX_HOLD_NS + 1)
    assert len(memory) == 0
    assert memory._devices == {}


def test_one_device_cannot_push_out_the_names_of_others_and_all_are_bounded() -> None:
    memory = NameMemory()
    memory.learn(LAMP, "203.0.113.1", "lamp.example", 0)
    for number in range(5 * MAX_NAMES_OF_DEVICE):
        memory.learn(PHONE, f"203.0.113.{number}", "x.example", 0)
    assert len(memory) == MAX_NAMES_OF_DEVICE + 1
    assert memory.name_of(LAMP, "203.0.113.1", 1) == "lamp.example"
    keys = random.Random(4)  # noqa: S311 - keys for a test
    for _ in range(4 * MAX_NAMES):
        memory.learn(f"mac {keys.randrange(3000)}", f"address {keys.randrange(100)}", "x.example", 0)
        assert len(memory) <= MAX_NAMES
    assert len(memory) == MAX_NAMES == sum(len(names) for names in memory._devices.values())
    assert memory.name_of(LAMP, "203.0.113.1", 1) in {"lamp.example", None}
