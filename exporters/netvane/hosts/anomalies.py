"""Attacks on identities, from who claims which address: pure rules over a bounded memory of claims.

- duplicate_address: two MACs hold one address at the same time: both answer one sweep, or one claims it, then the
  other, then the first again. A lease that passes from one to another is a single change and no conflict.
- router_identity_changed: the router's address is claimed by another MAC than its own.
- many_addresses: one MAC claims more IPv4 addresses than any household device has.
- name_claimed and mac_flood are found elsewhere (netvane.hosts.identity, netvane.hosts.newcomers) and remembered here.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, get_args

from netvane.common.clock import NANOSECONDS
from netvane.hosts.evidence import CLAIMS, Evidence

Kind: TypeAlias = Literal["duplicate_address", "router_identity_changed", "many_addresses", "name_claimed", "mac_flood"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CONFLICT_NS = 120 * NANOSECONDS  # between claims that contradict each other
SAME_SWEEP_SECONDS = 5
MANY_ADDRESSES = 16
MANY_SECONDS = 600
ADOPT_SECONDS = 600  # of silence of the old router before the new one is taken for it
ACTIVE_SECONDS = 600  # an anomaly not seen again for so long is over
MAX_ADDRESSES = 4_096
MAX_CLAIMANTS = 8  # of one address
MAX_ACTIVE = 50


class Finding(NamedTuple):
    """`mac` is who is to be looked at, `peer` whose place it takes; `numbers` is the evidence."""

    anomaly: Kind
    mac: str | None
    peer: str | None
    address: str | None
    detail: str
    numbers: Mapping[str, float | None]


@dataclass(slots=True)
class _Claims:
    """Of one MAC on one address; Unix ns. `swept` is the last by an answer to a sweep, 0 for never."""

    first: int
    last: int
    swept: int = 0


@dataclass(slots=True)
class Router:
    """The router's MAC as it was first seen, or as it became when the first fell silent."""

    mac: str
    last: int
    rivals: dict[str, int] = field(default_factory=dict)  # MAC -> first claim since `mac` was last heard


