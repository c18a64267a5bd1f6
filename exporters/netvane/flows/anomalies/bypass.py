"""Devices that ask another DNS server than the network's own: a hard-coded one, or one behind encryption."""

from collections.abc import Iterator
from typing import Literal

from netvane.flows.anomalies.records import Contact, Finding, Home, Tick, is_group

How = Literal["dns", "dot", "doq", "doh"]

# Public resolvers that speak DNS over HTTPS: the names in their own documentation, and the addresses that answer
# nothing but DNS. A list like this is never complete; those that programs come with are in it.
_DOH_NAMES = frozenset(
    {
        "chrome.cloudflare-dns.com",
        "cloudflare-dns.com",
        "mozilla.cloudflare-dns.com",
        "one.one.one.one",
        "1dot1dot1dot1.cloudflare-dns.com",
        "family.cloudflare-dns.com",
        "security.cloudflare-dns.com",
        "dns.google",
        "dns.google.com",
        "dns64.dns.google",
        "dns.quad9.net",
        "dns9.quad9.net",
        "dns10.quad9.net",
        "dns11.quad9.net",
        "doh.opendns.com",
        "doh.familyshield.opendns.com",
        "dns.umbrella.com",
        "dns.nextdns.io",
        "firefox.dns.nextdns.io",
        "dns.adguard.com",
        "dns.adguard-dns.com",
        "family.adguard-dns.com",
        "unfiltered.adguard-dns.com",
        "doh.cleanbrowsing.org",
        "freedns.controld.com",
        "dns.controld.com",
        "doh.mullvad.net",
        "dns.mullvad.net",
        "doh.dns.apple.com",
        "doh.dns.sb",
        "dns.alidns.com",
        "doh.pub",
        "dns.switch.ch",
        "doh.libredns.gr",
        "doh.xfinity.com",
        "dns0.eu",
        "zero.dns0.eu",
    }
)
_DOH_ADDRESSES = frozenset(
    {
        "1.0.0.1",
        "1.1.1.1",
        "8.8.4.4",
        "8.8.8.8",
        "9.9.9.9",
        "9.9.9.10",
        "149.112.112.112",
        "2001:4860:4860::8844",
        "2001:4860:4860::8888",
        "2606:4700:4700::1001",
        "2606:4700:4700::1111",
        "2620:fe::9",
        "2620:fe::fe",
    }
)
_TELLS = {
    "dns": "asks the DNS server {server} and not the network's",
    "dot": "asks {server} by DNS over TLS",
    "doq": "asks {server} by DNS over QUIC",
    "doh": "asks {server} by DNS over HTTPS",
}


def bypass_of(contact: Contact, home: Home) -> How | None:
    """How this contact goes around the network's own resolvers; None if it does not, or if none are known.

    A resolver in the house may ask whom it likes, and other local addresses may well be one that nobody told us of.
    """
    if not home.resolvers or contact.lan or is_group(contact.peer_address):
        return None
    if contact.peer_address in home.resolvers or contact.address in home.resolvers:
        return None
    if contact.peer_port == 53:
        return "dns"
    if contact.peer_port == 853:
        return "dot" if contact.protocol == "tcp" else "doq"
    known = contact.peer_address in _DOH_ADDRESSES or _is_doh_name(contact.peer_name or "")
    return "doh" if contact.peer_port == 443 and known else None


def _is_doh_name(name: str) -> bool:
    """Some services give each customer a name below their own."""
    while name:
        if name in _DOH_NAMES:
            return True
        name = name.partition(".")[2]
    return False


def bypasses(tick: Tick, home: Home) -> Iterator[Finding]:
    for contact in tick.contacts:
        how = bypass_of(contact, home)
        if how is None or contact.mac in home.exempt:
            continue
        server = contact.peer_name or contact.peer_address
        yield Finding(
            kind="dns_bypass",
            mac=contact.mac,
            subject=f"{how} {server}",
            evidence={"port": contact.peer_port},
            detail=_TELLS[how].format(server=server),
            address=contact.address,
            peer_address=contact.peer_address,
            peer_name=contact.peer_name,
        )
