"""Flow records as events."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

from netvane.common.clock import rfc3339
from netvane.common.event_schema import Flow
from netvane.flows import keys as k
from netvane.flows.decode import TCP, UDP
from netvane.flows.dnsdata import address_text
from netvane.flows.flowrecords import FlowRecord
from netvane.flows.totals import mac_text

PROTOCOL_NAMES = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmpv6", 132: "sctp"}
_FLAGS = ((0x02, "SYN"), (0x10, "ACK"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x20, "URG"))
_MAC_MASK = 0xFFFFFFFFFFFF

Pattern = Literal["heartbeat", "transfer", "irregular"]


def protocol_name(number: int) -> str:
    return PROTOCOL_NAMES.get(number, str(number))


def ends_of(key: Sequence[int]) -> tuple[str, str, int, str, str, int]:
    """(MAC, address, port) of the source and of the destination of a key (netvane.flows.keys)."""
    ports = key[6]
    return (
        *source_of(key),
        (ports & 0xFF) << 8 | ports >> 8 & 0xFF,
        mac_text(key[0] >> 16),
        _address_text(key[4], key[5], key[1] >> 48 == k.ETH_IPV4),
        (ports >> 16 & 0xFF) << 8 | ports >> 24 & 0xFF,
    )


def source_of(key: Sequence[int]) -> tuple[str, str]:
    """(MAC, address) of the source."""
    return mac_text(key[1] & _MAC_MASK), _address_text(key[2], key[3], key[1] >> 48 == k.ETH_IPV4)


@lru_cache(maxsize=8192)
def _address_text(first: int, second: int, is4: bool) -> str:
    packed = first.to_bytes(8, "little") + second.to_bytes(8, "little")
    return address_text(packed[:4] if is4 else packed)


def event_of(
    record: FlowRecord,
    name_of: Callable[[str, str, int], str | None],
    country_of: Callable[[str], str | None],
    pattern_of: Callable[[tuple[str, str, str, int | None], int], Pattern],
) -> tuple[str, Flow]:
    """(MAC of the device, its event).

    `name_of` MAC, address and time; `pattern_of` the series (netvane.flows.timing) and the bytes of this flow.
    """
    source, destination = (ends := ends_of(record.key))[:3], ends[3:]
    (mac, address, port), (_, peer, peer_port) = (source, destination) if record.forward else (destination, source)
    protocol = record.key[6] >> k.PROTOCOL_SHIFT & 0xFF
    has_ports = protocol in {TCP, UDP}
    name = name_of(mac, peer, record.last)
    text = protocol_name(protocol)
    far_port = peer_port if has_ports else None
    return mac, Flow(
        protocol=text,
        address=address,
        peer_address=peer,
        start=rfc3339(record.first),
        end=rfc3339(record.last),
        tx_bytes=record.tx_bytes,
        rx_bytes=record.rx_bytes,
        tx_packets=record.tx_frames,
        rx_packets=record.rx_frames,
        state=record.state,
        port=port if has_ports else None,
        peer_port=far_port,
        peer_name=name,
        peer_country=None if record.local else country_of(peer),
        scope="lan" if record.local else "wan",
        tcp_flags=tuple(word for bit, word in _FLAGS if record.tcp_flags & bit),
        pattern=pattern_of((mac, name or peer, text, far_port), record.tx_bytes + record.rx_bytes),
    )
