"""How the lines of one stream are brought through, whatever Loki says to some of them. Pure but for `push`."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from netvane.common.event_outbox import Row
from netvane.common.loki_wire import Answer, Meaning, backlog_label

# Sends rows of one stream, given its labels beside the common ones, and waits as long as it takes for an answer that
# is neither RETRY nor HOLD.
Push = Callable[[dict[str, str], Sequence[Row]], Answer]


class Tally:
    """Lines by what became of them."""

    def __init__(self) -> None:
        self.shipped = 0
        self.late = 0  # of the shipped: those that went into a backlog stream
        self.set_aside: Counter[str] = Counter(too_far_behind=0, too_old=0, refused=0)
        self.complaint = ""  # what Loki said to the last line that was set aside


def deliver(rows: Iterable[Row], push: Push, tally: Tally) -> None:
    """Push `rows`, in the order of their time within each kind, and settle each of them one way or the other.

    What is too far behind its stream goes into a backlog stream; what Loki finds too old, and what it refuses for
    another reason even when sent alone, is set aside and counted. It stays in the event store.
    """
    by_stream = sorted(rows, key=lambda row: (row.kind, row.ts, row.id))
    for kind, stream in groupby(by_stream, key=lambda row: row.kind):
        late = _settle({"event": kind}, list(stream), push, tally)
        for hour, late_stream in groupby(late, key=lambda row: backlog_label(row.ts)):
            before = tally.shipped
            too_late = _settle({"event": kind, "backlog": hour}, list(late_stream), push, tally)
            tally.late += tally.shipped - before
            _set_aside(tally, Meaning.TOO_FAR_BEHIND, too_late, "even in a backlog stream")


def _settle(labels: dict[str, str], rows: list[Row], push: Push, tally: Tally) -> list[Row]:
    """Push until each of `rows` is accepted or found wanting; returns those that are too far behind, in order.

    A refused push was accepted in part, but which part is not always said. Unless it is, what the answer does not name
    is sent again: all of it where lines are named, else in halves. Loki drops a line that it already has.
    """
    too_far_behind: list[Row] = []
    runs = [rows]
    while runs:
        run = runs.pop()
        answer = push(labels, run)
        if answer.meaning is Meaning.ACCEPTED:
            tally.shipped += len(run)
            continue
        found = run if len(run) == 1 else [row for row in run if answer.names(row.ts)]
        if not found:
            middle = len(run) // 2
            runs += (run[middle:], run[:middle])
            continue
        if answer.meaning is Meaning.TOO_FAR_BEHIND:
            too_far_behind += found
        else:
            _set_aside(tally, answer.meaning, found, answer.text)
        if answer.ignored == (len(found), len(run)):
            tally.shipped += len(run) - len(found)
        elif len(found) < len(run):
            gone = {row.id for row in found}
            runs.append([row for row in run if row.id not in gone])
    return too_far_behind


def _set_aside(tally: Tally, reason: Meaning, rows: list[Row], answer: str) -> None:
    if rows:
        tally.set_aside[reason.value] += len(rows)
        tally.complaint = answer
