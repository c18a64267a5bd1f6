"""What the records of DNS messages say, as text; for types that are not known the form of RFC 3597."""

import socket
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache

from netvane.flows.dnsnames import MAX_NAME_BYTES, DnsError, label_text, plain_text, read_name, uncompressed

MAX_TEXT = 255  # characters of one answer

_SHORT = struct.Struct("!H")


@lru_cache(maxsize=8192)
def address_text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def data_text(message: bytes, offset: int, length: int, number: int) -> str:
    """The data of a record of type `number`, `length` bytes at `offset`; never raises."""
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
        name = uncompressed(message[offset:last])
        if name is not None:
            return name
    return read_name(message, offset)[0]


def _preference_host(message: bytes, offset: int, _length: int) -> str:
    return f"{_SHORT.unpack_from(message, offset)[0]} {read_name(message, offset + 2)[0]}"


def _srv(message: bytes, offset: int, _length: int) -> str:
    """RFC 2782: priority, weight, port, target."""
    priority, weight, port = struct.unpack_from("!3H", message, offset)
    return f"{priority} {weight} {port} {read_name(message, offset + 6)[0]}"


def _soa(message: bytes, offset: int, _length: int) -> str:
    """RFC 1035 section 3.3.13; without the timers."""
    server, offset = read_name(message, offset)
    mailbox, offset = read_name(message, offset)
    return f"{server} {mailbox} {struct.unpack_from('!I', message, offset)[0]}"


def _txt(message: bytes, offset: int, length: int) -> str:
    end = offset + length
    strings = []
    while offset < end:
        size = message[offset]
        strings.append(message[offset + 1 : min(offset + 1 + size, end)])
        offset += 1 + size
    return plain_text(b"".join(strings)[:MAX_TEXT])


def _svcb(message: bytes, offset: int, length: int) -> str:
    """SVCB and HTTPS (RFC 9460 section 2.2): priority, target, then what tells how and where to connect."""
    end = offset + length
    (priority,) = _SHORT.unpack_from(message, offset)
    target, offset = read_name(message, offset + 2)
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
        yield label_text(value[offset + 1 : offset + 1 + size])
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
