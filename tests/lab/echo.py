"""A host that answers pings in its own way: ``python -m tests.lab.echo BEHAVIOUR`` where the kernel leaves it to us.

Behaviours: honest, twice, late (3 s), altered (another sequence number), short (half a header), foreign (a cookie that
the prober never sent), wrong_type (destination unreachable with a made-up quote before the honest answer).
"""

import heapq
import select
import socket
import struct
import sys
import time

LATE_SECONDS = 3.0


def checksum(message: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message[: len(message) // 2 * 2]))
    total += message[-1] << 8 if len(message) % 2 else 0
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def with_checksum(message: bytes) -> bytes:
    return message[:2] + struct.pack("!H", checksum(message[:2] + b"\0\0" + message[4:])) + message[4:]


def replies(behaviour: str, request: bytes) -> list[tuple[float, bytes]]:
    """(delay in seconds, message) for one echo request."""
    reply = b"\0\0\0\0" + request[4:]
    match behaviour:
        case "twice":
            messages = [(0.0, reply), (0.0, reply)]
        case "late":
            messages = [(LATE_SECONDS, reply)]
        case "altered":
            sequence = struct.unpack_from("!H", reply, 6)[0]
            messages = [(0.0, reply[:6] + struct.pack("!H", sequence ^ 1) + reply[8:])]
        case "short":
            messages = [(0.0, reply[:8])]
        case "foreign":
            messages = [(0.0, reply[:8] + b"somebody" + reply[16:])]
        case "wrong_type":
            messages = [(0.0, b"\x03\x01\0\0" + bytes(28)), (0.0, reply)]
        case _:
            messages = [(0.0, reply)]
    return [(delay, with_checksum(message)) for delay, message in messages]


def main(behaviour: str) -> None:
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    queue: list[tuple[float, int, bytes, str]] = []
    end, count = time.monotonic() + 120, 0
    while (now := time.monotonic()) < end:
        while queue and queue[0][0] <= now:
            _, _, message, address = heapq.heappop(queue)
            raw.sendto(message, (address, 0))
        wait = min(queue[0][0] - now if queue else 1.0, 1.0)
        if not select.select([raw], [], [], max(wait, 0))[0]:
            continue
        packet, (address, _) = raw.recvfrom(2048)
        request = packet[(packet[0] & 15) * 4 :]
        if request[:1] == b"\x08":
            for delay, message in replies(behaviour, request):
                count += 1
                heapq.heappush(queue, (time.monotonic() + delay, count, message, address))


if __name__ == "__main__":
    main(sys.argv[1])
