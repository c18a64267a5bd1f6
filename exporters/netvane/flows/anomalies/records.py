"""What the rules are given every tick, and what they find."""

import functools
import ipaddress
from typing import Literal, get_args

import msgspec

from netvane.common.event_schema import Anomaly, Numbers

Kind = Literal[
    "syn_flood",
    "icmp_flood",
    "packet_surge",
    "port_scan",
    "host_scan",
    "unleased_address",
    "off_network_address",
    "dns_tunnel",
    "dns_bypass",
    "new_destination",
    "new_country",
    "new_port",
    "upload_surge",
    "lan_contact",
    "beacon",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class DeviceTick(msgspec.Struct, frozen=True, kw_only=True):
    """One device in one tick: frames by packet class as source and as destination, bytes sent to the Internet.

    `addresses` are the source addresses of its IP packets in this tick; a few are enough.
    """

    mac: str
    tx: dict[str, int] = {}
    rx: dict[str, int] = {}
    wan_tx_bytes: int = 0
    addresses: tuple[str, ...] = ()


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that a device began in this tick; `lan` where the other end is local."""

    mac: str
    protocol: str
    address: str
    peer_address: str
    peer_port: int | None = None
    peer_mac: str | None = None
    peer_name: str | None = None
    peer_country: str | None = None
    lan: bool = False


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A DNS question of a device at `address`; `rcode` is None where no answer was seen."""

    mac: str
    qname: str
    rcode: str | None
    address: str | None = None


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen in `seconds` up to `now`, Unix time in ns."""

    now: int
    seconds: float
    devices: tuple[DeviceTick, ...] = ()
    contacts: tuple[Contact, ...] = ()
    questions: tuple[Question, ...] = ()


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the network at the moment.

    `prefixes` are the local ones; for a family without any, no source address is off the network. `leases` are pairs
    of MAC (None: any) and address, None while not all of them are known. `routers` and `resolvers` are addresses
    that the network itself names; without any resolver nothing is a bypass. Devices in `exempt` (routers, this
    machine with its sweeps) are not judged.
    """

    prefixes: tuple[str, ...] = ()
    leases: frozenset[tuple[str | None, str]] | None = None
    routers: frozenset[str] = frozenset()
    resolvers: frozenset[str] = frozenset()
    exempt: frozenset[str] = frozenset()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something unusual. `subject` tells it apart from others of the same kind and device while it lasts.

    `evidence` has numbers with their unit in the key. `packets` asks for a pcap of the packets that show it.
    """

    kind: Kind
    mac: str
    subject: str
    evidence: Numbers
    detail: str
    address: str | None = None
    peer_address: str | None = None
    peer_name: str | None = None
    packets: bool = False

    def event(self, pcap: str | None = None) -> Anomaly:
        return Anomaly(
            anomaly=self.kind,
            evidence=self.evidence,
            detail=self.detail,
            address=self.address,
            peer_address=self.peer_address,
            peer_name=self.peer_name,
            pcap=pcap,
        )


@functools.lru_cache(maxsize=4096)
def is_group(address: str) -> bool:
    """Whether nobody in particular is meant: multicast, broadcast (a subnet's own by its usual look), unspecified."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return True
    return parsed.is_multicast or parsed.is_unspecified or (parsed.version == 4 and parsed.packed[3] == 255)
