"""The rules of one path trace: which probe to send next, what an answer means, when it is over. No sockets, no clock.

Probes go out in rounds, one per hop each. As soon as something answers that ends the path, the destination or a router
that will not pass the probe on, no probe goes further than that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from netvane.common.raw_messages import Hop
from netvane.raw.icmp import EchoReply, Reply


class Probe(NamedTuple):
    """An echo request; its sequence number says which."""

    ttl: int
    round: int

    @property
    def sequence(self) -> int:
        return self.round << 8 | self.ttl


@dataclass(frozen=True, slots=True)
class _Answer:
    address: str
    rtt_seconds: float
    unreachable: str | None
    final: bool


class Path:
    """What is known of the way to `destination`, an address without zone.

    `identifier` (16 bits) and `token` mark our probes: nothing else counts as an answer.
    """

    def __init__(self, destination: str, identifier: int, token: bytes, *, max_ttl: int, probes: int) -> None:
        self._destination = destination
        self.identifier = identifier
        self._token = token
        self._rounds = probes
        self._end = max_ttl
        self._pending: dict[int, Probe] = {}
        self._all_sent = False
        self._answers: dict[int, list[_Answer]] = {}

    def probes(self) -> Iterator[Probe]:
        """What to send, in this order; shorter when the end of the path is found meanwhile."""
        for number in range(self._rounds):
            ttl = 1
            while ttl <= self._end:
                probe = Probe(ttl, number)
                self._pending[probe.sequence] = probe
                yield probe
                ttl += 1
        self._all_sent = True

    def payload(self, probe: Probe) -> bytes:
        """The token and what keeps the checksum the same in every probe.

        Routers that share load between lines look at it, and all probes must take the same way.
        """
        return self._token + (0xFFFF - probe.sequence).to_bytes(2, "big")

    def probe_of(self, reply: Reply, address: str) -> Probe | None:
        """Our probe that `reply`, come from `address`, is the first answer to; None for all else.

        What this machine's own kernel says when it cannot reach the next hop is no answer from the way.
        """
        probe = self._pending.get(reply.sequence)
        if probe is None or reply.identifier != self.identifier:
            return None
        if isinstance(reply, EchoReply):
            ours = address == self._destination and reply.payload == self.payload(probe)
        else:
            ours = reply.destination == self._destination and address != reply.source
        return probe if ours else None

    def answer(self, probe: Probe, reply: Reply, address: str, rtt_seconds: float) -> None:
        """Note the answer to a probe that `probe_of` found."""
        del self._pending[probe.sequence]
        unreachable = None if isinstance(reply, EchoReply) else reply.unreachable
        final = isinstance(reply, EchoReply) or unreachable is not None
        if final:
            self._end = min(self._end, probe.ttl)
        self._answers.setdefault(probe.ttl, []).append(_Answer(address, rtt_seconds, unreachable, final))

    @property
    def complete(self) -> bool:
        """Nothing more is to be sent or waited for."""
        return self._all_sent and all(probe.ttl > self._end for probe in self._pending.values())

    @property
    def reached(self) -> bool:
        return any(answer.final and answer.address == self._destination for answer in self._answers.get(self._end, ()))

    def hops(self) -> tuple[Hop, ...]:
        """Hops 1, 2, 3 … to the last that answered."""
        last = max((ttl for ttl in self._answers if ttl <= self._end), default=0)
        return tuple(self._hop(ttl) for ttl in range(1, last + 1))

    def _hop(self, ttl: int) -> Hop:
        answers = self._answers.get(ttl, [])
        # A path may change under a trace: what ended it counts before what was seen at the same distance.
        best = min(answers, key=lambda answer: (not answer.final, answer.rtt_seconds), default=None)
        return Hop(ttl) if best is None else Hop(ttl, best.address, best.rtt_seconds, best.unreachable)
