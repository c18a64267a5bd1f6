"""Netvane's own prober in a process of its own, every round-trip time written down: ``… ADDRESS COUNT INTERVAL_MS``.

A histogram cannot tell a median to the microsecond; the prober is the exporter's, only its series is listened to.
"""

import asyncio
import json
import sys

from netvane.common.clock import SystemClock
from netvane.latency.prober import Prober, Target
from netvane.latency.series import Series


async def main(address: str, count: int, interval_ms: int) -> None:
    recorded: list[float] = []
    enough = asyncio.Event()

    class Recorded(Series):
        def answered(self, sent_ns: int, rtt_seconds: float, wall_ns: int, arrived_ns: int | None = None) -> None:
            super().answered(sent_ns, rtt_seconds, wall_ns, arrived_ns)
            recorded.append(rtt_seconds)
            if len(recorded) >= count:
                enough.set()

    prober = Prober(SystemClock(), lambda: None, lambda _family, _reason: None)
    prober.configure([Target("far", "target", 4, address, interval_ms * 1_000_000)], 16, (1.0,))
    prober._series = {"far": Recorded((1.0,))}
    prober.start()
    async with asyncio.timeout(count * interval_ms / 1000 * 2 + 10):
        await enough.wait()
    prober.stop()
    print(json.dumps(recorded))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
