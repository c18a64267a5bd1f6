"""The names of the packet classes, in the order of their bits; without NumPy, for settings."""

CLASSES = (
    "broadcast",
    "multicast",
    "arp",
    "icmp",
    "icmpv6",
    "igmp",
    "tcp",
    "tcp_syn",
    "udp",
    "dns",
    "mdns",
    "dhcp",
    "ntp",
    "ssdp",
    "http",
    "tls",
    "quic",
    "other",
)
