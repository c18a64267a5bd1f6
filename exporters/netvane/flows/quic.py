"""The ClientHello in a QUIC Initial (RFC 9001 section 5, RFC 9369 for version 2): which server a client asks for.

An Initial is encrypted with a key that anybody can derive from the connection id that it carries, so that it hides
nothing from who looks. The AES for it comes from the `cryptography` package, which is optional: without it `Initials`
finds nothing and all else works.
"""

import hmac
import struct
from collections.abc import Hashable, Iterator

import msgspec

from netvane.common.clock import NANOSECONDS
from netvane.flows.tls import MAX_HELLO_BYTES, Hello, TlsError, hello_in_handshake

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True

MAX_CONNECTIONS = 256
MAX_DATAGRAM_BYTES = 2048
MAX_DATAGRAMS = 12  # that one ClientHello may be spread over
MAX_PIECES = 64  # that it may be cut into: browsers do that on purpose
WAIT_NS = 10 * NANOSECONDS


class _Version(msgspec.Struct, frozen=True):
    salt: bytes
    initial: int  # the packet type of an Initial
    label: bytes


_V1 = _Version(bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), 0, b"quic ")
_V2 = _Version(bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), 1, b"quicv2 ")
_DRAFT_29 = _Version(bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899"), 0, b"quic ")
_DRAFT_23 = _Version(bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502"), 0, b"quic ")
# The drafts changed the salt now and then; those that devices in the field may still speak.
_VERSIONS = {
    1: _V1,
    0x6B3343CF: _V2,
    **{0xFF000000 + draft: _DRAFT_23 for draft in range(23, 29)},
    **{0xFF000000 + draft: _DRAFT_29 for draft in range(29, 33)},
    **{0xFF000000 + draft: _V1 for draft in range(33, 35)},
}


class _Initial(msgspec.Struct, frozen=True):
    version: _Version
    connection_id: bytes
    packet: bytes  # from its first byte to the end of its payload
    number_offset: int


class _Keys(msgspec.Struct, frozen=True):
    key: bytes
    iv: bytes
    header: bytes


class _Begun(msgspec.Struct):
    keys: _Keys
    since: int
    datagrams: int = 0
    done: bool = False
    pieces: dict[int, bytes] = {}  # msgspec copies it for each


class Initials:
    """Finds the ClientHellos in UDP datagrams, also those that are spread over several."""

    def __init__(self) -> None:
        self._connections: dict[Hashable, _Begun] = {}

    def feed(self, connection: Hashable, datagram: bytes, now: int) -> Hello | None:
        """Take one datagram from a client; `now` in ns, of a clock that only moves forward.

        Each ClientHello is given once. What cannot be decrypted is no Initial of a client, and ignored.
        """
        if not AVAILABLE or len(datagram) > MAX_DATAGRAM_BYTES:
            return None
        for initial in _initials(datagram):
            key = (connection, initial.connection_id)
            begun = self._connections.get(key)
            if begun is None or now - begun.since > WAIT_NS:
                self._connections.pop(key, None)
                if len(self._connections) >= MAX_CONNECTIONS:
                    del self._connections[next(iter(self._connections))]
                begun = self._connections[key] = _Begun(_client_keys(initial), now)
            begun.datagrams += 1
            if begun.done or begun.datagrams > MAX_DATAGRAMS:
                return None
            plain = _decrypt(initial, begun.keys)
            if plain is None:
                return None
            hello = _collect(begun, plain)
            if hello is not None:
                return hello
        return None


def _initials(datagram: bytes) -> Iterator[_Initial]:
    """The Initials in a datagram, in which packets may follow each other (RFC 9000 sections 12.2, 17.2.2)."""
    offset = 0
    try:
        while datagram[offset] & 0xC0 == 0xC0:  # long header, fixed bit
            start = offset
            version = _VERSIONS.get(int.from_bytes(datagram[start + 1 : start + 5]))
            if version is None:
                return
            kind = datagram[start] >> 4 & 3
            end = start + 6 + datagram[start + 5]
            connection_id = datagram[start + 6 : end]
            offset = end + 1 + datagram[end]  # the source's connection id
            if kind == (version.initial + 3) % 4 or len(connection_id) > 20:  # a Retry has no length, and ends it
                return
            if kind == version.initial:
                size, offset = _varint(datagram, offset)
                offset += size  # the token
            length, offset = _varint(datagram, offset)
            number_offset = offset
            offset += length
            if offset > len(datagram):
                return
            if kind == version.initial:
                yield _Initial(version, connection_id, datagram[start:offset], number_offset - start)
    except IndexError:
        return


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """RFC 9000 section 16."""
    size = 1 << (data[offset] >> 6)
    if offset + size > len(data):
        raise IndexError
    return int.from_bytes(data[offset : offset + size]) & ((1 << (8 * size - 2)) - 1), offset + size


def _client_keys(initial: _Initial) -> _Keys:
    """RFC 9001 sections 5.1 and 5.2."""
    version = initial.version
    secret = hmac.digest(version.salt, initial.connection_id, "sha256")
    client = _expand(secret, b"client in", 32)
    return _Keys(
        _expand(client, version.label + b"key", 16),
        _expand(client, version.label + b"iv", 12),
        _expand(client, version.label + b"hp", 16),
    )


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1) with an empty context, for at most 32 bytes."""
    info = struct.pack("!HB", length, 6 + len(label)) + b"tls13 " + label + b"\0\x01"
    return hmac.digest(secret, info, "sha256")[:length]


def _decrypt(initial: _Initial, keys: _Keys) -> bytes | None:
    """RFC 9001 sections 5.3 and 5.4: take off the header protection, then decrypt; None if it is not authentic."""
    packet, at = initial.packet, initial.number_offset
    sample = packet[at + 4 : at + 20]
    if len(sample) < 16:
        return None
    # One block in ECB mode is what RFC 9001 section 5.4.3 asks for.
    cipher = Cipher(algorithms.AES(keys.header), modes.ECB()).encryptor()  # noqa: S305
    mask = cipher.update(sample)
    first = packet[0] ^ mask[0] & 0x0F
    size = (first & 3) + 1
    number = bytes(byte ^ mask[1 + index] for index, byte in enumerate(packet[at : at + size]))
    header = bytes([first]) + packet[1:at] + number
    nonce = (int.from_bytes(keys.iv) ^ int.from_bytes(number)).to_bytes(12)
    try:
        return AESGCM(keys.key).decrypt(nonce, packet[at + size :], header)
    except InvalidTag:
        return None


def _collect(begun: _Begun, plain: bytes) -> Hello | None:
    """Add the CRYPTO frames to what is there, and see if that is a whole ClientHello."""
    for at, piece in _crypto_frames(plain):
        new = at not in begun.pieces
        if at + len(piece) > MAX_HELLO_BYTES or (new and len(begun.pieces) >= MAX_PIECES):
            continue
        if new or len(piece) > len(begun.pieces[at]):
            begun.pieces[at] = piece
    stream = bytearray()
    for at in sorted(begun.pieces):
        if at > len(stream):
            break
        stream[at : at + len(begun.pieces[at])] = begun.pieces[at]
    try:
        hello = hello_in_handshake(bytes(stream))
    except TlsError:
        begun.done = True
        return None
    begun.done = hello is not None
    if begun.done:
        begun.pieces.clear()
    return hello


def _crypto_frames(plain: bytes) -> Iterator[tuple[int, bytes]]:
    """The CRYPTO frames of an Initial (RFC 9000 section 19), in any order and with PING and PADDING between."""
    offset = 0
    try:
        while offset < len(plain):
            kind = plain[offset]
            offset += 1
            if kind == 0:  # PADDING, hundreds of them in a row
                offset = len(plain) - len(plain[offset:].lstrip(b"\0"))
                continue
            if kind == 1:  # PING
                continue
            if kind == 6:
                at, offset = _varint(plain, offset)
                length, offset = _varint(plain, offset)
                yield at, plain[offset : offset + length]
                offset += length
            elif kind in {2, 3}:  # ACK
                offset = _after_ack(plain, offset, counts=kind == 3)
            else:
                return  # CONNECTION_CLOSE, or what an Initial must not have
    except IndexError:
        return


def _after_ack(plain: bytes, offset: int, *, counts: bool) -> int:
    fields = []
    for _ in range(4):  # largest, delay, number of ranges, first range
        value, offset = _varint(plain, offset)
        fields.append(value)
    for _ in range(2 * fields[2] + (3 if counts else 0)):
        _, offset = _varint(plain, offset)
    return offset
