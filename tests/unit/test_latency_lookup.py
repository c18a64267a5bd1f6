"""Addresses of web sites, from a resolver on loopback that answers, falls silent and answers late."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import dns.asyncresolver
import dns.message
import dns.rrset
import pytest

from netvane.latency import lookup, resolver
from netvane.latency.lookup import Lookup

LOCAL = "127.0.0.1"
OLD, NEW = "203.0.113.1", "203.0.113.2"
TTL_SECONDS = 0.05
PATIENCE_SECONDS = 0.2


class Server(asyncio.DatagramProtocol):
    """Answers each question with `address`; None: with nothing, until somebody calls `answer_all`."""

    address: str | None = OLD

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.waiting: list[tuple[dns.message.Message, Any]] = []
        self.questions: set[int] = set()  # by their ids, which a repeated one keeps
        self.asked = asyncio.Event()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = dns.message.from_wire(data)
        self.questions.add(question.id)
        self.asked.set()
        self.waiting.append((question, addr))
        if self.address is not None:
            self.answer_all(self.address)

    def answer_all(self, address: str) -> None:
        for query, addr in self.waiting:
            response = dns.message.make_response(query)
            response.answer.append(dns.rrset.from_text(query.question[0].name, 1, "IN", "A", address))
            self._transport.sendto(response.to_wire(), addr)
        self.waiting = []


def set_ttl(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """For all answers from now on."""
    monkeypatch.setattr(resolver, "MIN_SECONDS", seconds)
    monkeypatch.setattr(resolver, "MAX_SECONDS", seconds)


@asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, Lookup]]:
    """A resolver on a port that everybody may have, and who asks it."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Server, local_addr=(LOCAL, 0))

    class Elsewhere(dns.asyncresolver.Resolver):
        def reset(self) -> None:
            super().reset()
            self.port = transport.get_extra_info("sockname")[1]

    monkeypatch.setattr(dns.asyncresolver, "Resolver", Elsewhere)
    set_ttl(monkeypatch, TTL_SECONDS)
    monkeypatch.setattr(lookup, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    names = Lookup((LOCAL,))
    try:
        yield server, names
    finally:
        names.close()
        transport.close()


def run(check: Callable[[Server, Lookup], Coroutine[Any, Any, None]], monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve() -> None:
        async with serving(monkeypatch) as (server, names):
            await check(server, names)

    asyncio.run(serve())


def test_an_address_is_asked_for_once_within_its_ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(server: Server, names: Lookup) -> None:
        set_ttl(monkeypatch, 60.0)
        assert [await names.address("a.example") for _ in range(3)] == [OLD] * 3
        assert len(server.questions) == 1

    run(check, monkeypatch)


def test_while_nobody_answers_the_old_address_is_good_and_a_late_answer_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def check(server: Server, names: Lookup) -> None:
        assert await names.address("a.example") == OLD
        await asyncio.sleep(2 * TTL_SECONDS)
        server.address = None
        assert await asyncio.gather(*(names.address("a.example") for _ in range(3))) == [OLD] * 3
        assert len(server.questions) == 2  # one question for all of them
        set_ttl(monkeypatch, 60.0)
        server.answer_all(NEW)
        assert await names.address("a.example") == NEW
        assert await names.address("a.example") == NEW
        assert len(server.questions) == 2

    run(check, monkeypatch)


def test_a_name_that_nobody_knows_of_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(server: Server, names: Lookup) -> None:
        monkeypatch.setattr(resolver, "LIFETIME_SECONDS", 3 * PATIENCE_SECONDS)
        server.address = None
        assert await names.address("a.example") is None
        server.address = NEW
        assert await names.address("a.example") == NEW

    run(check, monkeypatch)


def test_what_was_known_is_known_to_who_asks_other_resolvers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(server: Server, names: Lookup) -> None:
        assert await names.address("a.example") == OLD
        server.address = None
        assert await Lookup((LOCAL,), names).address("a.example") == OLD

    run(check, monkeypatch)


def test_questions_that_are_out_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(server: Server, names: Lookup) -> None:
        server.address = None
        asking = asyncio.create_task(names.address("a.example"))
        await server.asked.wait()
        names.close()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert len(asyncio.all_tasks()) == 1

    run(check, monkeypatch)
