import random

from netvane.common.clock import NANOSECONDS
from netvane.flows.dns import Answer
from netvane.flows.names import (
    MAX_HOLD_SECONDS,
    MAX_NAMES,
    MAX_NAMES_OF_DEVICE,
    MIN_HOLD_SECONDS,
    NameMemory,
)

LAMP, PHONE = "00:17:88:00:00:01", "f0:18:98:00:00:02"
MIN_HOLD_NS, MAX_HOLD_NS = MIN_HOLD_SECONDS * NANOSECONDS, MAX_HOLD_SECONDS * NANOSECONDS


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
