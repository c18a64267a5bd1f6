"""What is said over the socket of `netvane raw`: <run_dir>/raw.sock, a Unix stream socket, mode 0660.

One connection is one request: the client sends one JSON object on one line, the helper answers with one line and
closes; after `SubscribeRequest` it goes on sending lines until either side closes. The field `type` says which of the
structs below a line is. A line is at most MAX_REQUEST_BYTES to the helper and MAX_ANSWER_BYTES from it, the newline
included. Whatever the helper will not do it answers with `Refused`.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec

SOCKET_NAME = "raw.sock"
MAX_REQUEST_BYTES = 4 * 1024
MAX_ANSWER_BYTES = 64 * 1024

# A subscriber hears at least this often from the helper; silence for much longer means that it hangs.
HEARTBEAT_SECONDS = 10.0


InterfaceName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[^/\s]{1,15}$")]


class TraceRequest(msgspec.Struct, frozen=True, tag="trace", forbid_unknown_fields=True):
    """Find the path to `destination`, an IPv4 or IPv6 unicast address (link-local with its zone, ``fe80::1%eth0``).

    `probes` echo requests per hop, hops up to `max_ttl`, all within `seconds`.
    """

    destination: Annotated[str, msgspec.Meta(max_length=64)]
    max_ttl: Annotated[int, msgspec.Meta(ge=1, le=64)] = 30
    probes: Annotated[int, msgspec.Meta(ge=1, le=5)] = 3
    seconds: Annotated[float, msgspec.Meta(ge=0.1, le=10)] = 3.0


class SubscribeRequest(msgspec.Struct, frozen=True, tag="subscribe", forbid_unknown_fields=True):
    """Send the latest known sightings, then every new one, until the connection ends.

    For that long the helper listens on `interfaces` too, beside those that it watches anyway.
    """

    interfaces: Annotated[tuple[InterfaceName, ...], msgspec.Meta(max_length=16)] = ()


class DiscoverRequest(msgspec.Struct, frozen=True, tag="discover", forbid_unknown_fields=True):
    """Ask by broadcast which DHCP servers there are, on an interface that the helper listens on, for `seconds`.

    Only their offers are read; no lease is taken. dnsmasq pings for three seconds before it makes an offer.
    """

    interface: Annotated[str, msgspec.Meta(max_length=15)]
    seconds: Annotated[float, msgspec.Meta(ge=1, le=10)] = 6.0


class ArpSweepRequest(msgspec.Struct, frozen=True, tag="arp_sweep", forbid_unknown_fields=True):
    """Ask by ARP who is in `subnet`, an IPv4 network of at most 4,096 addresses that `interface` has an address in."""

    interface: Annotated[str, msgspec.Meta(max_length=15)]
    subnet: Annotated[str, msgspec.Meta(max_length=18)]
    seconds: Annotated[float, msgspec.Meta(ge=0.5, le=60)] = 10.0


NmapMode: TypeAlias = Literal["ping", "services", "os"]


class NmapRequest(msgspec.Struct, frozen=True, tag="nmap", forbid_unknown_fields=True):
    """Run nmap(1) on `target`, an address or a network of at most 4,096 addresses, for at most `seconds`.

    `ping` finds who is up (``-sn -n``); `services` asks the `top_ports` most usual ports of a single address what
    runs there (``-sV``), `os` what it runs on (``-O``).
    """

    target: Annotated[str, msgspec.Meta(max_length=64)]
    mode: NmapMode = "ping"
    top_ports: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    seconds: Annotated[float, msgspec.Meta(ge=1, le=900)] = 60.0


class StatusRequest(msgspec.Struct, frozen=True, tag="status", forbid_unknown_fields=True):
    """Tell how the helper is doing."""


Request: TypeAlias = TraceRequest | DiscoverRequest | ArpSweepRequest | NmapRequest | SubscribeRequest | StatusRequest


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The request was not understood, not allowed, or one too many."""

    reason: str


class Hop(msgspec.Struct, frozen=True):
    """What answered at one distance; both None for a mute hop.

    `rtt_seconds` is the best of the hop's probes. `unreachable` is why this hop would not pass the probe on
    (``network``, ``host``, ``prohibited`` …): it is then the last.
    """

    ttl: int
    address: str | None = None
    rtt_seconds: float | None = None
    unreachable: str | None = None


class Trace(msgspec.Struct, frozen=True, tag="trace"):
    """The path to `destination`: hops 1, 2, 3 … up to the last that answered, which is it where `reached`.

    `error` is why this machine itself could not send, e.g. ``Network is unreachable``.
    """

    destination: str
    reached: bool
    hops: tuple[Hop, ...]
    error: str | None = None


class DhcpOffer(msgspec.Struct, frozen=True):
    """What a DHCP server offered: `server` is the address it gives for itself, `mac` where its frame came from."""

    server: str
    mac: str
    offered: str | None = None
    routers: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    lease_seconds: int | None = None