class ClaimWatch:
    """Remembers who claimed which address, and says what is wrong with a new claim.

    `are_one(mac, mac)` says whether two MACs belong to one device; `own` are this machine's.
    """

    def __init__(self, are_one: Callable[[str, str], bool]) -> None:
        self._are_one = are_one
        self._claims: OrderedDict[str, dict[str, _Claims]] = OrderedDict()  # by address, the longest unheard of first
        self._addresses: OrderedDict[str, dict[str, int]] = OrderedDict()  # IPv4, by MAC
        self.routers: dict[str, Router] = {}  # by address
        self.own: frozenset[str] = frozenset()

    def remember(self, address: str, mac: str, first: int, last: int) -> None:
        """What the registry knows from before."""
        self._claimants(address).setdefault(mac, _Claims(first, last))

    def watch_routers(self, addresses: set[str], known: Mapping[str, str]) -> None:
        """The routers' addresses now; `known` has the MACs of those seen in earlier lives."""
        for address in addresses - self.routers.keys():
            if mac := known.get(address):
                self.routers[address] = Router(mac, 0)
            elif claimants := self._claims.get(address):
                earliest = min(claimants, key=lambda mac: claimants[mac].first)
                self.routers[address] = Router(earliest, claimants[earliest].last)
            else:
                self.routers[address] = Router("", 0)
        for address in self.routers.keys() - addresses:
            del self.routers[address]

    def observe(self, piece: Evidence) -> list[Finding]:
        """What this piece of evidence shows to be wrong."""
        if piece.source not in CLAIMS or piece.address is None:
            return []
        found = [self._duplicate(piece), self._router(piece), self._many(piece)]
        return [finding for finding in found if finding is not None]

    def _duplicate(self, piece: Evidence) -> Finding | None:
        address, at = piece.address or "", piece.at
        claimants = self._claimants(address)
        mine = claimants.get(piece.mac)
        rival = self._rival(claimants, mine, piece)
        if mine is None:
            if len(claimants) >= MAX_CLAIMANTS:
                del claimants[min(claimants, key=lambda mac: claimants[mac].last)]
            mine = claimants[piece.mac] = _Claims(at, at)
        mine.last = max(mine.last, at)
        if piece.source == "sweep":
            mine.swept = max(mine.swept, at)
        if rival is None:
            return None
        newer, older = sorted((piece.mac, rival), key=lambda mac: claimants[mac].first, reverse=True)
        return Finding(
            "duplicate_address",
            newer,
            older,
            address,
            f"{newer} and {older} both say that they are {address}",
            {"claimants": len(claimants), "seconds_between": abs(at - claimants[rival].last) / NANOSECONDS},
        )

    def _rival(self, claimants: dict[str, _Claims], mine: _Claims | None, piece: Evidence) -> str | None:
        for mac, other in claimants.items():
            if mac == piece.mac or self._are_one(mac, piece.mac):
                continue
            if piece.source == "sweep" and abs(piece.at - other.swept) < SAME_SWEEP_SECONDS * NANOSECONDS:
                return mac
            # Mine, the other's, mine again.
            turns = mine is not None and mine.last < other.last and piece.at - mine.last < CONFLICT_NS
            if turns and 0 <= piece.at - other.last < CONFLICT_NS:
                return mac
        return None

    def _router(self, piece: Evidence) -> Finding | None:
        router = self.routers.get(piece.address or "")
        if router is None:
            return None
        if not router.mac:
            router.mac = piece.mac
        if router.mac == piece.mac or self._are_one(router.mac, piece.mac):
            router.last = max(router.last, piece.at)
            router.rivals.clear()
            return None
        if len(router.rivals) >= MAX_CLAIMANTS:
            router.rivals.clear()
        since = router.rivals.setdefault(piece.mac, piece.at)
        previous = router.mac
        if piece.at - since > ADOPT_SECONDS * NANOSECONDS:
            router.mac, router.last = piece.mac, piece.at
            router.rivals.clear()
        return Finding(
            "router_identity_changed",
            piece.mac,
            previous,
            piece.address,
            f"{piece.mac} says that it is the router {piece.address}, which was {previous}",
            {"seconds_since_old_router": (piece.at - router.last) / NANOSECONDS if router.last else None},
        )

    def _many(self, piece: Evidence) -> Finding | None:
        address = piece.address or ""
        if ":" in address or piece.mac in self.own:
            return None
        held = self._addresses.setdefault(piece.mac, {})
        self._addresses.move_to_end(piece.mac)
        if len(self._addresses) > MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        held[address] = piece.at
        if len(held) <= MANY_ADDRESSES:
            return None
        for old in [old for old, at in held.items() if piece.at - at > MANY_SECONDS * NANOSECONDS]:
            del held[old]
        if len(held) <= MANY_ADDRESSES:
            return None
        count = len(held)
        if count > 4 * MANY_ADDRESSES:
            del held[min(held, key=lambda old: held[old])]
        return Finding(
            "many_addresses",
            piece.mac,
            None,
            None,  # another one with each piece of evidence: the anomaly is the MAC's
            f"{piece.mac} uses more than {MANY_ADDRESSES} IPv4 addresses",
            {"addresses": count, "seconds": MANY_SECONDS},
        )

    def _claimants(self, address: str) -> dict[str, _Claims]:
        claimants = self._claims.setdefault(address, {})
        self._claims.move_to_end(address)
        if len(self._claims) > MAX_ADDRESSES:
            self._claims.popitem(last=False)
        return claimants


class ActiveAnomalies:
    """Which anomalies are on: each is told when it begins, and is over when it was not seen for a while."""

    def __init__(self) -> None:
        self.begun: Counter[Kind] = Counter(dict.fromkeys(KINDS, 0))
        self._last_seen: dict[tuple[Kind, str | None, str | None, str | None], int] = {}

    def note(self, finding: Finding, now_ns: int) -> bool:
        """Whether this is news."""
        key = (finding.anomaly, finding.mac, finding.peer, finding.address)
        self._forget(now_ns)
        is_new = key not in self._last_seen
        if is_new and len(self._last_seen) >= MAX_ACTIVE:
            return False
        self._last_seen[key] = now_ns
        self.begun[finding.anomaly] += is_new
        return is_new

    def current(self, now_ns: int) -> set[tuple[Kind, str | None, str | None]]:
        """Anomaly, MAC and peer of those that are on."""
        last_seen = list(self._last_seen.items())
        return {key[:3] for key, at in last_seen if now_ns - at < ACTIVE_SECONDS * NANOSECONDS}

    def _forget(self, now_ns: int) -> None:
        for key in [key for key, at in self._last_seen.items() if now_ns - at >= ACTIVE_SECONDS * NANOSECONDS]:
            del self._last_seen[key]
