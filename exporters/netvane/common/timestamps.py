"""Reading of RFC 3339 times to the nanosecond; `clock.rfc3339` writes them."""

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(r"\.(\d{1,9})\d*")


def parse_rfc3339(text: str) -> int:
    """Unix nanoseconds. A time without an offset is meant in this machine's zone. Raises ValueError."""
    fraction = _FRACTION.search(text)
    when = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
    try:
        seconds = (when.astimezone() - EPOCH) // timedelta(seconds=1)
    except OverflowError as error:
        raise ValueError(f"out of range: {text}") from error
    return seconds * 10**9 + (int(fraction[1].ljust(9, "0")) if fraction else 0)
