"""Loki's push format, and what its answers mean. Pure.

Source: Loki's HTTP API reference (`POST /loki/api/v1/push`) and its source: pkg/validation/validate.go and
pkg/chunkenc/interface.go (wordings), pkg/ingester/stream.go and instance.go (what is accepted beside them).

Loki takes the good lines of a push and refuses the others in the same answer, of which it names at most ten; of a push
with several streams it answers for the last one only. Therefore a push is one stream here, sorted by time.
"""

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum

import msgspec

from netvane.common.clock import NANOSECONDS
from netvane.common.event_outbox import Row
from netvane.common.timestamps import parse_rfc3339

# What somebody must mend, in the address, the password or Loki's own settings: no event is at fault.
_HOLD_STATUS = frozenset({401, 403, 404, 405, 407})
_HOLD_WORDS = ("this feature is disallowed", "missing required labels", "ingestion blocked")
_BEHIND_WORDS = ("too far behind", "out of order")
_OLD_WORDS = ("timestamp too old", "greater than max")

# time.Time.String() of Go: 2026-11-21 12:00:00.123456789 +0000 UTC
_NAMED = re.compile(r"entry with timestamp (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ([+-]\d\d)(\d\d) \S+ ignored")
_IGNORED = re.compile(r"total ignored: (\d{1,9}) out of (\d{1,9})")
_CUTOFF = re.compile(r"oldest acceptable timestamp is: (\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d))")


class _Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of an event that Loki keeps beside the line, where a query finds them without parsing it."""

    mac: str | None = None
    device_name: str | None = None
    address: str | None = None
    peer_address: str | None = None
    peer_name: str | None = None
    qname: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Metadata)


class Meaning(Enum):
    ACCEPTED = "accepted"
    RETRY = "retry"  # may work later
    HOLD = "hold"  # works once somebody has mended a configuration
    TOO_FAR_BEHIND = "too_far_behind"  # lines too old for their stream, which has newer ones
    TOO_OLD = "too_old"  # lines too old for this Loki
    REFUSED = "refused"  # something else is wrong with at least one line


class Answer(msgspec.Struct, frozen=True):
    """What Loki said to one push.

    Of lines that came too late it may say the times of some, the oldest time that it would take, and how many of how
    many lines they are, which means that it has the others.
    """

    meaning: Meaning
    text: str = ""
    named: frozenset[int] = frozenset()
    cutoff: int | None = None
    ignored: tuple[int, int] | None = None

    def names(self, ts: int) -> bool:
        """Whether a line of that time (Unix ns) surely came too late."""
        return ts in self.named or (self.cutoff is not None and ts < self.cutoff)


def encode_push(labels: Mapping[str, str], rows: Sequence[Row]) -> bytes:
    """The gzipped JSON of one stream; a body that bad luck on the disk spoilt goes as a bare line."""
    values = [(str(row.ts), row.body, _metadata(row.body)) for row in rows]
    return gzip.compress(_encoder.encode({"streams": [{"stream": labels, "values": values}]}), 1, mtime=0)


def _metadata(body: str) -> _Metadata:
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return _Metadata()


def backlog_label(ts: int) -> str:
    """The value of `backlog` for a late line of that time (Unix ns): its hour in UTC, such as ``2026-11-21T12``.

    Loki refuses what is an hour behind the newest line of its stream. In a stream of one hour nothing ever is.
    """
    return f"{datetime.fromtimestamp(ts // NANOSECONDS, UTC):%Y-%m-%dT%H}"


def read_answer(status: int, body: bytes) -> Answer:
    """What an answer with that HTTP status means."""
    text = body.decode(errors="replace")
    summary = " ".join(text.split())[:300]
    if 200 <= status < 300:
        return Answer(Meaning.ACCEPTED)
    if status in {408, 429} or status >= 500:
        return Answer(Meaning.RETRY, summary)
    if status in _HOLD_STATUS or status < 400 or any(words in text for words in _HOLD_WORDS):
        return Answer(Meaning.HOLD, summary)
    for meaning, wordings in ((Meaning.TOO_FAR_BEHIND, _BEHIND_WORDS), (Meaning.TOO_OLD, _OLD_WORDS)):
        if any(words in text for words in wordings):
            named = (f"{day}T{time}{hours}:{minutes}" for day, time, hours, minutes in _NAMED.findall(text))
            cutoff = max(_times(_CUTOFF.findall(text)), default=None)
            count = _IGNORED.search(text)
            ignored = (int(count[1]), int(count[2])) if count else None
            return Answer(meaning, summary, frozenset(_times(named)), cutoff, ignored)
    return Answer(Meaning.REFUSED, summary)


def _times(texts: Iterable[str]) -> Iterator[int]:
    for text in texts:
        try:
            yield parse_rfc3339(text)
        except ValueError:
            continue
