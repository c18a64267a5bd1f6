r"""ISC dhcpd's lease files, dhcpd.leases and dhcpd6.leases.

Format: dhcpd.leases(5), and `write_lease` and `write_ia` in ISC DHCP's server/db.c, which write it: one statement a
line, declarations beginning and ending at the edge, what is inside them indented.

    lease 198.51.100.20 {
      starts 5 2026/11/20 12:00:00;           weekday, date and time in UTC; or ``epoch 1763640000; # …``, or ``never``
      ends 5 2026/11/20 13:00:00;
      binding state active;
      hardware ethernet b8:27:eb:00:00:01;
      uid "\001\270'\353\000\000\001";         octal escapes; or hexadecimal with colons
      set vendor-class-identifier = "udhcp";
      client-hostname "fridge";
    }
    ia-na "…" {                               the IAID's four bytes, then the DUID
      cltt 5 2026/11/20 12:00:00;
      iaaddr fd00::1000 {
        binding state active;
        preferred-life 600;
        max-life 3600;
        ends 5 2026/11/20 13:00:00;
      }
    }

Every change is a declaration more, and the last one of an address (of an identity association) is true; now and then
dhcpd writes a new file and renames it over the old one. Statements that this parser does not know are damage: a record
is believed whole or not at all.
"""

import re
from calendar import timegm
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from netvane.common.text import clean_name
from netvane.dhcp.lease import (
    EARLIEST,
    LATEST,
    Damage,
    DamagedError,
    Lease,
    Parsed,
    State,
    device_mac,
    ipv4,
    ipv6,
    mac_of_duid,
    prefix6,
)

_STATES: dict[str, State] = {
    "active": "active",
    "expired": "expired",
    "released": "released",
    "abandoned": "declined",
    "free": "free",
    "backup": "free",
    "reset": "free",
}

_STRING = r'"(?:[ !#-\[\]-~]|\\["\\]|\\[0-3][0-7]{2})*"'
_HEX = r"[0-9a-f]{1,2}(?::[0-9a-f]{1,2})*"
_DATE = re.compile(
    r"(?:([0-6]) (\d{4})/(\d{2})/(\d{2}) (\d{2}):(\d{2}):(\d{2})|epoch (\d{1,10})|never);"
    r"(?: # \w{3} \w{3} [ \d]\d \d{2}:\d{2}:\d{2} \d{4})?"
)

_BEGIN4 = re.compile(r"lease (\S+) \{")
_BEGIN6 = re.compile(rf"ia-(na|ta|pd) ({_STRING}|{_HEX}) \{{")
_PART6 = re.compile(r"  (iaaddr|iaprefix) (\S+) \{")
_OTHER_BLOCK = re.compile(r"(?:host|group|subgroup|class|subclass|failover peer|pool|subnet|shared-network)\b.*\{")
_OTHER_LINE = re.compile(rf"(?:server-duid (?:{_STRING}|{_HEX})|authoring-byte-order (?:little|big)-endian);")

_STATE = rf"(?P<key>(?:next |rewind )?binding state) (?P<value>{'|'.join(_STATES)});"
_LIFE = r"(?P<key>preferred-life|max-life) (?P<value>\d{1,10});"
_FLAG = r"(?P<key>reserved|dynamic-bootp|bootp|abandoned)(?P<value>);"
# By the first word of a statement.
_STATEMENTS = {
    word: re.compile(pattern)
    for word, pattern in {
        **dict.fromkeys(("starts", "ends", "tstp", "tsfp", "atsfp", "cltt"), r"(?P<key>\w+) (?P<value>.+)"),
        **dict.fromkeys(("binding", "next", "rewind"), _STATE),
        **dict.fromkeys(("preferred-life", "max-life"), _LIFE),
        **dict.fromkeys(("reserved;", "dynamic-bootp;", "bootp;", "abandoned;"), _FLAG),
        "hardware": rf"(?P<key>hardware) (?P<value>[\w-]+ {_HEX});",
        "uid": rf"(?P<key>uid) (?P<value>{_STRING}|{_HEX});",
        "client-hostname": rf"(?P<key>client-hostname) (?P<value>{_STRING});",
        "set": rf"(?P<key>set [\w.-]+) = (?P<value>{_STRING}|%-?\d+|true|false);",
        "option": r"(?P<key>option agent\.[\w-]+) (?P<value>.+);",
        "billing": rf"(?P<key>billing (?:sub)?class) (?P<value>{_STRING}(?: .+)?);",
    }.items()
}
_TIMES = frozenset({"starts", "ends", "tstp", "tsfp", "atsfp", "cltt"})
_EVENTS = re.compile(r"on [a-z |]+\{")

