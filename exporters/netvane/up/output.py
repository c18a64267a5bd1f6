"""What a part writes: cut into lines of bounded length, remembered for a while, shown where it matters.

Nothing of it goes to a disk: an SD card lives longer without another log.
"""

import re
from collections import deque

MAX_LINE_BYTES = 4096
REMEMBERED_LINES = 50

# `level=warn` of logfmt, `"level":"ERROR"` of JSON, and how Go says goodbye.
_NEWS = re.compile(r"""\blevel"?[=:]\s*"?(warn|error|crit|fatal|panic)|^(panic|fatal error): """, re.IGNORECASE)


def is_news(line: str) -> bool:
    """Whether to show a line to people who did not ask for all of them: warnings and worse."""
    return _NEWS.search(line) is not None


class Lines:
    """Bytes in, lines out; what goes beyond 4 KiB in a line is dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._overlong = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes, printable: other people's names stand in them."""
        *whole, rest = (self._rest + data).split(b"\n")
        lines = [_printable(line) for line in whole[self._overlong :]]
        if whole:
            self._overlong = False
        self._rest = rest
        if len(rest) > MAX_LINE_BYTES:
            if not self._overlong:
                lines.append(_printable(rest))
            self._rest, self._overlong = b"", True
        return lines

    def end(self) -> list[str]:
        """The last line, where it has no end of its own."""
        return [_printable(self._rest)] if self._rest and not self._overlong else []


def _printable(line: bytes) -> str:
    text = line[:MAX_LINE_BYTES].decode(errors="replace").rstrip().expandtabs(4)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class Tail:
    """The latest lines of one run."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=REMEMBERED_LINES)

    def add(self, line: str) -> None:
        self._lines.append(line)

    def last_words(self) -> str:
        """The line that most likely tells why it ended: the last that is news, or else the last; "" after silence."""
        spoken = [line for line in self._lines if line.strip()]
        return next((line for line in reversed(spoken) if is_news(line)), spoken[-1] if spoken else "").strip()
