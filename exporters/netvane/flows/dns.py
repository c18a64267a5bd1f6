r"""DNS messages (RFC 1035 section 4) as far as the flow exporter needs them: the question, the outcome, the answers.

The bytes come from strangers. Names are made printable here, once: ASCII letters become lower case, and a byte that is
no plain host-name character, a dot within a label included, is written as ``\DDD`` (RFC 1035 section 5.1).

dnspython decodes 5.7 k messages a second, because it builds objects for all that a message has; a home's gadgets ask in
bursts, and a core of a Pi is slow. It is the oracle of the tests instead.
"""

import re
import socket
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache

import dns.rcode
import dns.rdatatype
import msgspec

MAX_ANSWERS = 256
MAX_TEXT = 255  # characters of one answer
MAX_NAME_BYTES = 255  # RFC 1035 section 2.3.4, on the wire
HEADER_BYTES = 12

TYPES = {int(number): dns.rdatatype.to_text(number) for number in dns.rdatatype.RdataType}
RCODES = [dns.rcode.to_text(dns.rcode.Rcode.make(number)) for number in range(16)]

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_SHORT = struct.Struct("!H")
_PLAIN = re.compile(rb"[a-z0-9_.*-]*")
_UNPLAIN = re.compile(rb"[^a-z0-9_*/+=:@~!#%&()?{}|^,;-]")
_UNPLAIN_TEXT = re.compile(rb"[^ a-zA-Z0-9_*/+=:@~!#%&()?{}|^,;.-]")
_RESPONSE = 0x8000


class DnsError(ValueError):
    """No DNS message: shorter than its header, or its first question cannot be read."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A record of the answer section: `text` is an address, a name, or what the record says, at most 255 characters."""

    type: str
    text: str
    ttl: int


class DnsMessage(msgspec.Struct, frozen=True, gc=False):
    """The first question of a message and its answers.

    `name` is None (and `type` with it) where there is no question, as in most mDNS responses; the root is "". A query
    has no `rcode`. `whole` is False where the answers could not be read to their end: they are then those before it.
    """

    id: int
    response: bool
    rcode: str | None
    name: str | None
    type: str | None
    type_number: int | None
    answers: tuple[Answer, ...]
    whole: bool


def decode(message: bytes) -> DnsMessage:
    """Decode one message as it is in a UDP datagram; raises DnsError."""
    if len(message) < HEADER_BYTES:
        raise DnsError("shorter than a DNS header")
    identifier, flags, questions, records, _, _ = _HEADER.unpack_from(message)
    response = flags >= _RESPONSE
    name = type_text = number = None
    offset = 12
    if questions:
        name, type_text, number, offset = _question(message)
    answers: list[Answer] = []
    whole = True
    if records:
        try:
            for _ in range(questions - 1):
                offset = _after_name(message, offset) + 4
            whole = _read_answers(message, offset, records, answers)
        except (DnsError, IndexError, struct.error):
            whole = False
    return DnsMessage(
        identifier, response, RCODES[flags & 15] if response else None, name, type_text, number, tuple(answers), whole
    )


def is_query(message: bytes) -> bool:
    """Whether it has the header of a query."""
    return len(message) >= HEADER_BYTES and message[2] < _RESPONSE >> 8


def tcp_messages(segment: bytes) -> Iterator[bytes]:
    """The messages that are whole in one TCP segment, each after its 16-bit length (RFC 1035 section 4.2.2)."""
    offset = 0
    while offset + 2 <= len(segment):
        (length,) = _SHORT.unpack_from(segment, offset)
        offset += 2
        if offset + length > len(segment):
            return
        yield segment[offset : offset + length]
        offset += length


