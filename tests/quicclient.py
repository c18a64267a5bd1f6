"""What a QUIC client sends first (RFC 9000, RFC 9001): Initials with a TLS ClientHello."""

import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from netvane.flows import quic

DCID = bytes.fromhex("8394c8f03e515708")


def client_hello(name: bytes = b"lamp.example.org") -> bytes:
    data = struct.pack("!HBH", len(name) + 3, 0, len(name)) + name
    block = struct.pack("!HH", 0, len(data)) + data
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + struct.pack("!H", len(block)) + block
    return b"\x01" + len(body).to_bytes(3) + body


STREAM = client_hello()


def crypto(at: int, piece: bytes) -> bytes:
    return b"\x06" + struct.pack("!HH", 0x4000 | at, 0x4000 | len(piece)) + piece


def keys_of(version: int, connection_id: bytes) -> quic._Keys:
    return quic._client_keys(quic._Initial(quic._VERSIONS[version], connection_id, b"", 0))


def initial(frames: bytes, *, version: int = 1, number: int = 0, dcid: bytes = DCID, token: bytes = b"") -> bytes:
    """An Initial as a client writes it (RFC 9001 section 5)."""
    keys = keys_of(version, dcid)
    frames = frames.ljust(24, b"\0")
    first = 0xC0 | quic._VERSIONS[version].initial << 4 | 1  # a packet number of two bytes
    header = bytes([first]) + version.to_bytes(4) + bytes([len(dcid)]) + dcid + b"\0" + bytes([len(token)]) + token
    header += struct.pack("!HH", 0x4000 | (2 + len(frames) + 16), number)
    nonce = (int.from_bytes(keys.iv) ^ number).to_bytes(12)
    packet = bytearray(header + AESGCM(keys.key).encrypt(nonce, frames, header))
    at = len(header) - 2
    cipher = Cipher(algorithms.AES(keys.header), modes.ECB()).encryptor()  # noqa: S305 - as RFC 9001 section 5.4.3 asks
    mask = cipher.update(bytes(packet[at + 4 : at + 20]))
    packet[0] ^= mask[0] & 0x0F
    packet[at] ^= mask[1]
    packet[at + 1] ^= mask[2]
    return bytes(packet)
