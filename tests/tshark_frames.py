"""tshark as an oracle, frame by frame: classes, addresses, questions, by the outermost headers only."""

from pathlib import Path
from typing import NamedTuple

from tests.tshark import SEPARATOR, fields

_FIELDS = (
    "frame.number",
    "frame.len",
    "frame.protocols",
    "eth.src",
    "eth.dst",
    "sll.src.eth",
    "sll.pkttype",
    "ip.proto",
    "ipv6.nxt",
    "ipv6.fraghdr.nxt",
    "ipv6.fraghdr.offset",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "udp.srcport",
    "udp.dstport",
    "dns.id",
    "dns.qry.name",
    "dns.qry.type",
    "dns.flags.response",
    "dns.flags.rcode",
)
# Each frame by itself: no reassembly, and nothing guessed from ports seen before.
_ALONE = (
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "tcp.reassemble_out_of_order:FALSE",
    "dns.desegment_dns_messages:FALSE",
)


class Frame(NamedTuple):
    """One frame; `queries` are (name, type number, response, rcode) of a message to or from port 53 with a question."""

    length: int
    source: str
    destination: str
    classes: frozenset[str]
    queries: tuple[tuple[str, int, bool, int | None], ...]


def frames(capture: Path) -> list[Frame]:
    options = tuple(word for option in _ALONE for word in ("-o", option))
    return [_frame(dict(zip(_FIELDS, row, strict=True))) for row in fields(capture, "frame", *_FIELDS, options=options)]


def _frame(texts: dict[str, str]) -> Frame:
    first = {name: value.split(SEPARATOR)[0] for name, value in texts.items()}
    protocol, transport = _protocol(texts, first)
    source = first["eth.src"] or first["sll.src.eth"]
    destination = first["eth.dst"]
    kind = first["sll.pkttype"]
    ports: set[int] = set()
    if transport in {"tcp", "udp"}:
        ports = {int(first[f"{transport}.{end}"]) for end in ("srcport", "dstport") if first[f"{transport}.{end}"]}
    classes = {protocol}
    if destination == "ff:ff:ff:ff:ff:ff" or kind == "1":
        classes.add("broadcast")
    elif kind == "2" or (destination and int(destination[:2], 16) & 1):
        classes.add("multicast")
    if transport == "tcp":
        classes |= {name for name, wanted in (("dns", {53}), ("http", {80, 8080}), ("tls", {443})) if ports & wanted}
        if first["tcp.flags"] and int(first["tcp.flags"], 16) & 0x12 == 0x02:
            classes.add("tcp_syn")
    if transport == "udp":
        by_port = (
            ("dns", {53}),
            ("mdns", {5353}),
            ("dhcp", {67, 68, 546, 547}),
            ("ntp", {123}),
            ("ssdp", {1900}),
            ("quic", {443}),
        )
        classes |= {name for name, wanted in by_port if ports & wanted}
    queries = _queries(texts) if "dns" in classes else ()
    return Frame(int(first["frame.len"]), source, destination, frozenset(classes), queries)


def _protocol(texts: dict[str, str], first: dict[str, str]) -> tuple[str, str]:
    """The class of the outermost protocol, and `tcp` or `udp` where its header could be read."""
    layers = [layer for layer in texts["frame.protocols"].split(":") if layer not in {"ethertype", "vlan", "llc"}]
    below = next((position for position, layer in enumerate(layers) if layer in {"arp", "ip", "ipv6"}), None)
    # Headers within another one's payload are not the outermost.
    if below is None or not set(layers[:below]) <= {"eth", "sll", "raw", "ip"} or layers[0] == "null":
        return "other", ""
    if layers[below] == "arp":
        return "arp", ""
    above = next((layer for layer in layers[below + 1 :] if not layer.startswith("ipv6.")), "")
    names = {"1": "icmp", "2": "igmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
    number = first["ip.proto"]
    if layers[below] == "ipv6":
        number = {name: number for number, name in names.items()}.get(above, "")
        if first["ipv6.fraghdr.offset"] not in {"", "0"}:
            number = first["ipv6.fraghdr.nxt"]
    return names.get(number, "other"), above if above in {"tcp", "udp"} else ""


def _queries(texts: dict[str, str]) -> tuple[tuple[str, int, bool, int | None], ...]:
    if not texts["dns.qry.name"] and not texts["dns.qry.type"]:
        return ()
    names, kinds = texts["dns.qry.name"].split(SEPARATOR), texts["dns.qry.type"].split(SEPARATOR)
    responses = texts["dns.flags.response"].split(SEPARATOR)
    rcodes = texts["dns.flags.rcode"].split(SEPARATOR)
    # Several questions in one message are possible, several messages in one TCP segment too; only one of either.
    name = names[0].lower().rstrip(".")
    response = responses[0] in {"1", "True"}
    return (("" if name == "<root>" else name, int(kinds[0]), response, int(rcodes[0]) if response else None),)
