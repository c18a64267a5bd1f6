"""Beacons: conversations with one far port that begin at regular times, where the device never did that before."""

from collections.abc import Iterator

from netvane.common.clock import NANOSECONDS
from netvane.flows.anomalies.learned import Memory
from netvane.flows.anomalies.limits import Limits
from netvane.flows.anomalies.novelty import is_new
from netvane.flows.anomalies.records import Contact, Finding, is_group
from netvane.flows.domains import registrable_domain
from netvane.flows.timing import STARTS, SeriesBook, SeriesKey


def series_of(contact: Contact) -> SeriesKey:
    return contact.mac, contact.peer_name or contact.peer_address, contact.protocol, contact.peer_port


def beacons(contact: Contact, book: SeriesBook, memory: Memory, now: int, limits: Limits) -> Iterator[Finding]:
    """Note that a conversation began; what it shows."""
    series = book.begin(series_of(contact), now)
    if contact.lan or is_group(contact.peer_address):
        return
    interval = series.interval_ns(STARTS - 1)
    if interval is None:
        return
    device = memory.device(contact.mac, now)
    peer = registrable_domain(contact.peer_name or "") or contact.peer_address
    if is_new(device, "beacon", peer, now, limits):
        yield Finding(
            kind="beacon",
            mac=contact.mac,
            subject=peer,
            evidence={
                "interval_seconds": round(interval / NANOSECONDS, 1),
                "conversations": len(series.starts),
                "port": contact.peer_port,
            },
            detail=f"calls {peer} every {interval / NANOSECONDS:.0f} s",
            address=contact.address,
            peer_address=contact.peer_address,
            peer_name=contact.peer_name,
        )
