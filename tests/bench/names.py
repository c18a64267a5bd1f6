"""The DNS decoder against a million messages that are not as they should be."""

import random
import struct
from typing import Any

import msgspec

from netvane.flows import dns
from netvane.flows.dnsnames import MAX_NAME_BYTES, DnsError

MESSAGES = 1_000_000
SAMPLE = 50  # every so many are compared with the plain decoder
_INTERESTING = (0x00, 0x01, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xC0, 0x0C, 0xFF)


def run() -> dict[str, Any]:
    choice = random.Random(1)  # noqa: S311 - to be repeated, not to be secret
    originals = _messages()
    decoded = refused = wrong = 0
    for number in range(MESSAGES):
        message = _mutated(choice, choice.choice(originals))
        try:
            found = dns.decode(message)
        except DnsError:
            found = None
            refused += 1
        else:
            decoded += 1
            msgspec.json.encode(found)
        if number % SAMPLE == 0:
            wrong += _question(message) != (None if found is None else (found.name, found.type_number))
    return {
        "messages": MESSAGES,
        "decoded": decoded,
        "refused": refused,
        "compared": MESSAGES // SAMPLE,
        "wrong": wrong,
        "goal": "no crash, none wrong",
    }


def _messages() -> list[bytes]:
    """Queries and responses with records of many types, with compression."""
    name = b"\x03api\x07example\x03org\0"
    made = []
    for kind in (1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 64, 65, 255):
        question = name + struct.pack("!HH", kind, 1)
        made.append(struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + question)
        for data in (bytes([203, 0, 113, 9]), bytes(16), b"\x03www\xc0\x0c", b"\0\x0a\xc0\x0c", b"\x05hello", b""):
            record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
            made.append(struct.pack("!6H", 7, 0x8180, 1, 3, 0, 0) + question + 3 * record)
    return made


def _mutated(choice: random.Random, message: bytes) -> bytes:
    changed = bytearray(message)
    for _ in range(choice.choice((1, 1, 2, 3, 8))):
        at = choice.randrange(len(changed))
        changed[at] = choice.choice(_INTERESTING) if choice.random() < 0.5 else choice.randrange(256)
    if choice.random() < 0.2:
        del changed[choice.randrange(len(changed)) :]
    if choice.random() < 0.1:
        at = choice.randrange(len(changed) + 1)
        changed[at:at] = choice.randbytes(choice.randrange(40))
    return bytes(changed)


def _question(message: bytes) -> tuple[str | None, int | None] | None:
    """Name and type of the first question, read byte by byte after RFC 1035; None: there is no message in it."""
    try:
        *_, questions, _, _, _ = struct.unpack_from("!6H", message)
        if not questions:
            return None, None
        name, end = _name(message)
        return name, int(struct.unpack_from("!HH", message, end)[0])
    except (IndexError, ValueError, struct.error):
        return None


def _name(message: bytes) -> tuple[str, int]:
    """The name behind the header, and where it ends there. Raises IndexError, ValueError."""
    labels: list[str] = []
    at, end, size = 12, 0, 1
    while length := message[at]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | message[at + 1]
            end = end or at + 2
            if target >= at:
                raise ValueError("only names before this one")
            at = target
            continue
        label = message[at + 1 : at + 1 + length]
        size += 1 + length
        if length > 63 or len(label) < length or size > MAX_NAME_BYTES:
            raise ValueError("no label, or too many")
        labels.append("".join(_printable(byte) for byte in label.lower()))
        at += 1 + length
    return ".".join(labels), end or at + 1


def _printable(byte: int) -> str:
    plain = chr(byte)
    return plain if plain.isascii() and (plain.isalnum() or plain in "_*/+=:@~!#%&()?{}|^,;-") else f"\\{byte:03d}"
