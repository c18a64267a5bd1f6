"""Who is where in the lab. Every home has the same addresses, each in namespaces of its own.

Only addresses that nobody has on the real Internet: 198.51.100.0/24, 203.0.113.0/24, 198.18.0.0/15 and fd00::/8.
"""

LAN4 = "198.51.100.0/24"
LAN6 = "fd00:51:100::/64"
ROUTER4, ROUTER6 = "198.51.100.1", "fd00:51:100::1"
ROUTER_LINK_LOCAL = "fe80::1"
MON4, MON6 = "198.51.100.10", "fd00:51:100::10"
DHCP_POOL = ("198.51.100.100", "198.51.100.199")
MOST_GADGETS = 70
"""Gadget i has 198.51.100.(20 + i); the pool of the DHCP server begins above them."""

# The path outwards, as (nearer end, farther end): gw - isp - upstream - net.
WAN4, WAN6 = ("198.18.1.2", "198.18.1.1"), ("fd00:18:1::2", "fd00:18:1::1")
UP4, UP6 = ("198.18.2.2", "198.18.2.1"), ("fd00:18:2::2", "fd00:18:2::1")
NET4, NET6 = ("198.18.3.2", "198.18.3.1"), ("fd00:18:3::2", "fd00:18:3::1")
ISP4, ISP6 = WAN4[1], WAN6[1]
UPSTREAM4, UPSTREAM6 = UP4[1], UP6[1]

# In `net`.
ANCHORS4 = ("203.0.113.11", "203.0.113.12", "203.0.113.13")
ANCHORS6 = ("fd00:113::11", "fd00:113::12", "fd00:113::13")
RESOLVER4, RESOLVER6 = "203.0.113.53", "fd00:113::53"
SMTP4, SMTP6 = "203.0.113.25", "fd00:113::25"
CHECK4, CHECK6 = "203.0.113.204", "fd00:113::204"
SITES = 100
"""siteN.example is 198.18.80.N and fd00:80::N (the decimal digits)."""
SITES4, SITES6 = "198.18.80.0/24", "fd00:80::/64"
WRONG4, WRONG6 = "198.18.99.99", "fd00:99::99"
"""What a lying resolver says; nobody is there."""

MACS = ("f0:18:98", "24:0a:c4", "00:17:88", "b8:27:eb", "02:4e:56")
"""Gadgets in turn: Apple, Espressif, Philips, Raspberry Pi, one randomised."""


def site(number: int) -> tuple[str, str]:
    return f"198.18.80.{number}", f"fd00:80::{number}"


def names() -> dict[str, tuple[str, str]]:
    """Every name the Internet of the lab knows: IPv4 and IPv6 address."""
    return {
        **{f"site{number}.example": site(number) for number in range(1, SITES + 1)},
        **{f"anchor{number}.example": pair for number, pair in enumerate(zip(ANCHORS4, ANCHORS6, strict=True), 1)},
        "resolver.example": (RESOLVER4, RESOLVER6),
        "smtp.example": (SMTP4, SMTP6),
        "check.example": (CHECK4, CHECK6),
    }
