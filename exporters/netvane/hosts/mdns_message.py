"""Multicast DNS messages: bytes in, what they say about their sender out. RFC 1035, RFC 6762, RFC 6763.

Read here and not by zeroconf, which takes 16 MB of memory and keeps a cache of everything that anybody says.
"""

import struct
from itertools import pairwise
from typing import NamedTuple

from netvane.common.text import clean_name

PORT = 5353
ALL_SERVICES = "_services._dns-sd._udp.local"

_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length
_PTR, _SRV, _A, _AAAA = 12, 33, 1, 28
_RESPONSE = 0x8000
_MAX_RECORDS = 200
_MAX_JUMPS = 64


class MalformedError(ValueError):
    """Not a DNS message."""


class Announcement(NamedTuple):
    """What a response says: host names (without .local), service types (``_ipp._tcp``), types found by browsing."""

    host_names: tuple[str, ...]
    services: tuple[str, ...]


def query(*names: str) -> bytes:
    """A question for the PTR records of each name."""
    questions = b"".join(_encode(name) + struct.pack("!HH", _PTR, 1) for name in names)
    return _HEADER.pack(0, 0, len(names), 0, 0, 0) + questions


def parse(message: bytes) -> Announcement | None:
    """None for a question. Raises MalformedError."""
    if len(message) < _HEADER.size:
        raise MalformedError("header cut short")
    _, flags, questions, *records = _HEADER.unpack_from(message)
    if not flags & _RESPONSE:
        return None
    at = _HEADER.size
    for _ in range(min(questions, _MAX_RECORDS)):
        _, at = _name(message, at)
        at += 4
    said = _Said({}, {})
    for _ in range(min(sum(records), _MAX_RECORDS)):
        owner, at = _name(message, at)
        if at + _RECORD.size > len(message):
            raise MalformedError("record cut short")
        kind, _, ttl, length = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        if at + length > len(message):
            raise MalformedError("record beyond the message")
        if ttl:  # zero: it says goodbye
            _note(message, at, kind, owner, said)
        at += length
    return Announcement(tuple(said.hosts), tuple(said.services))


class _Said(NamedTuple):
    """In the order in which they are said."""

    hosts: dict[str, None]
    services: dict[str, None]


def _note(message: bytes, at: int, kind: int, owner: list[bytes], said: _Said) -> None:
    if kind in {_A, _AAAA} and len(owner) == 2 and owner[1].lower() == b"local":
        if name := clean_name(owner[0]):
            said.hosts[name] = None
        return
    labels = owner
    if kind == _PTR and [label.lower() for label in owner[:3]] == [b"_services", b"_dns-sd", b"_udp"]:
        labels, _ = _name(message, at)
    elif kind not in {_PTR, _SRV}:
        return
    if service := _service_type(labels):
        said.services[service] = None


def _service_type(labels: list[bytes]) -> str | None:
    """``_ipp._tcp`` in ``<instance>._ipp._tcp.local`` and in ``_ipp._tcp.local``."""
    for first, second in pairwise(labels):
        if first.startswith(b"_") and second.lower() in {b"_tcp", b"_udp"} and first.lower() != b"_dns-sd":
            return clean_name(b".".join((first, second)).lower())
    return None


def _name(message: bytes, at: int) -> tuple[list[bytes], int]:
    """Labels, and where what follows the name begins."""
    labels: list[bytes] = []
    end, jumps, total = 0, 0, 0
    while True:
        if at >= len(message):
            raise MalformedError("name cut short")
        length = message[at]
        if length & 0xC0 == 0xC0:
            if at + 2 > len(message) or jumps >= _MAX_JUMPS:
                raise MalformedError("name that leads nowhere")
            end = end or at + 2
            at = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            jumps += 1
            continue
        if length & 0xC0:
            raise MalformedError("label of an unknown kind")
        at += 1
        if not length:
            return labels, end or at
        total += length + 1
        if total > 255 or at + length > len(message):
            raise MalformedError("name too long")
        labels.append(message[at : at + length])
        at += length


def _encode(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
