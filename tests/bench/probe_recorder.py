"""Netvane's DNS and TCP probes in a process of its own: ``… dns|tcp ADDRESS COUNT INTERVAL_MS``; seconds as JSON."""

import asyncio
import json
import sys

from netvane.latency import dnsquery, tcp
from netvane.latency.dnsquery import Question

QUESTION = Question("anchor1.example", 4, frozenset())


async def main(kind: str, address: str, count: int, interval_ms: int) -> None:
    recorded = []
    for _ in range(count):
        if kind == "dns":
            seconds = (await dnsquery.ask(address, "udp", QUESTION, 5)).seconds
        else:
            seconds = (await tcp.connect(address, 80, 5)).seconds
        if seconds is not None:
            recorded.append(seconds)
        await asyncio.sleep(interval_ms / 1000)
    print(json.dumps(recorded))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
