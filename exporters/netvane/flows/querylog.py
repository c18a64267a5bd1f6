"""Lines of the query log of dnsmasq and of Pi-hole, which is dnsmasq's too (dnsmasq(8), `--log-queries`).

    Nov 21 12:00:00 dnsmasq[812]: query[AAAA] example.org from 198.51.100.7
    Nov 21 12:00:00 dnsmasq[812]: 17 198.51.100.7/5353 query[A] example.org from 198.51.100.7   (=extra)
    Nov 21 12:00:00 dnsmasq[812]: reply example.org is 203.0.113.1

The log has no time zone, no year and no response code beside NXDOMAIN, NODATA and the words of an error; what follows
a query is tied to it by the serial number of `=extra`, and without that by the name, as dnsmasq itself writes them.
"""

import re
from ipaddress import ip_address

import msgspec

from netvane.flows.dns import RCODES, TYPES
from netvane.flows.dnsnames import name_of

MAX_LINE = 1024
MAX_WAITING = 1024
MAX_ANSWERS = 64

_MNEMONICS = frozenset(TYPES.values())
_LINE = re.compile(
    r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:\S+ )?dnsmasq\[\d+\]: "
    r"(?:(?P<serial>\d+) (?P<client>[^ /]+)/\d+ )?(?P<what>.*)"
)
_QUERY = re.compile(r"query\[(?P<type>[A-Za-z0-9=-]+)\] (?P<name>.*) from (?P<address>\S+)")
# What an answer comes from: upstream, the cache, a lease, a hosts file, or a list of Pi-hole's.
_ANSWER = re.compile(
    r"(?:reply|cached(?:-stale)?|config|DHCP|/\S+|(?:gravity|exactly|regex) (?:blocked|denied)) "
    r"(?P<name>.*?) is (?P<data>.+)"
)
_NO_DATA = frozenset({"NODATA", "NODATA-IPv4", "NODATA-IPv6"})


class Logged(msgspec.Struct, frozen=True):
    """A question as the log tells it; `rcode` is None where no answer was logged.

    `time` is as it stands in the log, e.g. "Nov 21 12:00:00", in the log's own time zone.
    """

    time: str
    client: str
    name: str
    type: str
    rcode: str | None
    answers: tuple[str, ...]


class _Open(msgspec.Struct):
    question: Logged
    rcode: str | None = None
    answers: list[str] = []  # msgspec copies it for each


class QueryLog:
    """Turns lines into questions with their answers, which come in lines of their own.

    A question ends where the same serial number or name is asked next, or when `flush` is called; at most MAX_WAITING
    are open, the oldest ends first.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._alias: _Open | None = None  # a CNAME was the last line; what follows comes under the name it points to

    def feed(self, line: str) -> list[Logged]:
        """Take one line; gives the questions that it ends. Lines that say something else give nothing."""
        parts = _LINE.match(line[:MAX_LINE].rstrip("\r\n"))
        if parts is None:
            return []
        query = _QUERY.fullmatch(parts["what"])
        if query is not None:
            return self._ask(parts, query)
        answer = _ANSWER.fullmatch(parts["what"])
        if answer is not None:
            self._answer(parts["serial"], _asked_name(answer["name"]), answer["data"])
        return []

    def flush(self) -> list[Logged]:
        """Give the questions that are still open; for a call when the log has been still for a few seconds."""
        ended = [_ended(waiting) for waiting in self._open.values()]
        self._open.clear()
        self._alias = None
        return ended

    def _ask(self, parts: re.Match[str], query: re.Match[str]) -> list[Logged]:
        kind = _type(query["type"])
        client = _address(query["address"])
        if client is None or kind is None:
            return []
        question = Logged(parts["time"], client, _name(query["name"]), kind, None, ())
        key = parts["serial"] or question.name
        ended = []
        if key in self._open:
            ended.append(_ended(self._open.pop(key)))
        elif len(self._open) >= MAX_WAITING:
            ended.append(_ended(self._open.pop(next(iter(self._open)))))
        self._open[key] = _Open(question)
        self._alias = None
        return ended

    def _answer(self, serial: str | None, name: str, data: str) -> None:
        # dnsmasq writes the lines of one answer together.
        waiting = self._open.get(serial) if serial else self._alias or self._open.get(name)
        self._alias = waiting if data == "<CNAME>" else None
        if waiting is None:
            return
        word = data.split(" ", 1)[0]
        if word in RCODES:
            waiting.rcode = word
            return
        waiting.rcode = "NOERROR"
        # A word in brackets stands for data that dnsmasq does not write out.
        if word not in _NO_DATA and not word.startswith(("<", "(")) and len(waiting.answers) < MAX_ANSWERS:
            waiting.answers.append(_address(word) or _name(word))


def _ended(waiting: _Open) -> Logged:
    return msgspec.structs.replace(waiting.question, rcode=waiting.rcode, answers=tuple(waiting.answers))


def _type(text: str) -> str | None:
    number = text.removeprefix("type=")
    if number != text:
        return TYPES.get(int(number), f"TYPE{int(number)}") if number.isdecimal() and len(number) <= 5 else None
    return text if text in _MNEMONICS else None


def _name(text: str) -> str:
    return name_of(text.removesuffix(".").encode(errors="replace").split(b"."))


def _asked_name(text: str) -> str:
    """Under what name an answer was asked for: a PTR record's is logged as the address."""
    address = _address(text)
    return ip_address(address).reverse_pointer if address else _name(text)


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None
