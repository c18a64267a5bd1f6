"""Lease files as their servers write them, and damage done to them."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from netvane.dhcp.lease import Format, Lease

KEA4 = (
    "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n"
)
KEA6 = (
    "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,"
    "hwaddr,state,user_context,hwtype,hwaddr_source,pool_id\n"
)
LIFETIME = 3600


def colons(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def dnsmasq(lease: Lease) -> str:
    name, client_id = lease.host_name or "*", colons(lease.client_id) if lease.client_id else "*"
    who = lease.mac if "." in lease.address else "305419896"
    return f"{lease.expires or 0} {who} {lease.address} {name} {client_id}\n"


def kea4(lease: Lease) -> str:
    client_id = colons(lease.client_id or "")
    lifetime, expire = (0xFFFFFFFF, 6_000_000_000) if lease.expires is None else (LIFETIME, lease.expires)
    return f"{lease.address},{lease.mac},{client_id},{lifetime},{expire},1,0,0,{lease.host_name or ''},0,,0\n"


def kea6(lease: Lease) -> str:
    duid = colons(lease.client_id or "")
    lifetime, expire = (0xFFFFFFFF, 6_000_000_000) if lease.expires is None else (LIFETIME, lease.expires)
    return (
        f"{lease.address},{duid},{lifetime},{expire},1,600,0,7,128,0,0,{lease.host_name or ''},{lease.mac},0,,1,2,0\n"
    )


def isc_date(seconds: int | None) -> str:
    return "never;" if seconds is None else time.strftime("%w %Y/%m/%d %H:%M:%S;", time.gmtime(seconds))


def isc_string(data: bytes) -> str:
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in data) + '"'


def isc4(lease: Lease) -> str:
    lines = [
        f"lease {lease.address} {{",
        f"  starts {isc_date(1_763_640_000)}",
        f"  ends {isc_date(lease.expires)}",
        f"  cltt {isc_date(1_763_640_000)}",
        "  binding state active;",
        "  next binding state free;",
        "  rewind binding state free;",
        f"  hardware ethernet {lease.mac};",
    ]
    if lease.client_id:
        lines.append(f"  uid {isc_string(bytes.fromhex(lease.client_id))};")
    if lease.vendor_class:
        lines.append(f'  set vendor-class-identifier = "{lease.vendor_class}";')
    if lease.host_name:
        lines.append(f'  client-hostname "{lease.host_name}";')
    return "\n".join([*lines, "}\n"])


@dataclass(frozen=True)
class Server:
    """How one server writes its file, and where one of its records ends."""

    format: Format
    header: str
    record: Callable[[Lease], str]
    ipv6: bool = False

    def file(self, leases: Sequence[Lease]) -> bytes:
        return (self.header + "".join(map(self.record, leases))).encode()


SERVERS = (
    Server("dnsmasq", "", dnsmasq),
    Server("dnsmasq", "duid 00:01:00:01:2f:00:00:00:c0:25:06:1a:2b:01\n", dnsmasq, ipv6=True),
    Server("kea4", KEA4, kea4),
    Server("kea6", KEA6, kea6, ipv6=True),
    Server("isc", "# The format of this file is documented in the dhcpd.leases(5) manual page.\n\n", isc4),
)


def leases(count: int, *, ipv6: bool = False, first_end: int = 1_763_700_000) -> Iterator[Lease]:
    """`count` different ones."""
    for number in range(count):
        mac = f"b8:27:eb:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        digits = mac.replace(":", "")
        yield Lease(
            f"fd00::{(number >> 16) + 1:x}:{number & 0xFFFF:x}"
            if ipv6
            else f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            first_end + number,
            mac=mac,
            client_id=f"00030001{digits}" if ipv6 else f"01{digits}",
            host_name=f"host-{number}",
        )


def damaged(text: bytes, chance: random.Random) -> bytes:
    """`text` with one of the things done to it that disks, full file systems and half a copy do."""
    if not text:
        return text
    start = chance.randrange(len(text))
    end = min(len(text), start + chance.randint(1, 60))
    other = chance.randrange(len(text))
    ways = (
        lambda: text[:start],
        lambda: text[:start] + text[end:],
        lambda: text[:start] + chance.randbytes(end - start) + text[end:],
        lambda: text[:end] + text[start:],
        lambda: text[:start] + bytes(end - start) + text[end:],
        lambda: text[:start] + bytes([text[start] ^ 1 << chance.randrange(8)]) + text[start + 1 :],
        lambda: text[:start] + text[other : other + 40] + text[start:],
        lambda: text[:start] + b"\n" + text[start:],
    )
    return chance.choice(ways)()


def written_in(server: Server, lease: Lease, text: bytes) -> bool:
    """Whether a whole record in `text` says just what `lease` says, whatever else a damaged one may say beside it."""
    if server.format == "isc":
        records = text.decode("latin-1").split("lease ")
        facts = [lease.address + " {", f"ends {isc_date(lease.expires)}\n", "}\n"]
        if lease.mac:
            facts.append(f"hardware ethernet {lease.mac};")
        if lease.host_name:
            facts.append(f'client-hostname "{lease.host_name}";')
        return any(all(fact in record for fact in facts) for record in records)
    separator = b" " if server.format == "dnsmasq" else b","
    facts6 = [
        lease.address.partition("/")[0],
        str(lease.expires) if lease.expires else None,
        None if server.ipv6 else lease.mac,
    ]
    wanted = {fact.encode() for fact in (*facts6, colons(lease.client_id or "")) if fact}
    return any(wanted <= set(line.split(separator)) for line in text.split(b"\n")[:-1])
