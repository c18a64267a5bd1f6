"""Answers from the event store: what one device talked to, asked for, and when.

The rows of a device and a kind are found by the index (mac, event, ts). Bodies are decoded as far as a view needs them.
"""

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Annotated, Literal

import msgspec

from netvane.common.event_search import END_OF_TIME

View = Literal["peers", "flows", "dns"]
DEFAULT_LIMIT = 1000
_RECENT_ROWS = 200_000  # in which a name is looked for


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`device` is a MAC address or a device's name; `since` (inclusive) and `until` (exclusive) are Unix ns."""

    device: str
    view: View = "peers"
    since: Annotated[int, msgspec.Meta(ge=0, le=END_OF_TIME)] = 0
    until: Annotated[int, msgspec.Meta(ge=0, le=END_OF_TIME)] = END_OF_TIME
    limit: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_LIMIT


class PeerRow(msgspec.Struct):
    """All conversations with one peer and port; the largest first."""

    peer: str
    country: str | None
    protocol: str
    port: int | None
    scope: str | None
    flows: int
    tx_bytes: int
    rx_bytes: int
    first: str
    last: str


class FlowRow(msgspec.Struct, frozen=True):
    """One conversation; the newest first."""

    end: str
    start: str
    protocol: str
    address: str
    port: int | None
    peer_address: str
    peer_port: int | None
    peer_name: str | None
    peer_country: str | None
    scope: str | None
    tx_bytes: int
    rx_bytes: int
    tx_packets: int
    rx_packets: int
    state: str


class DnsRow(msgspec.Struct):
    """All questions for one name and type; the most frequent first."""

    name: str
    type: str
    queries: int
    failed: int  # with another outcome than NOERROR
    unanswered: int
    last: str
    answers: tuple[str, ...]  # the latest


Row = PeerRow | FlowRow | DnsRow
ROWS: dict[View, type[PeerRow] | type[FlowRow] | type[DnsRow]] = {"peers": PeerRow, "flows": FlowRow, "dns": DnsRow}


class _Flow(msgspec.Struct):
    protocol: str
    peer_address: str
    start: str
    end: str
    tx_bytes: int
    rx_bytes: int
    peer_port: int | None = None
    peer_name: str | None = None
    peer_country: str | None = None
    scope: str | None = None


class _WholeFlow(_Flow, kw_only=True):
    address: str
    tx_packets: int
    rx_packets: int
    state: str
    port: int | None = None


class _Dns(msgspec.Struct):
    ts: str
    qname: str
    qtype: str
    rcode: str | None
    answers: tuple[str, ...]


_FLOW = msgspec.json.Decoder(_Flow)
_WHOLE_FLOW = msgspec.json.Decoder(_WholeFlow)
_DNS = msgspec.json.Decoder(_Dns)


def answer(connection: sqlite3.Connection, question: Question, macs: Sequence[str] = ()) -> Sequence[Row]:
    """`macs` of the device, where they are known; else its name is looked for in the events. Raises sqlite3.Error."""
    macs = macs or _macs_of(connection, question.device)
    if question.view == "dns":
        return _dns(_bodies(connection, question, macs, "dns"))[: question.limit]
    if question.view == "flows":
        bodies = _bodies(connection, question, macs, "flow")
        return [_flow_row(body) for body in islice(bodies, question.limit)]
    return _peers(_bodies(connection, question, macs, "flow"))[: question.limit]


def begins(connection: sqlite3.Connection, view: View) -> int | None:
    """When the oldest event that a view is made of happened, Unix ns; None: there is none. Raises sqlite3.Error."""
    kind = "dns" if view == "dns" else "flow"
    # min() of a view would read all of it.
    row = connection.execute("SELECT ts FROM all_events WHERE event = ? ORDER BY ts LIMIT 1", (kind,)).fetchone()
    return None if row is None else int(row[0])


def _macs_of(connection: sqlite3.Connection, device: str) -> Sequence[str]:
    if len(device) == 17 and device.count(":") == 5:
        return (device.lower(),)
    found = connection.execute(
        "SELECT DISTINCT mac FROM (SELECT id, mac, name FROM all_events ORDER BY id DESC LIMIT ?)"
        " WHERE lower(name) = lower(?) AND mac IS NOT NULL",
        (_RECENT_ROWS, device),
    ).fetchall()
    return [mac for (mac,) in found]


def _bodies(connection: sqlite3.Connection, question: Question, macs: Sequence[str], event: str) -> Iterator[str]:
    """Newest first."""
    found = (
        connection.execute(
            "SELECT ts, body FROM all_events WHERE mac = ? AND event = ? AND ts >= ? AND ts < ? ORDER BY ts DESC",
            (mac, event, question.since, question.until),
        )
        for mac in macs
    )
    return (body for _, body in heapq.merge(*found, key=itemgetter(0), reverse=True))


def _peers(bodies: Iterator[str]) -> list[PeerRow]:
    found: dict[tuple[str, str, int | None], PeerRow] = {}
    for body in bodies:
        flow = _FLOW.decode(body)
        peer = flow.peer_name or flow.peer_address
        key = (peer, flow.protocol, flow.peer_port)
        row = found.get(key)
        if row is None:
            found[key] = PeerRow(
                peer,
                flow.peer_country,
                flow.protocol,
                flow.peer_port,
                flow.scope,
                1,
                flow.tx_bytes,
                flow.rx_bytes,
                flow.start,
                flow.end,
            )
        else:
            row.flows += 1
            row.tx_bytes += flow.tx_bytes
            row.rx_bytes += flow.rx_bytes
            row.first = min(row.first, flow.start)
    return sorted(found.values(), key=lambda row: -(row.tx_bytes + row.rx_bytes))


def _flow_row(body: str) -> FlowRow:
    flow = _WHOLE_FLOW.decode(body)
    return FlowRow(**{name: getattr(flow, name) for name in FlowRow.__struct_fields__})


def _dns(bodies: Iterator[str]) -> list[DnsRow]:
    found: dict[tuple[str, str], DnsRow] = {}
    for body in bodies:
        event = _DNS.decode(body)
        row = found.get((event.qname, event.qtype))
        if row is None:
            row = found[event.qname, event.qtype] = DnsRow(event.qname, event.qtype, 0, 0, 0, event.ts, event.answers)
        row.queries += 1
        row.failed += event.rcode not in {None, "NOERROR"}
        row.unanswered += event.rcode is None
    return sorted(found.values(), key=lambda row: -row.queries)
