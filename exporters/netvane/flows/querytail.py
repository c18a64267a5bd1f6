"""New lines of a resolver's query log as DNS events: for homes whose packets this machine does not see."""

import os
from pathlib import Path

from netvane.common.event_schema import Dns
from netvane.flows.querylog import Logged, QueryLog

READ_BYTES = 1 << 20  # at once; a log that grows faster is read at the next poll


class QueryTail:
    """Begins at the end of the file as it is, follows it through rotation. `poll` is called every few seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = QueryLog()
        self._inode = 0
        self._offset: int | None = None  # None: not yet looked at
        self._rest = b""

    def poll(self) -> list[Logged]:
        """The questions that ended since the last time. Raises OSError where the file cannot be read."""
        with self._path.open("rb") as file:
            state = os.fstat(file.fileno())
            if self._offset is None:
                self._inode, self._offset = state.st_ino, state.st_size
            elif state.st_ino != self._inode or state.st_size < self._offset:
                self._inode, self._offset, self._rest = state.st_ino, 0, b""
            file.seek(self._offset)
            data = file.read(READ_BYTES)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-READ_BYTES:]
        found = [question for line in lines for question in self._log.feed(line.decode("utf-8", errors="replace"))]
        # Answers follow within a second: when nothing new came, what is open has ended.
        return found if data else found + self._log.flush()


def event_of(question: Logged) -> Dns:
    return Dns(
        qname=question.name,
        qtype=question.type,
        rcode=question.rcode,
        answers=question.answers,
        latency_seconds=None,
        address=question.client,
    )
