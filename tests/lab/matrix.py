"""The fault matrix: following a watched home, and holding what was said against the truth."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from netvane.common.clock import NANOSECONDS
from tests.lab.faults import Fault, Faults
from tests.lab.sinks import Alert
from tests.lab.watched import Look, WatchedHome, as_text, label_ns

PAGES = ("InternetDown", "CaptivePortal", "RouterDown")
ENDED = "InternetOutageEnded"
LOOK_SECONDS = 0.5
OK_SECONDS = 15.0
CLOSE_SECONDS = 60.0
GRACE_SECONDS = 30.0  # how far beyond its time something is waited for, to tell how late it was
ROUNDING_NS = 2_000_000  # labels have milliseconds


class StoppedError(Exception):
    """The test run is being interrupted."""


@dataclass
class Finding:
    """What became of a row: figures, and whatever was not as it should be. Moments are wall clock nanoseconds.

    `outage` is the look at which the row's outage had just been closed; `told` counts the alerts about the row.
    """

    figures: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    outage: Look | None = None
    told: int = 0

    def check(self, fine: object, problem: str) -> None:
        if not fine:
            self.problems.append(problem)

    def passed(self, what: str, since_ns: int | None, within: float) -> None:
        """Note how long ago `since_ns` is, which must be at most `within` seconds."""
        assert since_ns is not None
        self.figures[what] = seconds = (time.time_ns() - since_ns) / NANOSECONDS
        self.check(seconds <= within, f"{what} after {seconds:.1f} s, not within {within:g} s")

    def compare(self, what: str, said_ns: int, truth_ns: tuple[int | None, int | None], within: float) -> None:
        """Note how far a recorded moment is from the truth, which lies between two moments."""
        first_ns, last_ns = truth_ns
        assert first_ns is not None
        assert last_ns is not None
        self.figures[what] = seconds = (said_ns - min(max(said_ns, first_ns), last_ns)) / NANOSECONDS
        self.check(abs(seconds) <= within, f"{what} off by {seconds:.1f} s, more than {within:g} s")

    def count(self, what: str, found: Sequence[object], expected: int) -> None:
        self.figures[what] = len(found)
        self.check(len(found) == expected, f"{len(found)} {what} instead of {expected}: {found}")


class Observer:
    """Follows one watched home: its verdict from moment to moment, and who was told what."""

    def __init__(self, watched: WatchedHome, stop: threading.Event) -> None:
        self.watched = watched
        self._stop = stop

    @property
    def fault(self) -> Faults:
        return self.watched.home.fault

    def until(self, condition: Callable[[Look], object], within: float, seen: set[str] | None = None) -> Look | None:
        """The first look at which `condition` holds; None when `within` seconds are over. `seen` gets the verdicts."""
        deadline = time.monotonic() + within
        while True:
            if self._stop.is_set():
                raise StoppedError
            look = self.watched.look()
            if seen is not None:
                seen.add(look.verdict)
            if condition(look):
                return look
            if time.monotonic() >= deadline:
                return None
            time.sleep(LOOK_SECONDS)

    def hold(self, seconds: float) -> set[str]:
        """The verdicts of the next `seconds`."""
        seen: set[str] = set()
        self.until(lambda _: False, seconds, seen)
        return seen

    def firing(self, *names: str) -> list[Alert]:
        return [alert for alert in self.watched.hook.alerts(status="firing") if alert.name in names]


def recover(observer: Observer, finding: Finding, before: Look, fault: Fault, interval: float) -> None:
    """From healing until the outage is closed; its end is held against the truth."""
    observer.until(lambda look: look.verdict == "ok", OK_SECONDS + GRACE_SECONDS)
    finding.passed("ok", fault.ended_ns, OK_SECONDS)
    look = observer.until(lambda look: not look.outage, CLOSE_SECONDS + GRACE_SECONDS)
    if look is None or look.last_end_ns == before.last_end_ns:
        finding.check(None, "no outage was closed")
        return
    finding.outage = look
    finding.compare("end", look.last_end_ns, (fault.mending_ns, fault.ended_ns), interval + 1)


def account_outage(
    observer: Observer, finding: Finding, pages: int, page_mails: int | None, culprits: tuple[str, ...]
) -> None:
    """Messages about the outage of `finding`, by the moments that they name."""
    if finding.outage is None:
        return
    start_ns, end_ns = finding.outage.last_start_ns, finding.outage.last_end_ns
    paged = [alert for alert in observer.firing(*PAGES) if is_about(alert, "began", start_ns)]
    ended = [alert for alert in observer.firing(ENDED) if is_about(alert, "ended", end_ns)]
    mails = list(observer.watched.smtp.mails)
    page_mailed = [
        mail.subject for mail in mails if "back after" not in mail.subject and as_text(start_ns) in mail.text
    ]
    end_mailed = [mail.subject for mail in mails if "back after" in mail.subject and as_text(end_ns) in mail.text]
    finding.told = len(paged) + len(ended)
    finding.count("pages", [alert.annotations["summary"] for alert in paged], pages)
    finding.count("ended", [alert.annotations["summary"] for alert in ended], 1)
    finding.count("ended by mail", end_mailed, 1)
    finding.count("pages by mail", page_mailed, len(page_mailed) if page_mails is None else page_mails)
    for alert in paged:
        named = alert.name == "CaptivePortal" or any(
            f"({culprit})" in alert.annotations["summary"] for culprit in culprits
        )
        finding.check(named, f"no culprit in {alert.annotations['summary']!r}")
    for alert in ended:
        named = any(alert.annotations["summary"].endswith(f"({culprit})") for culprit in culprits)
        finding.check(named, f"no culprit in {alert.annotations['summary']!r}")
        finding.figures["told of the end"] = (alert.arrived_ns - end_ns) / NANOSECONDS


def is_about(alert: Alert, label: str, wall_ns: int) -> bool:
    return label in alert.labels and abs(label_ns(alert.labels[label]) - wall_ns) <= ROUNDING_NS
