"""The kernel filter of the socket that names are read from, a program for netvane.common.bpf.

It lets through DNS (UDP and TCP port 53 on either side), what clients send to TCP port 443 that begins a ClientHello,
and what they send to UDP port 443 with a long header (QUIC, RFC 8999 section 5.1). The names that devices give
themselves by mDNS and DHCP are read once, by `netvane raw` and the hosts exporter. Left out: later fragments, IPv6
with extension headers, frames that this machine itself sends with a VLAN tag.
"""

from netvane.common.bpf import (
    ADD_X,
    AND,
    JEQ,
    JSET,
    LDB_ABS,
    LDB_IND,
    LDH_ABS,
    LDH_IND,
    LDX_IMM,
    LDX_IP_HEADER_LENGTH,
    RET,
    RSH,
    TAX,
    Program,
    Step,
)

SNAPLEN = 2048

_IP = 14  # where the IP header begins; X is its length

PROGRAM: Program = (
    ("", Step(LDH_ABS, 12)),  # ethertype
    ("", Step(JEQ, 0x0800, "ipv4")),
    ("", Step(JEQ, 0x86DD, "ipv6", "reject")),
    ("ipv4", Step(LDH_ABS, _IP + 6)),  # flags and fragment offset
    ("", Step(JSET, 0x1FFF, "reject")),
    ("", Step(LDX_IP_HEADER_LENGTH, _IP)),
    ("", Step(LDB_ABS, _IP + 9)),  # protocol
    ("", Step(JEQ, 17, "udp")),
    ("", Step(JEQ, 6, "tcp", "reject")),
    ("ipv6", Step(LDX_IMM, 40)),
    ("", Step(LDB_ABS, _IP + 6)),  # next header
    ("", Step(JEQ, 17, "udp")),
    ("", Step(JEQ, 6, "tcp", "reject")),
    ("udp", Step(LDH_IND, _IP)),  # source port
    ("", Step(JEQ, 53, "accept")),
    ("", Step(LDH_IND, _IP + 2)),  # destination port
    ("", Step(JEQ, 53, "accept")),
    ("", Step(JEQ, 443, "", "reject")),
    ("", Step(LDB_IND, _IP + 8)),
    ("", Step(JSET, 0x80, "accept", "reject")),
    ("tcp", Step(LDH_IND, _IP)),
    ("", Step(JEQ, 53, "accept")),
    ("", Step(LDH_IND, _IP + 2)),
    ("", Step(JEQ, 53, "accept")),
    ("", Step(JEQ, 443, "", "reject")),
    ("", Step(LDB_IND, _IP + 12)),  # header length in words, in the upper half
    ("", Step(AND, 0xF0)),
    ("", Step(RSH, 2)),
    ("", Step(ADD_X, 0)),
    ("", Step(TAX, 0)),
    ("", Step(LDB_IND, _IP)),  # content type: handshake
    ("", Step(JEQ, 22, "", "reject")),
    ("", Step(LDB_IND, _IP + 5)),  # handshake type: ClientHello
    ("", Step(JEQ, 1, "accept", "reject")),
    ("accept", Step(RET, SNAPLEN)),
    ("reject", Step(RET, 0)),
)
