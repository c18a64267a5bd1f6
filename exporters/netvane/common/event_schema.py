"""The kinds of events and their fields; docs/events.md has the JSON Schema of each, and a test holds the two together.

A struct has its kind's own fields only. `encode` puts the envelope around it: `v`, `ts`, `event`, `site`, `host`,
`mac` and `device_name`, which every event has. A field without a default is always written, if only as null; one with
a default is left out where it has it. Names of devices and hosts come in clean: the edge that read them saw to that.
"""

from functools import lru_cache
from typing import Any, Literal, get_args

import msgspec

from netvane.common.clock import rfc3339

VERSION = 1
MAX_BODY_BYTES = 256 * 1024

Kind = Literal["dns", "flow", "device", "lease", "verdict", "outage", "anomaly", "capture"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Many and cheap to lose: committed in batches and kept 31 days. All others are precious.
BULK: frozenset[Kind] = frozenset({"dns", "flow", "capture"})

Numbers = dict[str, float | None]


class _Fields(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    pass


class Dns(_Fields, frozen=True, tag="dns"):
    """One question and its answer; `rcode` and `latency_seconds` are None where no answer was seen."""

    qname: str
    qtype: str
    rcode: str | None
    answers: tuple[str, ...]
    latency_seconds: float | None
    address: str | None = None
    server_address: str | None = None
    transport: Literal["udp", "tcp", "dot", "doh", "doq", "mdns"] | None = None


class Flow(_Fields, frozen=True, tag="flow"):
    """One conversation of a device, or what a long one did since its last event; tx is what the device sent."""

    protocol: str
    address: str
    peer_address: str
    start: str
    end: str
    tx_bytes: int
    rx_bytes: int
    tx_packets: int
    rx_packets: int
    state: Literal["open", "closed", "timeout"]
    port: int | None = None
    peer_port: int | None = None
    peer_name: str | None = None
    peer_country: str | None = None
    scope: Literal["lan", "wan"] | None = None
    tcp_flags: tuple[str, ...] = ()
    pattern: Literal["heartbeat", "transfer", "irregular"] | None = None


class Device(_Fields, frozen=True, tag="device"):
    """Something about a device changed, seen on the network or said by the owner."""

    device: str
    change: str
    by: Literal["observation", "owner"]
    previous: str | None
    current: str | None
    address: str | None = None
    vendor: str | None = None
    source: str | None = None
    network: str | None = None


class Lease(_Fields, frozen=True, tag="lease"):
    """A DHCP lease came, changed or went; times are RFC 3339."""

    change: Literal["new", "renewed", "released", "expired"]
    address: str
    source: str
    expires: str | None
    host_name: str | None = None
    client_id: str | None = None
    vendor_class: str | None = None
    fingerprint: tuple[int, ...] = ()
    server_address: str | None = None


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a path trace; `address` is None where nothing answered at that TTL."""

    ttl: int
    address: str | None
    rtt_seconds: float | None


class Verdict(_Fields, frozen=True, tag="verdict"):
    """The verdict changed; `path` is the trace taken at that moment, or None and then `path_error` says why.

    `segment` is where `degraded` begins.
    """

    verdict: str
    previous: str | None
    evidence: Numbers
    path: tuple[Hop, ...] | None
    path_error: str | None
    segment: str | None = None


class Outage(_Fields, frozen=True, tag="outage"):
    """An outage began, went on or ended; all events of one outage have the same `start`."""

    state: Literal["started", "ongoing", "ended"]
    culprit: str
    start: str
    end: str | None
    duration_seconds: float | None
    count: int
    evidence: Numbers


class Anomaly(_Fields, frozen=True, tag="anomaly"):
    """Something unusual, with its evidence in numbers; `pcap` names the file with the packets that show it."""

    anomaly: str
    evidence: Numbers
    detail: str
    address: str | None = None
    peer_address: str | None = None
    peer_name: str | None = None
    pcap: str | None = None


class Capture(_Fields, frozen=True, tag="capture"):
    """What happened to the packet capture itself."""

    interface: str
    change: Literal["started", "stopped", "missing", "drops", "stalled", "exported"]
    detail: str | None = None
    received_packets: int | None = None
    dropped_packets: int | None = None
    file: str | None = None


Event = Dns | Flow | Device | Lease | Verdict | Outage | Anomaly | Capture


def kind_of(event: Event) -> Kind:
    kind: Any = type(event).__struct_config__.tag
    return kind  # type: ignore[no-any-return]  # msgspec types a tag as str | int


class Encoder:
    """Writes events of one host as JSON."""

    def __init__(self, site: str, host: str) -> None:
        self._encoder = msgspec.json.Encoder()
        self._place = self._encoder.encode({"site": site, "host": host})[1:-1]
        self._device = lru_cache(maxsize=1024)(self._encode_device)

    def encode(self, event: Event, ts: int, mac: str | None, device_name: str | None) -> bytes:
        """The body of `event`; `ts` is Unix time in nanoseconds.

        Raises ValueError (a time before 1970 or past what 63 bits hold, in 2262; a lone surrogate in a text) or
        TypeError (a field of a type that JSON has not).
        """
        if not 0 <= ts < 2**63:
            raise ValueError(f"no time for an event: {ts}")
        device = self._device(mac, device_name)
        fields = self._encoder.encode(event)[1:]  # begins with "event", so that it is never empty
        return b'{"v":%d,"ts":"%s",%s,%s,%s' % (VERSION, rfc3339(ts).encode(), self._place, device, fields)

    def _encode_device(self, mac: str | None, name: str | None) -> bytes:
        return self._encoder.encode({"mac": mac, "device_name": name})[1:-1]
