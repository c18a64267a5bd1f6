"""DNS messages (RFC 1035 section 4) as far as the flow exporter needs them: the question, the outcome, the answers.

dnspython decodes 5.7 k messages a second, because it builds objects for all that a message has; a home's gadgets ask in
bursts, and a core of a Pi is slow. It is the oracle of the tests instead.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache

import dns.rcode
import dns.rdatatype
import msgspec

from netvane.flows.dnsdata import MAX_TEXT, address_text, data_text
from netvane.flows.dnsnames import MAX_NAME_BYTES, DnsError, after_name, read_name, uncompressed

MAX_ANSWERS = 256
HEADER_BYTES = 12

TYPES = {int(number): dns.rdatatype.to_text(number) for number in dns.rdatatype.RdataType}
RCODES = [dns.rcode.to_text(dns.rcode.Rcode.make(number)) for number in range(16)]

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_SHORT = struct.Struct("!H")
_RESPONSE = 0x8000


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
    offset = HEADER_BYTES
    if questions:
        name, type_text, number, offset = _question(message)
    answers: list[Answer] = []
    whole = True
    if records:
        try:
            for _ in range(questions - 1):
                offset = after_name(message, offset) + 4
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
    end = message.find(0, HEADER_BYTES, HEADER_BYTES + MAX_NAME_BYTES)
    if end >= 0:
        known = _plain_question(message[HEADER_BYTES : end + 5])
        if known is not None:
            return *known, end + 5
    try:
        name, end = read_name(message, HEADER_BYTES)
        number, _ = _QUESTION.unpack_from(message, end)
    except (IndexError, struct.error) as exc:
        raise DnsError("the question is cut short") from exc
    return name, type_name(number), number, end + 4


@lru_cache(maxsize=4096)
def _plain_question(wire: bytes) -> tuple[str, str, int] | None:
    """Name, type and its number of a name's labels, a zero byte, type and class; None if it is anything else."""
    name = uncompressed(wire[:-5])
    if name is None or len(wire) < 5 or wire[-5]:
        return None
    number, _ = _QUESTION.unpack_from(wire, len(wire) - 4)
    return name, type_name(number), number


def type_name(number: int) -> str:
    """``A``, and ``TYPE65400`` where the number has no name (RFC 3597 section 5)."""
    return TYPES.get(number) or f"TYPE{number}"


def _read_answers(message: bytes, offset: int, records: int, answers: list[Answer]) -> bool:
    """Append the answers; False if there are more than MAX_ANSWERS. Raises where the message ends before they do."""
    size = len(message)
    for _ in range(min(records, MAX_ANSWERS)):
        # Nearly every owner name is a pointer to the question.
        offset = offset + 2 if message[offset] >= 0xC0 else after_name(message, offset)
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
            text = data_text(message, offset, length, number)[:MAX_TEXT]
            answers.append(Answer(type_name(number), text, ttl))
        offset = end
    return records <= MAX_ANSWERS
