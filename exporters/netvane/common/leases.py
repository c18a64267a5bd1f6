"""``leases.json``: who holds which address, as the dhcp exporter publishes it for the others (netvane.common.exchange).

Published at each change and at least every `PUBLISH_SECONDS`.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

FILE_NAME = "leases.json"
PUBLISH_SECONDS = 60.0
MAX_AGE_SECONDS = 180.0
MAX_LEASES = 20_000  # keep the file below netvane.common.exchange.MAX_BYTES


class PublishedLease(msgspec.Struct, frozen=True, omit_defaults=True):
    """An active lease; `expires` in Unix seconds, None for never or unknown."""

    address: str
    mac: str | None = None
    host_name: str | None = None
    expires: int | None = None


class LeasesView(msgspec.Struct, frozen=True):
    """All active leases.

    `complete`: the leases come from the servers' own files, all of them could be read, and none was left out here;
    otherwise an address that is not among them may have a lease all the same. `dhcp_only`: the owner says that nobody
    on this network may use an address without a lease, but for those in `exempt`.
    """

    leases: tuple[PublishedLease, ...] = ()
    complete: bool = False
    dhcp_only: bool = False
    exempt: tuple[str, ...] = ()


Lack: TypeAlias = Literal["none", "other"]


def holders(view: LeasesView) -> dict[str, PublishedLease]:
    """The leases by address."""
    return {lease.address: lease for lease in view.leases}


def lack_of_lease(address: str, mac: str, held: Mapping[str, PublishedLease]) -> Lack | None:
    """What is wrong with `mac` using `address`: there is no lease (static), or it is another's (stolen); else None."""
    lease = held.get(address)
    if lease is None:
        return "none"
    return "other" if lease.mac is not None and lease.mac != mac else None
