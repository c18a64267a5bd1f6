"""When something is told of the capture itself, and when not."""

from netvane.common.clock import NANOSECONDS
from netvane.flows.captureevents import CaptureStory, Sight

SECOND, MINUTE = NANOSECONDS, 60 * NANOSECONDS
NOON = 1_767_268_800 * NANOSECONDS


class Interface:
    """`ap`, looked at every two seconds; what a minute brings is set from outside."""

    def __init__(self) -> None:
        self.story = CaptureStory()
        self.now = NOON
        self.reason: str | None = None
        self.frames = [0, 0]
        self.names = [0, 0]
        self.last_frame = 0

    def sight(self) -> Sight:
        rings = {"frames": (self.frames[0], self.frames[1]), "names": (self.names[0], self.names[1])}
        return Sight("ap", self.reason, rings, self.last_frame)

    def live(self, seconds: int, *, frames: int = 10, dropped: int = 0, names_dropped: int = 0) -> list[str]:
        """What is told meanwhile, while so many frames come every two seconds."""
        told: list[str] = []
        for _ in range(0, seconds, 2):
            self.frames[0] += frames
            self.frames[1] += dropped
            self.names[0] += frames
            self.names[1] += names_dropped
            if frames:
                self.last_frame = self.now
            told += [event.change for event in self.story.look(self.sight(), self.now)]
            self.now += 2 * SECOND
        return told


def test_an_interface_comes_goes_and_is_stopped_once_each() -> None:
    ap = Interface()
    ap.reason = "ap cannot be listened to: No such device"
    (event,) = ap.story.look(ap.sight(), ap.now)
    assert (event.change, event.detail) == ("missing", ap.reason)
    assert ap.live(60, frames=0) == []
    ap.reason = None
    assert ap.live(3600) == ["started"]
    ap.reason = "ap is down"
    assert ap.live(60, frames=0) == ["missing"]
    ap.reason = "ap cannot be listened to: No such device"
    assert ap.live(60, frames=0) == []
    assert list(ap.story.stop(ap.sight())) == []  # it was not listened to
    ap.reason = None
    assert ap.live(10) == ["started"]
    assert [event.change for event in ap.story.stop(ap.sight())] == ["stopped"]
    assert list(ap.story.stop(ap.sight())) == []


def test_drops_are_told_once_while_they_last() -> None:
    ap = Interface()
    assert ap.live(600) == ["started"]
    assert ap.live(600, frames=2000, dropped=2) == []  # one in a thousand is not more than one in a thousand
    assert ap.live(120, frames=1000, dropped=3) == ["drops"]
    assert ap.live(1200, frames=1000, dropped=3) == []
    assert ap.live(300) == []
    assert ap.live(120, frames=1000, dropped=3) == []  # the same trouble
    assert ap.live(1200) == []
    assert ap.live(120, frames=1000, names_dropped=500) == ["drops"]


def test_silence_of_an_interface_that_is_up_is_told_once() -> None:
    ap = Interface()
    assert ap.live(60) == ["started"]
    assert ap.live(14 * 60, frames=0) == []
    assert ap.live(3600, frames=0) == ["stalled"]
    assert ap.live(60) == []
    assert ap.live(3600, frames=0) == ["stalled"]


def test_an_interface_on_which_nothing_ever_came_is_given_its_time() -> None:
    ap = Interface()
    assert ap.live(14 * 60, frames=0) == ["started"]
    assert ap.live(120, frames=0) == ["stalled"]


def test_what_is_told_has_its_figures() -> None:
    ap = Interface()
    list(ap.story.look(ap.sight(), ap.now))
    ap.frames = [5000, 100]
    looks = [ap.story.look(ap.sight(), ap.now + second * SECOND) for second in range(2, 70, 2)]
    (event,) = [event for look in looks for event in look]
    assert event.detail == "100 of 5000 packets of a minute had no room in the ring 'frames'"
    assert (event.interface, event.received_packets, event.dropped_packets) == ("ap", 5000, 100)


def test_a_clock_that_is_set_tells_nothing() -> None:
    ap = Interface()
    assert ap.live(600) == ["started"]
    for jump in (-86_400, 86_400):
        ap.now += jump * SECOND
        assert ap.live(60, frames=0) == []  # a quiet interface
        assert ap.live(600) == []
