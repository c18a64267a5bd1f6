"""Who has a port, and whether a part answers on it."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netvane.up import ports
from netvane.up.part import RUNNING, Address, State
from netvane.up.readiness import asked_state, notified_state, parse_notification

# The heads are those of /proc/net/tcp and tcp6, proc(5).
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000   119        0 18012 1 0 100 0 0 10 0
   1: 0100007F:2382 0100007F:C350 01 00000000:00000000 00:00000000 00000000   119        0 18500 1 0 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 15100 1 0 100 0 0 10 0
   3: short
"""


def test_listeners_of_a_port() -> None:
    assert list(ports.listeners(TCP, 9090)) == ["18012"]
    assert list(ports.listeners(TCP, 22)) == ["15100"]
    assert list(ports.listeners("", 22)) == []


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (
            "0::/system.slice/prometheus.service\n",
            "prometheus (pid 7, prometheus.service: `systemctl disable --now prometheus.service` stops it)",
        ),
        ("0::/user.slice/user-1000.slice/user@1000.service\n", "prometheus (pid 7)"),
        ("0::/user.slice/user-1000.slice/session-1.scope\n", "prometheus (pid 7)"),
        ("", "prometheus (pid 7)"),
    ],
)
def test_the_holder_is_named_with_its_unit(cgroup: str, expected: str) -> None:
    assert ports.describe("prometheus", "7", cgroup) == expected


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_taken_port_names_who_has_it(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = ports.problem(Address(host, port))
        assert told is not None
        assert told.startswith(f"port {port} is taken by ")
        assert told.endswith(f"(pid {os.getpid()})")
    assert ports.problem(Address(host, port)) is None


def test_an_address_that_is_not_here() -> None:
    assert ports.problem(Address("203.0.113.1", 9090)) == "no interface has the address 203.0.113.1"


def test_notifications() -> None:
    assert parse_notification(b"READY=1\nSTATUS=degraded: a=b\nnonsense\n\xff=1") == {
        "READY": "1",
        "STATUS": "degraded: a=b",
        "\ufffd": "1",
    }
    assert notified_state("") == RUNNING
    assert notified_state("running") == RUNNING
    assert notified_state("watching eth0") == RUNNING
    assert notified_state("degraded: no router; no IPv6") == State("degraded", "no router; no IPv6")


@contextmanager
def answering(answer: bytes) -> Iterator[Address]:
    """A server that reads a request and says `answer`, once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Address(*server.getsockname())
        thread.join()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nReady", None),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", "answers 503"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answers no HTTP"),
        (b"", "answers no HTTP"),
        (b"x" * 100_000, "answers no HTTP"),
    ],
)
def test_readiness_over_http(answer: bytes, expected: str | None) -> None:
    with answering(answer) as address:
        state = asyncio.run(asked_state(address, "/-/ready"))
    assert state == (RUNNING if expected is None else State("degraded", f"http://{address}/-/ready {expected}"))


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname())
    state = asyncio.run(asked_state(address, "/"))
    assert state == State("degraded", f"http://{address}/ does not answer: Connection refused")