def _question(message: bytes) -> tuple[str, str, int, int]:
    """Name, type, and the type's number of the question at offset 12, and the offset after it; raises DnsError.

    A home asks for the same names again and again: the bytes up to the first zero byte, with the type and class behind
    it, are the key of a cache. If they are not exactly the labels of one name (a label may hold a zero byte), the name
    is read label by label.
    """
    end = message.find(0, 12, 12 + MAX_NAME_BYTES)
    if end >= 0:
        known = _plain_question(message[12 : end + 5])
        if known is not None:
            return *known, end + 5
    try:
        name, end = _read_name(message, 12)
        number, _ = _QUESTION.unpack_from(message, end)
    except (IndexError, struct.error) as exc:
        raise DnsError("the question is cut short") from exc
    return name, type_name(number), number, end + 4


@lru_cache(maxsize=4096)
def _plain_question(wire: bytes) -> tuple[str, str, int] | None:
    """Name, type and its number of a name's labels, a zero byte, type and class; None if it is anything else."""
    name = _uncompressed(wire[:-5])
    if name is None or len(wire) < 5 or wire[-5]:
        return None
    number, _ = _QUESTION.unpack_from(wire, len(wire) - 4)
    return name, type_name(number), number


def type_name(number: int) -> str:
    """``A``, and ``TYPE65400`` where the number has no name (RFC 3597 section 5)."""
    return TYPES.get(number) or f"TYPE{number}"


@lru_cache(maxsize=4096)
def _uncompressed(wire: bytes) -> str | None:
    labels = []
    offset = 0
    while offset < len(wire):
        length = wire[offset]
        if length > 63 or offset + 1 + length > len(wire):
            return None
        labels.append(wire[offset + 1 : offset + 1 + length])
        offset += 1 + length
    return name_of(labels)


def _read_name(message: bytes, offset: int) -> tuple[str, int]:
    """The name at `offset`, and the offset after it.

    A compression pointer must point before the name that it is in (RFC 1035 section 4.1.4: to a prior occurrence), so
    that no chain of pointers can loop; a name is at most 255 bytes long, so that none is long either.
    """
    labels = []
    size = 1
    after = None
    bound = offset
    while length := message[offset]:
        if length >= 0xC0:
            target = _SHORT.unpack_from(message, offset)[0] & 0x3FFF
            if target >= bound:
                raise DnsError("a compression pointer that does not point back")
            if after is None:
                after = offset + 2
            offset = bound = target
            continue
        if length > 63:
            raise DnsError("a label type that is not in use")
        size += 1 + length
        label = message[offset + 1 : offset + 1 + length]
        if size > MAX_NAME_BYTES or len(label) < length:
            raise DnsError("a name that is too long, or cut short")
        labels.append(label)
        offset += 1 + length
    return name_of(labels), offset + 1 if after is None else after


def _after_name(message: bytes, offset: int) -> int:
    while length := message[offset]:
        if length >= 0xC0:
            return offset + 2
        if length > 63:
            raise DnsError("a label type that is not in use")
        offset += 1 + length
    return offset + 1


def name_of(labels: list[bytes]) -> str:
    """The labels of a name as the lower-case printable text that the module's docstring describes."""
    joined = b".".join(labels).lower()
    if _PLAIN.fullmatch(joined) and joined.count(b".") == len(labels) - 1:
        return joined.decode("ascii")
    return ".".join(_escaped(label.lower(), _UNPLAIN) for label in labels)


def _escaped(raw: bytes, unwanted: re.Pattern[bytes]) -> str:
    return unwanted.sub(lambda found: b"\\%03d" % found[0][0], raw).decode("ascii")


def _read_answers(message: bytes, offset: int, records: int, answers: list[Answer]) -> bool:
    """Append the answers; False if there are more than MAX_ANSWERS. Raises where the message ends before they do."""
    size = len(message)
    for _ in range(min(records, MAX_ANSWERS)):
        # Nearly every owner name is a pointer to the question.
        offset = offset + 2 if message[offset] >= 0xC0 else _after_name(message, offset)
        number, _, ttl, length = _RECORD.unpack_from(message, offset)
        offset += 10
        end = offset + length
        if end > size:
            return False
        if number == 1 and length == 4:
            answers.append(Answer("A", address_text(message[offset:end]), ttl))
        elif number == 28 and length == 16:
            answers.append(Answer("AAAA", address_text(message[offset:end]), ttl))
        else:
            text = _data_text(message, offset, length, number)[:MAX_TEXT]
            answers.append(Answer(type_name(number), text, ttl))
        offset = end
    return records <= MAX_ANSWERS


