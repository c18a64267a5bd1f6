"""Flows: both directions of a conversation put together, and told when it ends or every five minutes."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from netvane.flows import keys as k
from netvane.flows.accounts import Accounts
from netvane.flows.batch import I64, U8, U64
from netvane.flows.classes import BIT
from netvane.flows.keys import SHIFT32, Hasher
from netvane.flows.prefixes import DESTINATION, SOURCE
from netvane.flows.table import FlowTable

SECOND = 1_000_000_000
REPORT_SECONDS = 300  # how often a long flow is told
CLOSED_SECONDS = 5  # late segments of a closed connection still belong to it
TCP_SECONDS, OTHER_SECONDS = 300, 60
UNANSWERED_SECONDS = 30  # a SYN that nobody answers
# While the table is full, silence is shorter.
PRESSED_SECONDS = 5

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

_U = np.uint64
_MAC_MASK = _U(0xFFFFFFFFFFFF)
_LOOKUPS = BIT["dns"] | BIT["ssdp"]
_MIX = _U(0x9E3779B97F4A7C15)  # odd


State = Literal["open", "closed", "timeout"]
_STATES: tuple[State, ...] = ("open", "closed", "timeout")


class FlowRecord(NamedTuple):
    """A conversation of a device: `key` is that of the direction in which it was first seen.

    `forward`: the first direction is the one in which the device sends. `tx` is what it sent.
    """

    key: tuple[int, ...]
    forward: bool
    first: int
    last: int
    tx_frames: int
    tx_bytes: int
    rx_frames: int
    rx_bytes: int
    tcp_flags: int
    local: bool
    state: State


class Survey(NamedTuple):
    """`records`: flows that ended, and long ones with what they did since they were last told.

    `untold`: how many ended and are not among them. `ended`: uint64, protocols of the flows that ended. `kept`:
    positions of entries that stay, in no order.
    """

    records: list[FlowRecord]
    untold: int
    ended: U64
    kept: I64
    dropped: int


def pairs_of(hasher: Hasher, keys: U64, scopes: U64, classes: U64) -> U64:
    """uint64[n]: equal for the two directions of a conversation of one device.

    The device is the local end; where both or none are local, both are.
    """
    last = keys[:, 6]
    lookup = is_lookup(classes)
    source_port, destination_port = last & _U(0xFFFF), (last >> _U(16)) & _U(0xFFFF)
    well_known = np.minimum(_host_order(source_port), _host_order(destination_port))
    source_port = np.where(lookup & (_host_order(source_port) != well_known), _U(0), source_port)
    destination_port = np.where(lookup & (_host_order(destination_port) != well_known), _U(0), destination_port)
    one_end = (scopes == SOURCE) | (scopes == DESTINATION)
    ends = []
    for bit, mac, first, second, port in (
        (SOURCE, keys[:, 1] & _MAC_MASK, keys[:, 2], keys[:, 3], source_port),
        (DESTINATION, keys[:, 0] >> _U(16), keys[:, 4], keys[:, 5], destination_port),
    ):
        named = ~one_end | (scopes == bit)
        mixed = hasher.add(None, 0, np.where(named, mac, _U(0)))
        for position, word in ((2, first), (3, second), (6, port)):
            mixed = hasher.add(mixed, position, word)
        # Without this, what one end adds the other could take away.
        ends.append((mixed ^ (mixed >> SHIFT32)) * _MIX)
    rest = hasher.add(None, 0, keys[:, 0] & _U(0xFFFF))
    rest = hasher.add(rest, 1, keys[:, 1] & ~_MAC_MASK)
    rest = hasher.add(rest, 6, last & _U(0xFF << k.PROTOCOL_SHIFT))
    folded = (last >> _U(k.FLAGS_SHIFT)) & _U(k.FOLDED) != 0
    return np.where(folded, hasher.of_words(keys), ends[0] + ends[1] + rest)


def is_lookup(classes: U64) -> npt.NDArray[np.bool_]:
    """Whether entries are of questions, each from a port of its own: those of a device to one server are one flow."""
    found: npt.NDArray[np.bool_] = (classes & _LOOKUPS != 0) & (classes & BIT["udp"] != 0)
    return found


def _host_order(port: U64) -> U64:
    return (port & _U(0xFF)) << _U(8) | port >> _U(8)


def survey(table: FlowTable, accounts: Accounts, now: int, *, tell: int) -> Survey:
    """Which flows ended, which are to be told (at most so many), which entries stay."""
    taken = np.flatnonzero(table.hashes)
    if not taken.size:
        return Survey([], 0, taken.astype(np.uint64), taken, 0)
    classes = accounts.classes[taken].astype(np.uint64)
    limit = _silence(classes, pressed=table.full)
    # Entries of look-ups leave one by one; those that leave together are told together.
    lookup = is_lookup(classes)
    alone = lookup & (now - table.last[taken] > limit)
    pair = accounts.pair[taken] + alone
    order = np.lexsort((table.first[taken], pair))
    entries, pair = taken[order], pair[order]
    starts = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]]))
    flow = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(entries)))  # of each entry

    first, last = table.first[entries[starts]], np.maximum.reduceat(table.last[entries], starts)
    flags = np.bitwise_or.reduceat(table.tcp_flags[entries], starts)
    fins = np.add.reduceat((table.tcp_flags[entries] & FIN != 0).astype(np.int64), starts)
    closed = (flags & RST != 0) | (fins > 1)
    unanswered = (flags & SYN != 0) & (flags & ACK == 0)
    limits = np.maximum.reduceat(limit[order], starts)
    limits = np.where(unanswered, np.minimum(limits, UNANSWERED_SECONDS * SECOND), limits)
    limits = np.where(closed, CLOSED_SECONDS * SECOND, limits)
    ended = now - last > limits
    due = ~ended & (now - first > REPORT_SECONDS * SECOND)

    words = table.keys[entries[starts], 6]
    is_flow = _is_flow(words)
    to_tell = np.flatnonzero((ended | due) & is_flow)
    told = to_tell[:tell]
    states = np.where(due, 0, np.where(closed, 1, 2))
    records = _records(table, accounts, _groups(entries, starts, told), last[told], flags[told], states[told])
    # A long flow that there was no room for is told the next time.
    due[to_tell[tell:]] = False
    reported = entries[due[flow]]
    accounts.frames[reported] = 0
    accounts.bytes[reported] = 0
    table.first[reported] = now
    kept = entries[~ended[flow]]
    protocols = (words[ended & is_flow] >> _U(k.PROTOCOL_SHIFT)) & _U(0xFF)
    untold = int(np.count_nonzero(ended[to_tell[tell:]]))
    return Survey(records, untold, protocols, kept, len(taken) - len(kept))


class _Groups(NamedTuple):
    """`entries` (positions) in groups that begin at `starts`, one a flow, the opening entry first.

    `flow` is the group of each entry.
    """

    entries: I64
    starts: I64
    flow: I64


def _groups(entries: I64, starts: I64, chosen: I64) -> _Groups:
    """The groups whose numbers are `chosen`, numbered anew."""
    sizes = np.diff(starts, append=len(entries))[chosen]
    begins = np.cumsum(sizes) - sizes
    flow = np.repeat(np.arange(len(chosen)), sizes)
    return _Groups(entries[starts[chosen][flow] + np.arange(len(flow)) - begins[flow]], begins, flow)


def _records(
    table: FlowTable, accounts: Accounts, groups: _Groups, last: I64, flags: U8, states: I64
) -> list[FlowRecord]:
    """A record for each group; `last`, `flags` and `states` (indices into _STATES) are one for each."""
    if not len(groups.starts):
        return []
    entries, starts, flow = groups
    keys, first = table.keys[entries], entries[starts]
    opening = table.keys[first]
    same = (keys[:, 2:6] == opening[flow, 2:6]).all(axis=1)
    # Between two ports of one address, addresses do not tell the directions apart.
    loop = (opening[:, 2:4] == opening[:, 4:6]).all(axis=1)
    same &= ~loop[flow] | (keys[:, 6] & _U(0xFFFF) == opening[flow, 6] & _U(0xFFFF))
    sums = [
        np.add.reduceat(np.where(direction, column[entries], _U(0)), starts).tolist()
        for direction in (same, ~same)
        for column in (accounts.frames, accounts.bytes)
    ]
    scopes = accounts.scopes[first]
    result = []
    rows = zip(
        opening.tolist(),
        table.first[first].tolist(),
        last.tolist(),
        *sums,
        flags.tolist(),
        (scopes != DESTINATION).tolist(),
        (scopes == (SOURCE | DESTINATION)).tolist(),
        states.tolist(),
        strict=True,
    )
    for key, begun, end, frames, size, back_frames, back_size, tcp, is_forward, is_local, state in rows:
        if frames + back_frames == 0:  # told five minutes ago, and silent since
            continue
        sent, received = (frames, size), (back_frames, back_size)
        tx, rx = (sent, received) if is_forward else (received, sent)
        result.append(FlowRecord(tuple(key), is_forward, begun, end, *tx, *rx, tcp, is_local, _STATES[state]))
    return result


def _silence(classes: U64, *, pressed: bool) -> I64:
    """Nanoseconds without a frame after which an entry's flow has ended."""
    seconds = np.where(classes & BIT["tcp"] != 0, TCP_SECONDS, OTHER_SECONDS)
    return np.minimum(seconds, PRESSED_SECONDS if pressed else TCP_SECONDS) * SECOND


def _is_flow(words: U64) -> npt.NDArray[np.bool_]:
    """Between two addresses, and not an entry of `other`, by word 6 of the key."""
    flags: U64 = words >> _U(k.FLAGS_SHIFT)
    is_flow: npt.NDArray[np.bool_] = flags & _U(k.FOLDED | k.IP) == _U(k.IP)
    return is_flow
