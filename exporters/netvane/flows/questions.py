"""Answers from the event store: what one device talked to, asked for, and when.

The rows of a device and a kind are found by the index (mac, event, ts). Bodies are decoded as far as a view needs them.
"""

import sqlite3
from collections.abc import Iterator, Sequence
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


def answer(connection: sqlite3.Connection, question: Question) -> Sequence[Row]:
    """Raises sqlite3.Error."""
    mac = _mac_of(connection, question.device)
    if mac is None:
        return []
    if question.view == "dns":
        return _dns(_bodies(connection, question, mac, "dns"))[: question.limit]
    if question.view == "flows":
        return [_flow_row(body) for body in _bodies(connection, question, mac, "flow", question.limit)]
    return _peers(_bodies(connection, question, mac, "flow"))[: question.limit]


def _mac_of(connection: sqlite3.Connection, device: str) -> str | None:
    if len(device) == 17 and device.count(":") == 5:
        return device.lower()
    found = connection.execute(
        "SELECT mac FROM (SELECT mac, name FROM events ORDER BY id DESC LIMIT ?) WHERE name = ? LIMIT 1",
        (_RECENT_ROWS, device),
    ).fetchone()
    return None if found is None else str(found[0])


def _bodies(connection: sqlite3.Connection, question: Question, mac: str, event: str, limit: int = -1) -> Iterator[str]:
    """Newest first."""
    rows = connection.execute(
        "SELECT body FROM events WHERE mac = ? AND event = ? AND ts >= ? AND ts < ? ORDER BY ts DESC LIMIT ?",
        (mac, event, question.since, question.until, limit),
    )
    return (body for (body,) in rows)


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
