"""Flow records as events."""

from collections.abc import Callable
from typing import Literal

from netvane.common.clock import rfc3339
from netvane.common.event_schema import Flow
from netvane.flows import keys as k
from netvane.flows.decode import TCP, UDP
from netvane.flows.flowrecords import FlowRecord
from netvane.flows.nameport import address_text, mac_text

PROTOCOL_NAMES = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmpv6", 132: "sctp"}
_FLAGS = ((0x02, "SYN"), (0x10, "ACK"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x20, "URG"))
_MAC_MASK = 0xFFFFFFFFFFFF

Pattern = Literal["heartbeat", "transfer", "irregular"]


def protocol_name(number: int) -> str:
    return PROTOCOL_NAMES.get(number, str(number))


def ends_of(key: tuple[int, ...]) -> tuple[str, str, int, str, str, int]:
    """(MAC, address, port) of the source and of the destination of a key (netvane.flows.keys)."""
    is4 = key[1] >> 48 == k.ETH_IPV4
    ends: list[tuple[str, str, int]] = []
    for mac, first, second, port in (
        (key[1] & _MAC_MASK, key[2], key[3], key[6] & 0xFFFF),
        (key[0] >> 16, key[4], key[5], key[6] >> 16 & 0xFFFF),
    ):
        packed = first.to_bytes(8, "little") + second.to_bytes(8, "little")
        address = address_text(packed[:4] if is4 else packed)
        ends.append((mac_text(mac.to_bytes(6, "little")), address, (port & 0xFF) << 8 | port >> 8))
    return *ends[0], *ends[1]


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