_ESCAPED = re.compile(rb'\\(["\\]|[0-7]{3})')


def recognizes(line: bytes) -> bool:
    """Whether `line` begins something in this format."""
    return line.startswith(
        (b"lease ", b"ia-na ", b"ia-ta ", b"ia-pd ", b"server-duid ", b"authoring-byte-order ", b"failover peer ")
    ) or (line.startswith(b"#") and b"dhcpd.leases(5)" in line)


def parse(text: bytes) -> Parsed:
    """The leases of one file, of either protocol; never raises."""
    leases: dict[str, Lease] = {}
    damage: list[Damage] = []
    addresses: dict[str, list[str]] = {}  # of an identity association
    lines = text.decode("ascii", errors="replace").split("\n")
    complete = not lines.pop()
    for number, block, end in _declarations(lines):
        if end == "missing":
            damage.append(Damage(number, "the declaration does not end"))
            continue
        if end == "not yet":
            complete = False
            continue
        try:
            association, found = _declared(block)
        except DamagedError as error:
            damage.append(Damage(number, str(error)))
            continue
        if association is not None:
            for gone in addresses.get(association, ()):
                leases.pop(gone, None)
            addresses[association] = [lease.address for lease in found]
        leases.update((lease.address, lease) for lease in found)
    return Parsed(leases, tuple(damage), complete)


def _declared(block: list[str]) -> tuple[str | None, list[Lease]]:
    """The identity association, for DHCPv6, and the leases. Raises DamagedError."""
    if match := _BEGIN4.fullmatch(block[0]):
        return None, [_lease4(match[1], block[1:-1])]
    if match := _BEGIN6.fullmatch(block[0]):
        return f"{match[1]} {match[2]}", list(_leases6(_hex(match[2]), block[1:-1]))
    if _OTHER_BLOCK.fullmatch(block[0]) or _OTHER_LINE.fullmatch(block[0]):
        return None, []
    raise DamagedError("not a declaration of a dhcpd lease file")


def _declarations(lines: list[str]) -> Iterator[tuple[int, list[str], Literal["there", "missing", "not yet"]]]:
    """Number of its first line, its lines, and its end: missing where the next begins first, not yet at the last."""
    block: list[str] = []
    start = 0
    for number, line in enumerate(lines, 1):
        at_the_edge = line[:1] not in {" ", "", "#"}
        if block:
            if line == "}":
                yield start, [*block, line], "there"
                block = []
                continue
            if not at_the_edge:
                block.append(line)
                continue
            yield start, block, "missing"
            block = []
        if line == "" or line.startswith("#"):
            continue
        if line.endswith("{") and at_the_edge:
            block, start = [line], number
        else:
            yield number, [line], "there"
    if block:
        yield start, block, "not yet"


def _lease4(address: str, statements: list[str]) -> Lease:
    values = _values(statements, "  ")
    state = _STATES.get(values.get("binding state", ""))
    if state is None or "ends" not in values:
        raise DamagedError("without a binding state or an end")
    kind, _, hardware = values.get("hardware", "").partition(" ")
    uid = values.get("uid")
    vendor_class = values.get("set vendor-class-identifier")
    name = values.get("client-hostname")
    return Lease(
        ipv4(address),
        _seconds(values["ends"]),
        state,
        mac=device_mac(hardware) if kind == "ethernet" else None,
        client_id=_hex(uid) if uid else None,
        host_name=clean_name(_bytes(name)) if name else None,
        vendor_class=clean_name(_bytes(vendor_class)) if vendor_class else None,
    )


