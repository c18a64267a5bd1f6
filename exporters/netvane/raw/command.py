"""`netvane raw`: the one privileged helper, in the foreground. No HTTP, no configuration file: what it may do is fixed.

Exit codes: 0 fine, 1 a fault at run time, 2 a bad command line.
"""

import argparse
import asyncio
import re
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from netvane.common import log as logs
from netvane.common import network
from netvane.common.clock import SystemClock
from netvane.common.log import get_logger
from netvane.common.raw_messages import SOCKET_NAME
from netvane.common.settings import Network, Storage
from netvane.common.systemd import notify, watchdog_seconds
from netvane.raw import unixsocket
from netvane.raw.discover import Discoverer
from netvane.raw.feed import Feed
from netvane.raw.listener import Listener
from netvane.raw.server import Server
from netvane.raw.sweep import Sweeper
from netvane.raw.trace import Tracer

log = get_logger("raw")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="netvane raw", allow_abbrev=False)
    parser.add_argument(
        "--run-dir", type=Path, default=Storage().run_dir, metavar="DIR", help="where the socket is made"
    )
    parser.add_argument(
        "--interface",
        action="append",
        type=_interface,
        metavar="NAME",
        help="listen here (repeatable), and where a subscriber asks for it; default: where the default route leads",
    )
    parser.add_argument("--log.level", dest="log_level", choices=logs.LEVELS, default="info")
    parser.add_argument("--log.format", dest="log_format", choices=("logfmt", "json"), default="logfmt")
    options = parser.parse_args(argv)
    logs.setup(options.log_level, options.log_format)
    try:
        # Packet sockets are what the kernel refuses first; asked here, the answer is one line and no traceback.
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError as error:
        return _fail(f"needs the capability CAP_NET_RAW: {error.strerror}")
    try:
        with unixsocket.listening(options.run_dir / SOCKET_NAME) as listening:
            asyncio.run(_run(listening, tuple(dict.fromkeys(options.interface or ()))))
    except unixsocket.SocketError as error:
        return _fail(str(error))
    return 0


async def _run(listening: socket.socket, interfaces: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, log.info, "there is nothing to reload")

    clock = SystemClock()
    feed = Feed()
    listener = Listener(lambda: interfaces or _default_interface(), feed, clock)
    server = Server(Tracer(clock), Discoverer(clock), Sweeper(clock), feed, listener, clock)
    work = [asyncio.create_task(listener.run(_beat)), asyncio.create_task(server.run(listening))]
    stopping = asyncio.create_task(stop.wait())
    notify("READY=1")
    log.info("ready", socket=listening.getsockname())
    await asyncio.wait({*work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1")
    for task in (*work, stopping):
        task.cancel()
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def _beat() -> None:
    if watchdog_seconds() is not None:
        notify("WATCHDOG=1")


def _default_interface() -> Sequence[str]:
    interface = network.find(Network()).interface
    return (interface,) if interface is not None else ()


def _interface(text: str) -> str:
    if not re.fullmatch(r"[^/\s]{1,15}", text):
        raise argparse.ArgumentTypeError(f"expected the name of an interface, got {text!r}")
    return text


def _fail(reason: str) -> int:
    print(f"netvane raw: {reason}", file=sys.stderr)
    return 1
