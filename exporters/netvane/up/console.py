"""What `netvane up` prints: one line for each change of a part's state, and what the parts complain about."""

import os
import sys
from collections.abc import Callable

from netvane.up.part import Part, State

NAME_WIDTH = 14
SHOWN_CHARACTERS = 500


def state_line(part: Part, state: State) -> str | None:
    """None for states that are not worth a line."""
    if state.word == "restarting":
        return f"{part.name}: restarting {state.why}"
    if state.word in {"starting", "stopped"}:
        return None
    what = f"{state.word}: {state.why}" if state.why else f"{state.word:<10}{part.shows}".rstrip()
    return f"{part.name:<{NAME_WIDTH}}{what}"


class Console:
    """Standard output. When nobody reads it any more, `on_broken` is called, once."""

    def __init__(self, *, everything: bool, on_broken: Callable[[], None]) -> None:
        self._everything = everything
        self._on_broken: Callable[[], None] | None = on_broken

    def say(self, line: str) -> None:
        if self._on_broken is None:
            return
        try:
            print(line, flush=True)  # noqa: T201
        except OSError:  # a closed pipe, a terminal that went away
            on_broken, self._on_broken = self._on_broken, None
            # Python flushes standard output once more at exit, and would complain about the same.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            if on_broken is not None:
                on_broken()

    def on_state(self, part: Part, state: State) -> None:
        line = state_line(part, state)
        if line is not None:
            self.say(line)

    def on_line(self, part: Part, line: str, is_news: bool) -> None:
        if self._everything or is_news:
            self.say(f"{part.name}: {line[:SHOWN_CHARACTERS]}")
