"""What happens to the capture, as `capture` events: one for each change, none while things stay as they are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from netvane.common.clock import NANOSECONDS
from netvane.common.event_schema import Capture

Change = Literal["started", "stopped", "missing", "drops", "stalled"]

MINUTE = 60 * NANOSECONDS
DROPS_SHARE = 0.001  # of the packets of a minute, as in the alert CaptureDrops
DROPS_OVER = 10 * MINUTE
STALLED = 15 * MINUTE  # as the alert CaptureStalled, the time that it waits included


class Sight(NamedTuple):
    """An interface at one moment: why it is not listened to (None: it is), and what its rings counted since the start.

    `rings`: name -> (packets received, of those dropped); `last_frame` in Unix ns, 0: never.
    """

    interface: str
    reason: str | None
    rings: dict[str, tuple[int, int]]
    last_frame: int


@dataclass(slots=True)
class _Story:
    """What was told of one interface; times in Unix ns."""

    up: bool | None = None  # None: nothing yet
    since: int = 0
    looked: int = 0
    stalled: bool = False
    minute: int = 0  # when the counts of `rings` were taken
    rings: dict[str, tuple[int, int]] = field(default_factory=dict)
    dropping: dict[str, int] = field(default_factory=dict)  # ring -> when it last dropped too many


class CaptureStory:
    """Remembers what it told of each interface."""

    def __init__(self) -> None:
        self._stories: dict[str, _Story] = {}

    def look(self, sight: Sight, now: int) -> Iterator[Capture]:
        """What changed since the last look; for a call every few seconds."""
        story = self._stories.setdefault(sight.interface, _Story(looked=now, minute=now))
        if not 0 <= now - story.looked < MINUTE:  # the clock was set, or this program was stopped
            story.since = story.minute = now
        story.looked = now
        up = sight.reason is None
        if up is not story.up:
            story.up, story.since, story.stalled = up, now, False
            yield _event(sight, "started" if up else "missing", sight.reason)
        if up:
            yield from _silence(story, sight, now)
        if now - story.minute >= MINUTE:
            yield from _drops(story, sight, now)
            story.minute, story.rings = now, sight.rings

    def stop(self, sight: Sight) -> Iterator[Capture]:
        """The capture ends, by the owner's wish."""
        story = self._stories.pop(sight.interface, None)
        if story is not None and story.up:
            yield _event(sight, "stopped", None)


def _silence(story: _Story, sight: Sight, now: int) -> Iterator[Capture]:
    silent = now - max(sight.last_frame, story.since)
    if silent >= STALLED and not story.stalled:
        yield _event(sight, "stalled", f"up, but no frame for {silent // MINUTE} min")
    story.stalled = silent >= STALLED


def _drops(story: _Story, sight: Sight, now: int) -> Iterator[Capture]:
    for ring, (received, dropped) in sight.rings.items():
        received_before, dropped_before = story.rings.get(ring, (0, 0))
        came, lost = received - received_before, dropped - dropped_before
        if lost <= DROPS_SHARE * came:
            continue
        if now - story.dropping.get(ring, -DROPS_OVER) >= DROPS_OVER:
            yield _event(sight, "drops", f"{lost} of {came} packets of a minute had no room in the ring {ring!r}")
        story.dropping[ring] = now


def _event(sight: Sight, change: Change, detail: str | None) -> Capture:
    received, dropped = sight.rings["frames"]
    return Capture(
        interface=sight.interface, change=change, detail=detail, received_packets=received, dropped_packets=dropped
    )
