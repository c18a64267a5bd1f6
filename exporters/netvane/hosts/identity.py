"""Which MACs are one device: a phone that makes up a new MAC keeps its DHCP client id, or at least its name. Pure.

Tied together without asking are only randomised MACs, of which the older has fallen silent: two that talk at the same
time are two devices, whatever they call themselves. A name that many devices come with from the shop proves nothing.

Names and client ids are sent in the clear and easily copied. A tie is therefore good enough to go on with a device's
history, but it does not pass on the owner's trust (netvane.hosts.registry.Registry.is_trusted).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from netvane.hosts.evidence import is_randomised

# Names that makers give to all of their devices.
_GENERIC = re.compile(
    r"(my-?)?(android|iphone|ipad|ipod|watch|macbook|mac|pc|laptop|desktop|phone|tablet|tv|printer|camera|router"
    r"|localhost|localdomain|host|unknown|none|null|default|device|client|user|linux|debian|ubuntu|raspberrypi|openwrt"
    r"|esp|esp32|espressif|esp8266|wlan0|eth0|android-?dhcp-?\d*|chromecast|amazon|echo|roku|sonos|windows)"
)


class Candidate(NamedTuple):
    """What is known of one MAC; `last_ns` when it was last heard, Unix ns. `marked`: the owner knows its device."""

    mac: str
    device: str
    last_ns: int
    host_names: frozenset[str]
    client_id: str | None
    marked: bool = False


class Tie(NamedTuple):
    device: str
    reason: str


def find_tie(new: Candidate, first_ns: int, others: Iterable[Candidate]) -> Tie | None:
    """The one device that `new`, first heard at `first_ns`, has been before; None where none or several fit."""
    if not is_randomised(new.mac):
        return None
    names = {key for name in new.host_names if (key := name_key(name)) is not None}
    ties: dict[str, Tie] = {}
    client_id = stable_client_id(new.client_id, new.mac)
    for other in others:
        if other.device == new.device or not is_randomised(other.mac):
            continue
        if client_id is not None and client_id == stable_client_id(other.client_id, other.mac):
            ties[other.device] = Tie(other.device, "DHCP client id")
        elif common := names & {name_key(name) for name in other.host_names}:
            ties.setdefault(other.device, Tie(other.device, f"DHCP host name {min(map(str, common))}"))
        if other.device in ties and other.last_ns >= first_ns:
            return None  # it still talks: somebody else
    return next(iter(ties.values())) if len(ties) == 1 else None


def claimed_names(new: Candidate, others: Iterable[Candidate], since_ns: int) -> list[tuple[str, Candidate]]:
    """Names of `new` that others have: devices heard since `since_ns`, or that their owner knows, asleep or not."""
    names = {key: name for name in new.host_names if (key := name_key(name)) is not None}
    found = []
    for other in others:
        if other.device == new.device or (other.last_ns < since_ns and not other.marked):
            continue
        found += [(names[key], other) for name in other.host_names if (key := name_key(name)) in names and key]
    return found


def name_key(name: str) -> str | None:
    """By which host names are compared: without domain and case; None for a generic one."""
    key = name.partition(".")[0].strip().casefold()
    return None if not key or _GENERIC.fullmatch(key) else key


def stable_client_id(client_id: str | None, mac: str) -> str | None:
    """One that outlives a change of MAC; type 1 (RFC 2132) and many DUIDs have the MAC in them."""
    if client_id is None or len(client_id) < 8 or mac.replace(":", "") in client_id or client_id.startswith("01"):
        return None
    return client_id
