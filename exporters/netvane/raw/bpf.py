"""The kernel filter of the passive listener: a classic BPF program (linux/Documentation/networking/filter.rst).

It lets through ARP, DHCPv4 (to UDP port 67 or 68), DHCPv6 (to 546 or 547) and IPv6 neighbour discovery (ICMPv6 types
133 to 137). The kernel takes a VLAN tag out of the frame before the filter sees it, so offsets do not depend on it.
Left out on purpose: IPv4 fragments, the first included (half a message says nothing), frames with a second VLAN tag,
and IPv6 packets whose header is followed by an extension header. A load beyond the end of the frame rejects it.
"""

import ctypes
import socket
import struct
from typing import NamedTuple

SNAPLEN = 2048

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, asm-generic/socket.h

# Operations, linux/bpf_common.h: class | size | mode, or class | comparison.
_LDH_ABS, _LDB_ABS, _LDH_IND = 0x28, 0x30, 0x48
_LDX_IP_HEADER_LENGTH = 0xB1  # X = 4 * (frame[k] & 15)
_JEQ, _JGT, _JGE, _JSET, _RET = 0x15, 0x25, 0x35, 0x45, 0x06

_IP = 14  # where the IP header begins


class _Step(NamedTuple):
    """One instruction; `yes` and `no` name the lines to go on at, the next line where they are empty."""

    operation: int
    k: int
    yes: str = ""
    no: str = ""


_PROGRAM: tuple[tuple[str, _Step], ...] = (
    ("", _Step(_LDH_ABS, 12)),  # ethertype
    ("", _Step(_JEQ, 0x0806, "accept")),
    ("", _Step(_JEQ, 0x0800, "ipv4")),
    ("", _Step(_JEQ, 0x86DD, "ipv6", "reject")),
    # IPv4
    ("ipv4", _Step(_LDB_ABS, _IP + 9)),  # protocol
    ("", _Step(_JEQ, 17, "", "reject")),
    ("", _Step(_LDH_ABS, _IP + 6)),  # flags and fragment offset
    ("", _Step(_JSET, 0x3FFF, "reject")),  # more fragments follow, or this is a later one
    ("", _Step(_LDX_IP_HEADER_LENGTH, _IP)),
    ("", _Step(_LDH_IND, _IP + 2)),  # UDP destination port
    ("", _Step(_JEQ, 67, "accept")),
    ("", _Step(_JEQ, 68, "accept", "reject")),
    # IPv6
    ("ipv6", _Step(_LDB_ABS, _IP + 6)),  # next header
    ("", _Step(_JEQ, 58, "icmpv6")),
    ("", _Step(_JEQ, 17, "", "reject")),
    ("", _Step(_LDH_ABS, _IP + 40 + 2)),  # UDP destination port
    ("", _Step(_JEQ, 546, "accept")),
    ("", _Step(_JEQ, 547, "accept", "reject")),
    ("icmpv6", _Step(_LDB_ABS, _IP + 40)),  # type
    ("", _Step(_JGE, 133, "", "reject")),
    ("", _Step(_JGT, 137, "reject")),
    ("accept", _Step(_RET, SNAPLEN)),
    ("reject", _Step(_RET, 0)),
)


def assemble() -> bytes:
    """The program as an array of struct sock_filter {u16 code; u8 jt, jf; u32 k}, linux/filter.h."""
    lines = {label: number for number, (label, _) in enumerate(_PROGRAM) if label}

    def skip(number: int, label: str) -> int:
        return lines[label] - number - 1 if label else 0

    return b"".join(
        struct.pack("=HBBI", step.operation, skip(number, step.yes), skip(number, step.no), step.k)
        for number, (_, step) in enumerate(_PROGRAM)
    )


def attach(channel: socket.socket) -> None:
    """Make the kernel drop all else before it reaches `channel`. Do it before bind, or some leaks in."""
    program = assemble()
    array = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog {unsigned short len; struct sock_filter *filter;}, the pointer aligned
    channel.setsockopt(
        socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(array))
    )
