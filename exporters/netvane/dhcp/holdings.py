"""What changed between two looks at the leases: the rules, without files and clocks."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from netvane.dhcp.lease import Lease

Kind: TypeAlias = Literal["new", "renewed", "released", "expired"]

# A renewal at the last moment takes a little while to be written and read.
GRACE_SECONDS = 2.0


class Change(NamedTuple):
    """What happened to a lease; `lease` as it is now, or as it was where it ended."""

    kind: Kind
    lease: Lease


class Holdings:
    """Who holds which address, as far as it has been told; `held` is replaced whole with each change."""

    def __init__(self, held: Mapping[str, Lease]) -> None:
        self.held = dict(held)

    def update(self, leases: Mapping[str, Lease], now: float) -> list[Change]:
        """Take what the server says now (Unix seconds); gives back what that changes.

        A renewal is news only where more than its end changed.
        """
        held = {address: lease for address, lease in leases.items() if lease.state_at(now) == "active"}
        changes = list(_changes(self.held, held, leases, now))
        self.held = held
        return changes

    def expire(self, now: float) -> list[Change]:
        """Those that ended by themselves since, as no server writes at that moment."""
        ended = [
            lease for lease in self.held.values() if lease.expires is not None and lease.expires + GRACE_SECONDS <= now
        ]
        if ended:
            gone = {lease.address for lease in ended}
            self.held = {address: lease for address, lease in self.held.items() if address not in gone}
        return [Change("expired", lease) for lease in ended]


def _changes(
    before: Mapping[str, Lease], after: Mapping[str, Lease], said: Mapping[str, Lease], now: float
) -> Iterator[Change]:
    for address, old in before.items():
        new = after.get(address)
        if new is None:
            yield Change(_ending(old, said.get(address), now), old)
        elif new.holder != old.holder:
            yield Change(_ending(old, None, now), old)
            yield Change("new", new)
        elif (new.host_name, new.client_id, new.vendor_class) != (old.host_name, old.client_id, old.vendor_class):
            yield Change("renewed", new)
    for address, lease in after.items():
        if address not in before:
            yield Change("new", lease)


def _ending(old: Lease, said: Lease | None, now: float) -> Literal["released", "expired"]:
    if said is not None and said.state == "released":
        return "released"
    if said is not None and said.state == "expired":
        return "expired"
    return "expired" if old.expires is not None and old.expires <= now + GRACE_SECONDS else "released"
