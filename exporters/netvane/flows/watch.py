"""What the rules of netvane.flows.anomalies are given: a tick every few seconds, from what engine and names saw."""

import numpy as np

from netvane.common.clock import NANOSECONDS
from netvane.flows import keys as k
from netvane.flows.anomalies.records import Contact, DeviceTick, Question, Tick
from netvane.flows.batch import U64
from netvane.flows.classnames import CLASSES
from netvane.flows.country import country_of
from netvane.flows.decode import TCP, UDP
from netvane.flows.engine import Begun, Engine
from netvane.flows.exchanges import DnsExchange
from netvane.flows.flowevents import ends_of, protocol_name, source_of
from netvane.flows.names import NameMemory
from netvane.flows.prefixes import DESTINATION, SOURCE
from netvane.flows.totals import RX, TX, WAN

MAX_ADDRESSES = 8  # of a device in one tick


class Ticker:
    """Remembers the totals of the last tick."""

    def __init__(self) -> None:
        self._classes = np.zeros((0, 2, len(CLASSES)), dtype=np.uint64)
        self._sent = np.zeros(0, dtype=np.uint64)
        self._last_ns = 0
        # Each once: what a device asks again and again says nothing more. A dict keeps the order.
        self._questions: dict[tuple[str, str, str | None, str | None], None] = {}

    def exchanges(self, found: list[DnsExchange]) -> None:
        asked = [(each.mac, each.event.qname, each.event.rcode, each.event.address) for each in found]
        self._questions.update(dict.fromkeys(asked))

    def tick(self, engine: Engine, names: NameMemory, now: int) -> Tick:
        """What happened since the last call; the engine is settled first."""
        engine.settle()
        begun = engine.take_begun()
        seconds = (now - self._last_ns) / NANOSECONDS if 0 < now - self._last_ns < 60 * NANOSECONDS else 1.0
        self._last_ns = now
        questions, self._questions = self._questions, {}
        return Tick(
            now=now,
            seconds=seconds,
            devices=self._devices(engine, _addresses(begun)),
            contacts=tuple(_contact(key, scope, names, now) for key, scope in zip(*_opening(begun), strict=True)),
            questions=tuple(
                Question(mac=mac, qname=qname, rcode=rcode, address=address) for mac, qname, rcode, address in questions
            ),
        )

    def _devices(self, engine: Engine, addresses: dict[str, list[str]]) -> tuple[DeviceTick, ...]:
        classes, sent = engine.totals.classes.copy(), engine.totals.bytes[:, TX, WAN].copy()
        new_classes, new_sent = classes.copy(), sent.copy()
        new_classes[: len(self._classes)] -= self._classes
        new_sent[: len(self._sent)] -= self._sent
        self._classes, self._sent = classes, sent
        active = set(np.flatnonzero(new_classes.any(axis=(1, 2))).tolist())
        return tuple(
            DeviceTick(
                mac=mac,
                tx=_counts(new_classes[number, TX]),
                rx=_counts(new_classes[number, RX]),
                wan_tx_bytes=int(new_sent[number]),
                addresses=tuple(addresses.get(mac, ())),
            )
            for mac, number in engine.devices.items()
            if number in active
        )


def _counts(row: U64) -> dict[str, int]:
    return {name: count for name, count in zip(CLASSES, row.tolist(), strict=True) if count}


def _addresses(begun: Begun) -> dict[str, list[str]]:
    """Source addresses of the conversations that began, by MAC."""
    found: dict[str, list[str]] = {}
    words = begun.keys[:, 1], begun.keys[:, 2], begun.keys[:, 3]  # MAC with the type, and the address
    for second, *address in dict.fromkeys(zip(*(word.tolist() for word in words), strict=True)):
        mac, text = source_of((0, second, *address))
        known = found.setdefault(mac, [])
        if len(known) < MAX_ADDRESSES:
            known.append(text)
    return found


def _opening(begun: Begun) -> tuple[list[list[int]], list[int]]:
    return begun.keys[begun.opening].tolist(), begun.scopes[begun.opening].tolist()


def _contact(key: list[int], scope: int, names: NameMemory, now: int) -> Contact:
    """The device is the local end; where both or none are, the one that began."""
    source, destination = (ends := ends_of(key))[:3], ends[3:]
    near, far = (destination, source) if scope == int(DESTINATION) else (source, destination)
    protocol = key[6] >> k.PROTOCOL_SHIFT & 0xFF
    lan = scope == int(SOURCE | DESTINATION)
    return Contact(
        mac=near[0],
        protocol=protocol_name(protocol),
        address=near[1],
        peer_address=far[1],
        peer_port=far[2] if protocol in {TCP, UDP} else None,
        peer_mac=far[0],
        peer_name=names.name_of(near[0], far[1], now),
        peer_country=None if lan else country_of(far[1]),
        lan=lan,
    )
