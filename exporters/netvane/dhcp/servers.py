"""Which DHCP servers answer on the network, and which of them should not: the rules, without sockets and clocks."""

from collections.abc import Iterable
from typing import NamedTuple

from netvane.common.raw_messages import DhcpOffer

MAX_SERVERS = 32


class Server(NamedTuple):
    """What tells a server from others: the address it gives for itself, and the MAC address it sends from."""

    address: str
    mac: str


class Answer(NamedTuple):
    """What a server had to offer when it was last heard of; `heard` in Unix seconds."""

    offer: DhcpOffer
    heard: float


class Servers:
    """Servers heard of, and the ones that should be there.

    Where the owner names none, the first check in which a server answers learns: the one at the router's address, or
    the only one that answers. A server that answers from another MAC address than the learned one is another server.
    """

    def __init__(self, learned: Iterable[Server]) -> None:
        self.learned = set(learned)
        self.configured: frozenset[str] = frozenset()
        self.answers: dict[Server, Answer] = {}
        self._reported: set[Server] = set()

    def is_known(self, server: Server) -> bool:
        if self.configured:
            return server.address in self.configured or server.mac in self.configured
        return server in self.learned

    def checked(self, offers: Iterable[DhcpOffer], router: str | None, now: float) -> list[DhcpOffer]:
        """A check ended with these offers; gives back those of unknown servers that were not there before.

        An unknown server that did not answer this time is gone.
        """
        answers = {_server(offer): Answer(offer, now) for offer in offers}
        if not self.configured and not self.learned:
            at_router = {server for server in answers if server.address == router}
            self.learned = at_router or (set(answers) if len(answers) == 1 else set())
        self.answers = {server: answer for server, answer in self.answers.items() if self.is_known(server)} | answers
        self._reported &= set(answers)
        return self._news()

    def heard(self, offer: DhcpOffer, now: float) -> list[DhcpOffer]:
        """A server was overheard between two checks; as above, once there is something to compare it with."""
        if self.configured or self.learned:
            self.answers[_server(offer)] = Answer(offer, now)
        return self._news()

    def _news(self) -> list[DhcpOffer]:
        oldest_first = sorted(self.answers, key=lambda server: self.answers[server].heard)
        for server in oldest_first[: max(0, len(oldest_first) - MAX_SERVERS)]:
            del self.answers[server]
        unknown = {server for server in self.answers if not self.is_known(server)}
        news = sorted(unknown - self._reported)
        self._reported |= unknown
        return [self.answers[server].offer for server in news]


def _server(offer: DhcpOffer) -> Server:
    return Server(offer.server, offer.mac)