@lru_cache(maxsize=8192)
def address_text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _data_text(message: bytes, offset: int, length: int, number: int) -> str:
    reader = _READERS.get(number)
    if reader is not None:
        try:
            return reader(message, offset, length)
        except (DnsError, IndexError, struct.error):
            pass
    # RFC 3597 section 5: data of a type that is not known, or of a known one that it does not fit.
    return f"\\# {length} {message[offset : offset + length][: MAX_TEXT // 2].hex()}"


def _host(message: bytes, offset: int, length: int) -> str:
    # Without a pointer it can be remembered.
    last = offset + length - 1
    if length <= MAX_NAME_BYTES and message.find(0, offset, offset + length) == last:
        name = _uncompressed(message[offset:last])
        if name is not None:
            return name
    return _read_name(message, offset)[0]


def _preference_host(message: bytes, offset: int, _length: int) -> str:
    return f"{_SHORT.unpack_from(message, offset)[0]} {_read_name(message, offset + 2)[0]}"


def _srv(message: bytes, offset: int, _length: int) -> str:
    """RFC 2782: priority, weight, port, target."""
    priority, weight, port = struct.unpack_from("!3H", message, offset)
    return f"{priority} {weight} {port} {_read_name(message, offset + 6)[0]}"


def _soa(message: bytes, offset: int, _length: int) -> str:
    """RFC 1035 section 3.3.13; without the timers."""
    server, offset = _read_name(message, offset)
    mailbox, offset = _read_name(message, offset)
    return f"{server} {mailbox} {struct.unpack_from('!I', message, offset)[0]}"


def _txt(message: bytes, offset: int, length: int) -> str:
    end = offset + length
    strings = []
    while offset < end:
        size = message[offset]
        strings.append(message[offset + 1 : min(offset + 1 + size, end)])
        offset += 1 + size
    return _escaped(b"".join(strings)[:MAX_TEXT], _UNPLAIN_TEXT)


def _svcb(message: bytes, offset: int, length: int) -> str:
    """SVCB and HTTPS (RFC 9460 section 2.2): priority, target, then what tells how and where to connect."""
    end = offset + length
    (priority,) = _SHORT.unpack_from(message, offset)
    target, offset = _read_name(message, offset + 2)
    parts = [str(priority), target or "."]
    while offset < end:
        key, size = struct.unpack_from("!HH", message, offset)
        value = message[offset + 4 : offset + 4 + size]
        offset += 4 + size
        if offset > end:
            raise DnsError("a parameter that is cut short")
        if key == 1:
            parts.append("alpn=" + ",".join(_counted(value)))
        elif key == 3 and size == 2:
            parts.append(f"port={_SHORT.unpack(value)[0]}")
        elif key == 4 and size % 4 == 0:
            parts.append("ipv4hint=" + _addresses(value, socket.AF_INET, 4))
        elif key == 5:
            parts.append("ech")
        elif key == 6 and size % 16 == 0:
            parts.append("ipv6hint=" + _addresses(value, socket.AF_INET6, 16))
    return " ".join(parts)


def _counted(value: bytes) -> Iterator[str]:
    offset = 0
    while offset < len(value):
        size = value[offset]
        yield _escaped(value[offset + 1 : offset + 1 + size], _UNPLAIN)
        offset += 1 + size


def _addresses(value: bytes, family: socket.AddressFamily, size: int) -> str:
    return ",".join(socket.inet_ntop(family, value[at : at + size]) for at in range(0, len(value), size))


_READERS: dict[int, Callable[[bytes, int, int], str]] = {
    2: _host,  # NS
    5: _host,  # CNAME
    6: _soa,
    12: _host,  # PTR
    15: _preference_host,  # MX
    16: _txt,
    33: _srv,
    39: _host,  # DNAME
    64: _svcb,
    65: _svcb,  # HTTPS
}
