"""The ClientHello of TLS (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2): which server a client asks for.

A hello with a post-quantum key share is larger than a segment, so that nearly every browser's comes in two: `Hellos`
joins them. What it keeps is bounded in connections, bytes and time, because anybody can begin a hello and leave.
"""

import struct
from collections.abc import Hashable

import msgspec

from netvane.common.clock import NANOSECONDS
from netvane.flows.dnsnames import name_of

MAX_HELLO_BYTES = 16 * 1024
MAX_SEGMENTS = 12
MAX_WAITING = 256
WAIT_NS = 10 * NANOSECONDS

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_MAY_BE_HELLO = (b"", bytes([_CLIENT_HELLO]))
_SHORT = struct.Struct("!H")
_EXTENSION = struct.Struct("!HH")  # type, length
_NAME = struct.Struct("!BH")  # type, length


class TlsError(ValueError):
    """Not a ClientHello."""


class Hello(msgspec.Struct, frozen=True, gc=False):
    """What a ClientHello says in the clear; if it hides another (RFC 9849), the name may be that of a front."""

    server_name: str | None


def hello_in_records(stream: bytes) -> Hello | None:
    """The ClientHello at the beginning of a TCP stream, None if its end is yet to come. Raises TlsError."""
    handshake = b""
    offset = 0
    while offset + 5 <= len(stream) and stream[offset] == _HANDSHAKE:
        (length,) = _SHORT.unpack_from(stream, offset + 3)
        handshake += stream[offset + 5 : offset + 5 + length]
        offset += 5 + length
    hello = hello_in_handshake(handshake)
    if hello is None and offset < len(stream) and stream[offset] != _HANDSHAKE:
        raise TlsError("a record of another type where the handshake should go on")
    return hello


def hello_in_handshake(handshake: bytes) -> Hello | None:
    """The ClientHello at the beginning of the handshake messages, None if its end is yet to come. Raises TlsError."""
    if len(handshake) < 4:
        return None
    if handshake[0] != _CLIENT_HELLO:
        raise TlsError("not a ClientHello")
    length = int.from_bytes(handshake[1:4])
    if length > MAX_HELLO_BYTES:
        raise TlsError("a ClientHello that is too long")
    if len(handshake) < 4 + length:
        return None
    try:
        return _hello(handshake[4 : 4 + length])
    except (IndexError, struct.error) as exc:
        raise TlsError("a ClientHello that is cut short") from exc


def _hello(body: bytes) -> Hello:
    offset = 2 + 32  # version, random
    offset += 1 + body[offset]  # session id
    offset += 2 + _SHORT.unpack_from(body, offset)[0]  # cipher suites
    offset += 1 + body[offset]  # compression methods
    if offset == len(body):  # no extensions, as before TLS 1.2
        return Hello(None)
    end = offset + 2 + _SHORT.unpack_from(body, offset)[0]
    offset += 2
    while offset < end:
        kind, length = _EXTENSION.unpack_from(body, offset)
        offset += 4
        if offset + length > len(body):
            raise IndexError
        if kind == _SERVER_NAME and (name := _server_name(body[offset : offset + length])):
            return Hello(name)
        offset += length
    return Hello(None)


def _server_name(data: bytes) -> str | None:
    """RFC 6066 section 3: a list with one name of type 0 (host name) at most."""
    offset = 2
    while offset < len(data):
        kind, length = _NAME.unpack_from(data, offset)
        raw = data[offset + 3 : offset + 3 + length]
        if kind == 0 and 0 < len(raw) <= 255:
            return name_of(raw.removesuffix(b".").split(b"."))
        offset += 3 + length
    return None


class _Begun(msgspec.Struct):
    sequence: int
    stream: bytes
    segments: int
    since: int


class Hellos:
    """Finds the ClientHellos in TCP segments, also those that are spread over several."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, _Begun] = {}

    def feed(self, connection: Hashable, sequence: int, payload: bytes, now: int) -> Hello | None:
        """Take one segment from a client; `now` in ns, of a clock that only moves forward.

        Raises TlsError where a ClientHello is malformed. Segments that neither begin nor continue one are ignored.
        """
        begun = self._waiting.get(connection)
        if begun is not None and not _continue(begun, sequence, payload, now):
            begun = None
        if begun is None:
            # A client's later handshake messages come in such records too.
            if payload[:2] != b"\x16\x03" or payload[5:6] not in _MAY_BE_HELLO:
                return None
            begun = _Begun(sequence, payload, 1, now)
        self._waiting.pop(connection, None)
        hello = hello_in_records(begun.stream)
        if hello is None and begun.segments < MAX_SEGMENTS and len(begun.stream) < MAX_HELLO_BYTES:
            if len(self._waiting) >= MAX_WAITING:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[connection] = begun
        return hello


def _continue(begun: _Begun, sequence: int, payload: bytes, now: int) -> bool:
    """Append what is new in `payload`; False if it does not follow: late, after a gap, or of another connection."""
    at = (sequence - begun.sequence) % 2**32
    if now - begun.since > WAIT_NS or not at <= len(begun.stream) < at + len(payload):
        return False
    begun.stream = begun.stream[:at] + payload
    begun.segments += 1
    return True
