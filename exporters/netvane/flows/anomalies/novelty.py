"""What a device never did before: destinations, countries, ports, neighbours, and regular calls.

A gadget soon has shown all that it does; a phone never has. So nobody is asked which is which: after the learning
time a new value is told only while values have become rare, and a device that brings many again is learned again.
"""

from collections.abc import Iterator

from netvane.flows.anomalies.learned import MAX_VALUES, DeviceMemory, Memory, Values
from netvane.flows.anomalies.limits import DAY, Limits
from netvane.flows.anomalies.records import Contact, Finding, Home, Kind, is_group
from netvane.flows.domains import registrable_domain

SETTLED_NS = 3 * DAY
SETTLED_VALUES = 2  # that may be new in that time


def is_new(device: DeviceMemory, kind: Kind, value: str, now: int, limits: Limits) -> bool:
    """Learn `value`; whether it is worth telling."""
    values = device.values.get(kind)
    if values is None:
        values = device.values[kind] = Values()
    if value in values.known:
        return False
    recent = [at for at in values.latest if 0 <= now - at < SETTLED_NS]
    settled = len(recent) < SETTLED_VALUES and len(values.known) < MAX_VALUES
    values.latest = [*recent, now][-SETTLED_VALUES:]
    if len(values.known) < MAX_VALUES:
        values.known.add(value)
    return settled and device.is_learned(now, limits)


def news(contact: Contact, home: Home, memory: Memory, now: int, limits: Limits) -> Iterator[Finding]:
    """What of this contact is new for its device: one finding, of the first kind, with the others in its evidence."""
    device = memory.device(contact.mac, now)
    # That a device is new is told elsewhere, not by everybody who greets it.
    peer = memory.devices.get(contact.peer_mac or "")
    greets = contact.lan and peer is not None and not peer.is_learned(now, limits)
    new = [
        (kind, value, detail)
        for kind, value, detail in _values(contact, home)
        if is_new(device, kind, value, now, limits) and not greets
    ]
    for kind, value, detail in new[:1]:
        yield Finding(
            kind=kind,
            mac=contact.mac,
            subject=value,
            evidence={
                "known_before": len(device.values[kind].known) - 1,
                "learned_days": round((now - device.since) / DAY, 1),
                "port": contact.peer_port,
                **{other: 1.0 for other, _, _ in new[1:]},
            },
            detail=detail,
            address=contact.address,
            peer_address=contact.peer_address,
            peer_name=contact.peer_name,
        )


def _values(contact: Contact, home: Home) -> Iterator[tuple[Kind, str, str]]:
    if is_group(contact.peer_address):
        return
    if contact.lan:
        if contact.peer_address not in home.routers | home.resolvers and contact.peer_mac not in home.exempt:
            peer = contact.peer_mac or contact.peer_address
            yield "lan_contact", peer, f"contacts {contact.peer_address} in the house for the first time"
        return
    domain = registrable_domain(contact.peer_name or "")
    if domain is not None:
        yield "new_destination", domain, f"talks to {domain} for the first time"
    if contact.peer_country is not None:
        yield "new_country", contact.peer_country, f"talks to an address in {contact.peer_country} for the first time"
    if contact.peer_port is not None:
        port = f"{contact.protocol}/{contact.peer_port}"
        yield "new_port", port, f"uses port {port} of a far host for the first time"
