"""Packet classes of table entries, by ethertype, protocol and port. They overlap: a DNS query is `udp` and `dns`."""

import numpy as np
import numpy.typing as npt

from netvane.flows import keys as k
from netvane.flows.batch import U64
from netvane.flows.classnames import CLASSES

U32 = npt.NDArray[np.uint32]

BIT = {name: np.uint64(1 << number) for number, name in enumerate(CLASSES)}

_BROADCAST = np.uint64(0xFFFFFFFFFFFF)
_PROTOCOLS = {1: "icmp", 58: "icmpv6", 2: "igmp", 6: "tcp", 17: "udp"}
_TCP_PORTS = {53: "dns", 80: "http", 8080: "http", 443: "tls"}
_UDP_PORTS = {
    53: "dns",
    5353: "mdns",
    67: "dhcp",
    68: "dhcp",
    546: "dhcp",
    547: "dhcp",
    123: "ntp",
    1900: "ssdp",
    443: "quic",
}


def _port_table(ports: dict[int, str]) -> U32:
    """Class bits by port, indexed by the port as a little-endian machine reads it."""
    table = np.zeros(65536, dtype=np.uint32)
    for port, name in ports.items():
        table[(port & 0xFF) << 8 | port >> 8] = BIT[name]
    return table


_TCP_TABLE = _port_table(_TCP_PORTS)
_UDP_TABLE = _port_table(_UDP_PORTS)
_PROTOCOL_TABLE = np.zeros(256, dtype=np.uint64)
for _number, _name in _PROTOCOLS.items():
    _PROTOCOL_TABLE[_number] = BIT[_name]


def classes_of(keys: U64) -> U64:
    """Class bits uint64[n] of keys uint64[n, 7] (netvane.flows.keys) that are not folded."""
    destination = keys[:, 0] >> np.uint64(16)
    ethertype = keys[:, 1] >> np.uint64(48)
    last = keys[:, 6]
    flags = last >> np.uint64(k.FLAGS_SHIFT)
    protocol = (last >> np.uint64(k.PROTOCOL_SHIFT)) & np.uint64(0xFF)
    source_port = last & np.uint64(0xFFFF)
    destination_port = (last >> np.uint64(16)) & np.uint64(0xFFFF)

    bits = np.where(flags & np.uint64(k.IP), _PROTOCOL_TABLE[protocol], np.uint64(0))
    bits |= np.where(ethertype == k.ETH_ARP, BIT["arp"], np.uint64(0))
    bits |= np.where(bits == 0, BIT["other"], np.uint64(0))
    bits |= np.where(bits & BIT["tcp"], _TCP_TABLE[source_port] | _TCP_TABLE[destination_port], np.uint64(0))
    bits |= np.where(bits & BIT["udp"], _UDP_TABLE[source_port] | _UDP_TABLE[destination_port], np.uint64(0))
    bits |= np.where(flags & np.uint64(k.SYN), BIT["tcp_syn"], np.uint64(0))
    group = (destination & np.uint64(1)) != 0
    bits |= np.where(group, np.where(destination == _BROADCAST, BIT["broadcast"], BIT["multicast"]), np.uint64(0))
    return bits
