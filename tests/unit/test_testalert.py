"""`netvane test-alert`: what Alertmanager's counters are taken for, and answers that are none of Alertmanager's."""

import socket
import time

import pytest

from netvane.up.alertmanager_client import Alertmanager, AlertmanagerError, Sent
from netvane.up.rehearsal import without_secrets
from netvane.up.testalert import await_fate, fate
from tests.lab.httpd import Httpd, QuietHandler


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (Sent(), "pending"),
        (Sent(notifications=1), "pending"),
        (Sent(notifications=1, attempts=1), "accepted"),
        (Sent(notifications=1, attempts=3, failed_attempts=2), "accepted"),
        (Sent(notifications=1, attempts=4, failed_attempts=4), "pending"),
        (Sent(notifications=1, attempts=4, failed_attempts=4, given_up=1), "given up"),
        # It tries again as soon as it has given up.
        (Sent(notifications=2, attempts=5, failed_attempts=5, given_up=1), "given up"),
        # One of two got through, and nobody knows which.
        (Sent(notifications=2, attempts=1), "mixed up"),
        (Sent(notifications=2, attempts=2), "mixed up"),
        (Sent(notifications=2, attempts=5, failed_attempts=4, given_up=1), "mixed up"),
    ],
)
def test_fate(sent: Sent, expected: str) -> None:
    assert fate(sent) == expected


def test_an_attempt_whose_failure_is_counted_a_moment_later_is_not_taken_for_success() -> None:
    looks = iter([Sent(1), Sent(1, 1), Sent(1, 1, 1), Sent(1, 2, 1), Sent(1, 2, 2), Sent(1, 3, 3, 1)])
    assert await_fate(lambda: next(looks), time.monotonic() + 60) == "given up"
    looks = iter([Sent(1, 1, 1), Sent(1, 2, 1), Sent(1, 2, 1)])
    assert await_fate(lambda: next(looks), time.monotonic() + 60) == "accepted"
    assert await_fate(Sent, time.monotonic() + 0.3) == "pending"


def test_what_happened_since() -> None:
    assert Sent(5, 7, 2, 1).since(Sent(4, 5, 1, 1)) == Sent(1, 2, 1, 0)


@pytest.mark.parametrize(
    "body", [b"<html>a router's page</html>", b'{"status": "fine"}', b"[1, 2]", b'[{"a": 1}]', b"\xff"]
)
def test_something_else_at_that_address(body: bytes) -> None:
    class Page(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Httpd(listener, Page):
        alertmanager = Alertmanager(url)
        with pytest.raises(AlertmanagerError, match=f"{url} does not answer as an Alertmanager does"):
            alertmanager.receivers()
        with pytest.raises(AlertmanagerError, match=f"{url} does not answer as an Alertmanager does"):
            alertmanager.state("a", "b")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://[bad/", "http://127.0.0.1:x/"])
def test_nothing_at_that_address(url: str) -> None:
    with pytest.raises(AlertmanagerError, match="Alertmanager at http"):
        Alertmanager(url).receivers()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@hook.example/secret?secret", "https://hook.example"),
        ("http://[2001:db8::1]:8080/secret", "http://[2001:db8::1]:8080"),
    ],
)
def test_what_is_shown_of_a_secret_url(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
