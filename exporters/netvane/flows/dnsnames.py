r"""Names in DNS messages (RFC 1035 section 4.1.4), and other text that strangers wrote, made printable.

ASCII letters become lower case, and a byte that is no plain host-name character, a dot within a label included, is
written as ``\DDD`` (RFC 1035 section 5.1).
"""

import re
import struct
from functools import lru_cache

MAX_NAME_BYTES = 255  # RFC 1035 section 2.3.4, on the wire

_POINTER = struct.Struct("!H")
_PLAIN = re.compile(rb"[a-z0-9_.*-]*")
_UNPLAIN = re.compile(rb"[^a-z0-9_*/+=:@~!#%&()?{}|^,;-]")
_UNPLAIN_TEXT = re.compile(rb"[^ a-zA-Z0-9_*/+=:@~!#%&()?{}|^,;.-]")


class DnsError(ValueError):
    """No DNS message: shorter than its header, or its first question cannot be read."""


@lru_cache(maxsize=4096)
def uncompressed(wire: bytes) -> str | None:
    """The name whose labels are `wire`, without the zero byte behind them; None if they are not exactly that."""
    labels = []
    offset = 0
    while offset < len(wire):
        length = wire[offset]
        if length > 63 or offset + 1 + length > len(wire):
            return None
        labels.append(wire[offset + 1 : offset + 1 + length])
        offset += 1 + length
    return name_of(labels)


def read_name(message: bytes, offset: int) -> tuple[str, int]:
    """The name at `offset`, and the offset after it.

    A compression pointer must point before the name that it is in (RFC 1035 section 4.1.4: to a prior occurrence), so
    that no chain of pointers can loop; a name is at most 255 bytes long, so that none is long either. Raises DnsError,
    and IndexError or struct.error where the message ends before the name.
    """
    labels = []
    size = 1
    after = None
    bound = offset
    while length := message[offset]:
        if length >= 0xC0:
            target = _POINTER.unpack_from(message, offset)[0] & 0x3FFF
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


def after_name(message: bytes, offset: int) -> int:
    """The offset after the name at `offset`. Raises DnsError, and IndexError where the message ends before."""
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
    return ".".join(label_text(label.lower()) for label in labels)


def label_text(label: bytes) -> str:
    """One label in lower case, or any word without spaces: what is not plain is written as numbers."""
    return _escaped(label, _UNPLAIN)


def plain_text(raw: bytes) -> str:
    """Text that is no name: letters keep their case, spaces and dots stay."""
    return _escaped(raw, _UNPLAIN_TEXT)


def _escaped(raw: bytes, unwanted: re.Pattern[bytes]) -> str:
    return unwanted.sub(lambda found: b"\\%03d" % found[0][0], raw).decode("ascii")
