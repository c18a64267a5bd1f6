"""What a frame says about a device: the protocols' records as `Sighting`s."""

from typing import NamedTuple

from netvane.common.raw_messages import DhcpServer, Sighting
from netvane.raw import arp, dhcp4, dhcp6, nd
from netvane.raw.packet import ICMPV6, UDP, Frame, Packet, ethernet, held, ipv4, ipv6, udp

_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD


class Capture(NamedTuple):
    """A frame as the kernel gave it: without its VLAN tag, `ts` in nanoseconds since the epoch."""

    frame: bytes
    ts: int
    interface: str
    vlan: int | None = None


def decode(capture: Capture) -> Sighting | None:
    """None for a frame that tells of nobody. Raises netvane.raw.packet.MalformedError."""
    frame = ethernet(capture.frame)
    if frame.ethertype == _ARP:
        return _from_arp(capture, frame)
    if frame.ethertype not in {_IPV4, _IPV6}:
        return None
    packet = ipv4(frame.payload) if frame.ethertype == _IPV4 else ipv6(frame.payload)
    if packet.protocol == UDP:
        port, payload = udp(packet.payload)
        if frame.ethertype == _IPV4:
            return _from_dhcp4(capture, frame, packet, payload) if port in dhcp4.PORTS else None
        return _from_dhcp6(capture, frame, packet, payload) if port in dhcp6.PORTS else None
    if frame.ethertype == _IPV6 and packet.protocol == ICMPV6:
        return _from_nd(capture, frame, packet)
    return None


def _from_arp(capture: Capture, frame: Frame) -> Sighting | None:
    told = arp.parse(frame.payload)
    if told is None:
        return None
    return Sighting(
        ts=capture.ts,
        interface=capture.interface,
        vlan=capture.vlan,
        mac=told.mac,
        sender=_other(frame.source, told.mac),
        kind="arp",
        message=told.message,
        address=told.address,
        requested=told.target if told.message == "probe" else None,
    )


def _from_nd(capture: Capture, frame: Frame, packet: Packet) -> Sighting:
    told = nd.parse(packet)
    mac = told.mac or frame.source
    return Sighting(
        ts=capture.ts,
        interface=capture.interface,
        vlan=capture.vlan,
        mac=mac,
        sender=_other(frame.source, mac),
        kind="nd",
        message=told.message,
        address=told.address,
        requested=told.requested,
        router=told.router,
    )


def _from_dhcp4(capture: Capture, frame: Frame, packet: Packet, payload: bytes) -> Sighting | None:
    told = dhcp4.parse(payload)
    if told.from_server:
        return Sighting(
            ts=capture.ts,
            interface=capture.interface,
            vlan=capture.vlan,
            mac=frame.source,
            kind="dhcp4",
            message=told.message,
            address=held(packet.source),
            server=DhcpServer(
                server_id=told.server_id,
                client_mac=told.client_mac,
                client_id=told.client_id,
                offered=told.offered,
                routers=told.routers,
                dns=told.dns,
                lease_seconds=told.lease_seconds,
            ),
        )
    if told.client_mac is None:  # a client of another kind of network, behind a relay
        return None
    return Sighting(
        ts=capture.ts,
        interface=capture.interface,
        vlan=capture.vlan,
        mac=told.client_mac,
        sender=_other(frame.source, told.client_mac),
        kind="dhcp4",
        message=told.message,
        address=told.address,
        requested=told.requested,
        host_name=told.host_name,
        vendor_class=told.vendor_class,
        fingerprint=told.fingerprint,
        client_id=told.client_id,
    )


def _from_dhcp6(capture: Capture, frame: Frame, packet: Packet, payload: bytes) -> Sighting | None:
    told = dhcp6.parse(payload)
    if told.from_server:
        return Sighting(
            ts=capture.ts,
            interface=capture.interface,
            vlan=capture.vlan,
            mac=frame.source,
            kind="dhcp6",
            message=told.message,
            address=held(packet.source),
            server=DhcpServer(
                server_id=told.server_id,
                client_mac=told.client_mac,
                client_id=told.client_id,
                offered=told.address,
                dns=told.dns,
            ),
        )
    # Heard directly, a client sends from its own MAC; its DUID may name another of its interfaces.
    mac = frame.source if told.peer is None else told.client_mac
    if mac is None:
        return None
    return Sighting(
        ts=capture.ts,
        interface=capture.interface,
        vlan=capture.vlan,
        mac=mac,
        sender=_other(frame.source, mac),
        kind="dhcp6",
        message=told.message,
        address=held(packet.source if told.peer is None else told.peer),
        requested=told.address,
        host_name=told.host_name,
        vendor_class=told.vendor_class,
        fingerprint=told.fingerprint,
        client_id=told.client_id,
    )


def _other(sender: str, mac: str) -> str | None:
    return sender if sender != mac else None
