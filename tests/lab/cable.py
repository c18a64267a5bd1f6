"""A cable with delay, jitter, loss and a cut, in user space: this kernel has no netem.

Two TAP devices in one namespace and a process that relays frames between them through a heap ordered by due time.
Each belongs to a bridge, so that whoever hangs on those bridges sees nothing but a slower or worse line. The relay
itself adds 0.1 to 0.4 ms to each round trip.
"""

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.lab.remote import Remote, answer

if TYPE_CHECKING:
    from tests.lab.netns import Namespace

# <linux/if_tun.h>, <linux/prctl.h>
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
PR_SET_TIMERSLACK = 29

STDIN = 0
FRAME_BYTES = 65536
FRAMES_PER_READ = 64
# What waits on the line at most, in frames; a real line drops what its queue cannot hold, too.
QUEUE_FRAMES = 20_000


class Cable:
    """Its ends are the TAP devices `<name>-near` and `<name>-far`; out is from near to far."""

    def __init__(self, namespace: "Namespace", name: str) -> None:
        from tests.lab.processes import PYTHON_ENV  # noqa: PLC0415 - the relay process does without

        self.near, self.far = f"{name}-near", f"{name}-far"
        command = [sys.executable, "-m", "tests.lab.cable", self.near, self.far]
        self._remote = Remote(namespace.start(command, env=PYTHON_ENV, piped=True))
        self._namespace = namespace

    def plug(self, near_bridge: str, far_bridge: str) -> None:
        """Join two bridges of the cable's namespace."""
        self.counts()  # answered once the devices exist
        self._namespace.ip(
            f"link set {self.near} master {near_bridge} up",
            f"link set {self.far} master {far_bridge} up",
        )

    def set(self, *, delay: float = 0.0, jitter: float = 0.0, loss: float = 0.0, loss_back: float = 0.0) -> None:
        """Seconds each way: `delay` ± `jitter` (uniform, frames never overtake); `loss` out and back in 0..1."""
        self._remote.ask(delay=delay, jitter=jitter, loss=loss, loss_back=loss_back)

    def cut(self) -> None:
        """Nothing passes any more, what is on the way included; carriers stay up."""
        self._remote.ask(cut=True)

    def heal(self) -> None:
        self._remote.ask(cut=False)

    def counts(self) -> dict[str, int]:
        """Frames since the start: `out`, `back` (relayed) and `lost`."""
        counts: dict[str, int] = self._remote.ask()
        return counts


class _Relay:
    def __init__(self, near: int, far: int) -> None:
        self.near, self.far = near, far
        self.line = {"delay": 0.0, "jitter": 0.0, "loss": 0.0, "loss_back": 0.0, "cut": False}
        self.counts = {"out": 0, "back": 0, "lost": 0}
        self.queue: list[tuple[float, int, int, bytes]] = []  # due, number, to, frame
        self.number = 0
        self.last_due = {near: 0.0, far: 0.0}

    def handle(self, question: dict[str, Any]) -> dict[str, int]:
        self.line |= question
        if self.line["cut"]:
            self.queue.clear()
        return self.counts

    def read(self, source: int) -> None:
        sink, loss = (self.far, self.line["loss"]) if source == self.near else (self.near, self.line["loss_back"])
        for _ in range(FRAMES_PER_READ):
            try:
                frame = os.read(source, FRAME_BYTES)
            except BlockingIOError:
                return
            lost = random.random() < loss  # noqa: S311 - a die, no secret
            if self.line["cut"] or lost or len(self.queue) >= QUEUE_FRAMES:
                self.counts["lost"] += 1
                continue
            delay = self.line["delay"] + self.line["jitter"] * random.uniform(-1, 1)  # noqa: S311 - likewise
            self.last_due[sink] = max(self.last_due[sink], time.monotonic() + delay)
            self.number += 1
            heapq.heappush(self.queue, (self.last_due[sink], self.number, sink, frame))

    def write_due(self) -> None:
        now = time.monotonic()
        while self.queue and self.queue[0][0] <= now:
            _, _, sink, frame = heapq.heappop(self.queue)
            # EIO: that end is down. EAGAIN: its queue is full.
            with contextlib.suppress(OSError):
                os.write(sink, frame)
                self.counts["out" if sink == self.far else "back"] += 1

    def run(self) -> None:
        """Until standard input ends."""
        while True:
            timeout = max(0.0, self.queue[0][0] - time.monotonic()) if self.queue else None
            for ready in select.select([self.near, self.far, STDIN], [], [], timeout)[0]:
                if ready == STDIN:
                    answer(self.handle)
                else:
                    self.read(ready)
            self.write_due()


def _tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def main() -> None:
    near, far = sys.argv[1:]
    # Timers to the microsecond instead of to 50, and in time on a busy machine.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    _Relay(_tap(near), _tap(far)).run()


if __name__ == "__main__":
    main()
