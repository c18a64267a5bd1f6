"""Kernel filters of packet sockets: classic BPF programs (linux/Documentation/networking/filter.rst).

A load beyond the end of the frame rejects it. The kernel takes a VLAN tag out of a received frame before the filter
sees it, so that offsets do not depend on it.
"""

import ctypes
import socket
import struct
from typing import NamedTuple

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, asm-generic/socket.h

# Operations, linux/bpf_common.h: class | size | mode, class | operation, or class | comparison.
LDH_ABS, LDB_ABS, LDH_IND, LDB_IND = 0x28, 0x30, 0x48, 0x50
LDX_IP_HEADER_LENGTH = 0xB1  # X = 4 * (frame[k] & 15)
LDX_IMM, TAX = 0x01, 0x07
LD_RANDOM, RANDOM = 0x20, 0xFFFFF038  # a word at SKF_AD_OFF + SKF_AD_RANDOM (linux/filter.h): 32 random bits
AND, RSH, ADD_X = 0x54, 0x74, 0x0C
JEQ, JGT, JGE, JSET, RET = 0x15, 0x25, 0x35, 0x45, 0x06


class Step(NamedTuple):
    """One instruction; `yes` and `no` name the lines to go on at, the next line where they are empty."""

    operation: int
    k: int
    yes: str = ""
    no: str = ""


# (label or "", instruction)
Program = tuple[tuple[str, Step], ...]


def assemble(program: Program) -> bytes:
    """The program as an array of struct sock_filter {u16 code; u8 jt, jf; u32 k}, linux/filter.h."""
    lines = {label: number for number, (label, _) in enumerate(program) if label}

    def skip(number: int, label: str) -> int:
        return lines[label] - number - 1 if label else 0

    return b"".join(
        struct.pack("=HBBI", step.operation, skip(number, step.yes), skip(number, step.no), step.k)
        for number, (_, step) in enumerate(program)
    )


def attach(channel: socket.socket, program: Program) -> None:
    """Make the kernel drop all else before it reaches `channel`. Do it before bind, or some leaks in."""
    assembled = assemble(program)
    array = ctypes.create_string_buffer(assembled, len(assembled))
    # struct sock_fprog {unsigned short len; struct sock_filter *filter;}, the pointer aligned
    channel.setsockopt(
        socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(assembled) // 8, ctypes.addressof(array))
    )
