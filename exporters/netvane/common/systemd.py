"""What a service tells systemd: sd_notify(3) and sd_watchdog_enabled(3), without libsystemd."""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send ``READY=1``, ``WATCHDOG=1``, ``STATUS=…`` (one assignment per line) to the service manager.

    Does nothing where there is none, and nothing when it does not listen: a service works without its manager.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in {"/", "@"}:
        return
    name = "\0" + address[1:] if address[0] == "@" else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        channel.sendto(state.encode(), name)


def watchdog_seconds() -> float | None:
    """Within which time ``WATCHDOG=1`` is expected each time; None where nobody watches this very process."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or not int(microseconds):
        return None
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000