class Discovery(msgspec.Struct, frozen=True, tag="discovery"):
    """The servers that answered, one offer each; `error` is why this machine itself could not ask."""

    interface: str
    offers: tuple[DhcpOffer, ...] = ()
    error: str | None = None


class ArpAnswer(msgspec.Struct, frozen=True, array_like=True):
    """`mac` answered for `address`, `age_seconds` before the end; an address that two answer for is there twice."""

    address: str
    mac: str
    rtt_seconds: float
    age_seconds: float


class ArpSweep(msgspec.Struct, frozen=True, tag="arp_sweep"):
    """Who answered. `truncated`: more did than an answer holds. `error` is why this machine could not ask."""

    answers: tuple[ArpAnswer, ...] = ()
    truncated: bool = False
    error: str | None = None


class NmapService(msgspec.Struct, frozen=True, array_like=True):
    """An open port; `product` is what nmap took it for, version included. Texts are clean."""

    port: int
    protocol: str
    name: str
    product: str | None = None


class NmapHost(msgspec.Struct, frozen=True, array_like=True):
    """A host that is up; `mac` only where it is directly attached. `system` is nmap's best guess."""

    address: str
    mac: str | None = None
    rtt_seconds: float | None = None
    services: tuple[NmapService, ...] = ()
    system: str | None = None


class Nmap(msgspec.Struct, frozen=True, tag="nmap"):
    """Who is up. `error`: nmap is missing, was stopped at its time limit, failed, or wrote what cannot be read."""

    hosts: tuple[NmapHost, ...] = ()
    truncated: bool = False
    error: str | None = None


class DhcpServer(msgspec.Struct, frozen=True):
    """What a message from a DHCP server gave away about it.

    `server_id` is its address (DHCPv4 option 54) or its DUID in hexadecimal (DHCPv6 option 2). `client_mac` and
    `client_id` say to whom it spoke, `offered` what address it had to give; `routers`, `dns` and `lease_seconds`
    came with it.
    """

    server_id: str | None = None
    client_mac: str | None = None
    client_id: str | None = None
    offered: str | None = None
    routers: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    lease_seconds: int | None = None


Kind: TypeAlias = Literal["arp", "dhcp4", "dhcp6", "nd"]


class Sighting(msgspec.Struct, frozen=True, tag="sighting", omit_defaults=True):
    """One frame that tells of one device.

    `ts` is when the kernel received it, in nanoseconds since the epoch. `message` is what it was in its protocol's
    words: ``request``, ``reply``, ``probe``, ``announcement`` for arp; ``discover``, ``ack`` … for dhcp4; ``solicit``,
    ``information-request`` … for dhcp6; ``solicitation``, ``advertisement``, ``probe``, ``router-advertisement`` … for
    nd. `mac` is the device's; `sender` is the frame's own source where that is another (a relay, a range extender, a
    forgery). `address` is what the device uses, `requested` what it would like to use. `fingerprint` is the option
    list that a DHCP client asks for, `client_id` in hexadecimal. `router` is set when the device says it is one.
    All texts are clean (netvane.common.text).
    """

    ts: int
    interface: str
    mac: str
    kind: Kind
    message: str
    address: str | None = None
    requested: str | None = None
    vlan: int | None = None
    sender: str | None = None
    host_name: str | None = None
    vendor_class: str | None = None
    fingerprint: tuple[int, ...] = ()
    client_id: str | None = None
    router: bool = False
    server: DhcpServer | None = None


class Missed(msgspec.Struct, frozen=True, tag="missed"):
    """This subscriber read too slowly: `count` sightings were left out here."""

    count: int


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """Nothing was seen for a while, and the helper is alive."""


InterfaceState: TypeAlias = Literal["listening", "down", "missing", "not ethernet"]


class InterfaceStatus(msgspec.Struct, frozen=True):
    """A watched interface. Counters only grow; `dropped` frames the kernel had no room for."""

    name: str
    state: InterfaceState
    frames: int = 0
    sightings: int = 0
    malformed: int = 0
    dropped: int = 0


class Status(msgspec.Struct, frozen=True, tag="status"):
    """How the helper is doing; counters since `started` (nanoseconds since the epoch) only grow.

    `requests` by type, `refused` by reason in a word. `missed` sums up what slow subscribers lost; `recent` is the
    number of latest sightings held for new subscribers, `evicted` how many had to make room for others.
    """

    started: int
    requests: dict[str, int]
    refused: dict[str, int]
    connections: int
    subscribers: int
    sightings: int
    missed: int
    recent: int
    evicted: int
    probes_sent: int
    probe_answers: int
    malformed_answers: int
    interfaces: tuple[InterfaceStatus, ...]


Answer: TypeAlias = Trace | Discovery | ArpSweep | Nmap | Status | Refused
Report: TypeAlias = Sighting | Missed | Heartbeat | Refused