def _leases6(iaid_duid: str, lines: list[str]) -> Iterator[Lease]:
    duid = iaid_duid[8:]
    if not duid:
        raise DamagedError("an identity association without a DUID")
    inside: list[str] | None = None
    what, address = "", ""
    for line in lines:
        if match := _PART6.fullmatch(line):
            if inside is not None:
                raise DamagedError(f"{address} does not end")
            inside, what, address = [], match[1], match[2]
        elif line == "  }" and inside is not None:
            yield _lease6(what, address, duid, _values(inside, "    "))
            inside = None
        elif inside is not None:
            inside.append(line)
        else:
            _values([line], "  ")
    if inside is not None:
        raise DamagedError(f"{address} does not end")


def _lease6(what: str, address: str, duid: str, values: dict[str, str]) -> Lease:
    state = _STATES.get(values.get("binding state", ""))
    if state is None or "ends" not in values:
        raise DamagedError("without a binding state or an end")
    network, _, length = address.partition("/")
    where = prefix6(network, length) if what == "iaprefix" else ipv6(address)
    return Lease(where, _seconds(values["ends"]), state, mac=mac_of_duid(duid), client_id=duid)


def _values(lines: list[str], indent: str) -> dict[str, str]:
    """Keyword -> its value as it stands there. Raises DamagedError for anything that dhcpd does not write."""
    values: dict[str, str] = {}
    in_events = False
    for line in lines:
        if in_events:
            in_events = line != indent + "}"
            continue
        statement = line.removeprefix(indent)
        if statement is line or statement[:1] == " ":
            raise DamagedError(f"{line.strip()[:60]!r} is not where it belongs")
        if _EVENTS.fullmatch(statement):
            in_events = True
            continue
        pattern = _STATEMENTS.get(statement.partition(" ")[0])
        match = None if pattern is None else pattern.fullmatch(statement)
        if match is None:
            raise DamagedError(f"{statement[:60]!r} is not a statement of a lease")
        key = match["key"]
        if key in values:
            raise DamagedError(f"{key} stands there twice")
        values[key] = match["value"]
        if key in _TIMES:
            _seconds(match["value"])
    if in_events:
        raise DamagedError("events without an end")
    return values


@lru_cache(maxsize=1024)  # a declaration has most of its times twice
def _seconds(date: str) -> int | None:
    """Unix seconds; None for never. Raises DamagedError."""
    match = _DATE.fullmatch(date)
    if match is None:
        raise DamagedError(f"{date[:40]!r} is not a time")
    if match[8] is not None:
        seconds = int(match[8])
    elif match[1] is None:
        return None
    else:
        weekday, *fields = (int(match[group]) for group in range(1, 8))
        year, month, day, hour, minute, second = fields
        if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
            raise DamagedError(f"{date[:40]!r} is not a time")
        seconds = timegm((year, month, day, hour, minute, second, 0, 0, 0))
        # 1970-01-01 was a Thursday. dhcpd itself ignores the weekday, but never writes a wrong one.
        if (seconds // 86400 + 4) % 7 != weekday:
            raise DamagedError(f"{date[:40]!r} is on another day of the week")
    if not EARLIEST <= seconds <= LATEST:
        raise DamagedError(f"{date[:40]!r} is out of range")
    return seconds


def _bytes(value: str) -> bytes:
    """What a quoted string or hexadecimal list stands for."""
    if not value.startswith('"'):
        return bytes(int(pair, 16) for pair in value.split(":"))
    return _ESCAPED.sub(
        lambda found: found[1] if len(found[1]) == 1 else bytes([int(found[1], 8)]), value[1:-1].encode()
    )


def _hex(value: str) -> str:
    return _bytes(value).hex()
