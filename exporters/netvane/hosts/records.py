"""The records of the registry: a MAC with all that is known of it, the device it belongs to, and why."""

from dataclasses import dataclass, field
from typing import NamedTuple

from netvane.hosts.evidence import Source
from netvane.hosts.presence import Presence, State


@dataclass(slots=True)
class Span:
    """First and last seen, Unix ns."""

    first: int
    last: int


@dataclass(slots=True)
class Name:
    name: str
    first: int
    last: int


@dataclass(slots=True)
class Mac:
    """What is known of one MAC. `sources` is when each kind of evidence last came."""

    mac: str
    device: str
    first: int
    last: int
    network: str = ""
    client_id: str | None = None
    vendor_class: str | None = None
    fingerprint: tuple[int, ...] = ()
    services: tuple[str, ...] = ()
    addresses: dict[str, Span] = field(default_factory=dict)
    names: dict[Source, Name] = field(default_factory=dict)
    sources: dict[Source, int] = field(default_factory=dict)


@dataclass(slots=True)
class Device:
    """`name`, `notes`, `trusted` and `expected` are the owner's. `announced`: when it was told as new (Unix ns), 0
    where that was not called for (it was there at the first sweep), None while it is owed.
    """

    id: str
    name: str | None = None
    notes: str | None = None
    trusted: bool = False
    expected: bool = False
    announced: int | None = None
    presence: Presence = field(default_factory=Presence)

    @property
    def state(self) -> State:
        return self.presence.state(expected=self.expected)

    @property
    def is_owners(self) -> bool:
        """Whether the owner has said anything about it."""
        return self.trusted or self.expected or self.name is not None or self.notes is not None


class Merge(NamedTuple):
    """MAC `mac`, of device `origin`, was put into device `into`; `by` is owner or observation.

    What was only observed is assumed: names and client ids can be heard and copied by anybody.
    """

    mac: str
    origin: str
    into: str
    at: int
    by: str
    reason: str
