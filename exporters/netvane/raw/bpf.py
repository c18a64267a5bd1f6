"""The kernel filter of the passive listener, a program for netvane.common.bpf.

It lets through ARP, DHCPv4 (to UDP port 67 or 68), DHCPv6 (to 546 or 547) and IPv6 neighbour discovery (ICMPv6 types
133 to 137). Left out on purpose: IPv4 fragments, the first included (half a message says nothing), frames with a
second VLAN tag, and IPv6 packets whose header is followed by an extension header.
"""

from netvane.common.bpf import (
    JEQ,
    JGE,
    JGT,
    JSET,
    LDB_ABS,
    LDH_ABS,
    LDH_IND,
    LDX_IP_HEADER_LENGTH,
    RET,
    Program,
    Step,
)

SNAPLEN = 2048

_IP = 14  # where the IP header begins

PROGRAM: Program = (
    ("", Step(LDH_ABS, 12)),  # ethertype
    ("", Step(JEQ, 0x0806, "accept")),
    ("", Step(JEQ, 0x0800, "ipv4")),
    ("", Step(JEQ, 0x86DD, "ipv6", "reject")),
    # IPv4
    ("ipv4", Step(LDB_ABS, _IP + 9)),  # protocol
    ("", Step(JEQ, 17, "", "reject")),
    ("", Step(LDH_ABS, _IP + 6)),  # flags and fragment offset
    ("", Step(JSET, 0x3FFF, "reject")),  # more fragments follow, or this is a later one
    ("", Step(LDX_IP_HEADER_LENGTH, _IP)),
    ("", Step(LDH_IND, _IP + 2)),  # UDP destination port
    ("", Step(JEQ, 67, "accept")),
    ("", Step(JEQ, 68, "accept", "reject")),
    # IPv6
    ("ipv6", Step(LDB_ABS, _IP + 6)),  # next header
    ("", Step(JEQ, 58, "icmpv6")),
    ("", Step(JEQ, 17, "", "reject")),
    ("", Step(LDH_ABS, _IP + 40 + 2)),  # UDP destination port
    ("", Step(JEQ, 546, "accept")),
    ("", Step(JEQ, 547, "accept", "reject")),
    ("icmpv6", Step(LDB_ABS, _IP + 40)),  # type
    ("", Step(JGE, 133, "", "reject")),
    ("", Step(JGT, 137, "reject")),
    ("accept", Step(RET, SNAPLEN)),
    ("reject", Step(RET, 0)),
)
