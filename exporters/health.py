"""health.py URL|SOCKET: exit code 0 when a part of Netvane is well. What containers ask for their health check.

An exporter is well when /-/healthy answers 200; `netvane raw`, which has no HTTP, when its Unix socket takes a
connection.
"""

import socket
import sys
import urllib.request

SECONDS = 5.0


def main(place: str) -> None:
    """Raises OSError where the part is not well."""
    if place.startswith("/"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(SECONDS)
            channel.connect(place)
    else:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(place, timeout=SECONDS).close()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
