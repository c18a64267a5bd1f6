"""The sections notify, alerts and up: what a mistake in them is told."""

from pathlib import Path
from typing import Any

import pytest

from netvane.common.config import ConfigError
from netvane.up.jobs import reachable
from tests.place import MAIL, Place

STORE = {"url": "http://198.51.100.2:8428/api/v1/write"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        ({"mail": {**MAIL, "to": []}}, "notify.mail.to: expected at least one mail address"),
        ({"mail": {**MAIL, "to": ["me"]}}, "notify.mail.to: expected a mail address such as me@example.org, got 'me'"),
        ({"mail": {**MAIL, "sender": "a, b@c"}}, "notify.mail.sender: expected a mail address"),
        ({"mail": {**MAIL, "smarthost": "smtp.example.org"}}, "notify.mail.smarthost: expected HOST:PORT"),
        ({"mail": {**MAIL, "smarthost": ":25"}}, "notify.mail.smarthost: expected HOST:PORT"),
        ({"mail": {**MAIL, "smarthost": "smtp.example.org:99999"}}, "notify.mail.smarthost: expected HOST:PORT"),
        ({"mail": {**MAIL, "username": "u"}}, "notify.mail.username: username and password_file go together"),
        ({"mail": {**MAIL, "username": "u", "password_file": "p"}}, "expected an absolute path, got 'p'"),
        (
            {"mail": {**MAIL, "username": "u", "password_file": "/nonexistent/p"}},
            "notify.mail.password_file: /nonexistent/p: cannot be read: No such file or directory",
        ),
        ({"mail": {**MAIL, "hello": "two words"}}, "notify.mail.hello: expected a host name"),
        ({"mail": {"to": ["me@example.org"]}}, "notify.mail.sender: missing"),
        ({"webhook": {}}, "notify.webhook.url: expected http://… or https://…, got nothing"),
        ({"webhook": {"url": "ftp://x"}}, "notify.webhook.url: expected http://… or https://…, got 'ftp://x'"),
        (
            {"webhook": {"url": "http://x", "url_file": "/x"}},
            "notify.webhook.url_file: expected either url or url_file",
        ),
        ({"webhook": {"url_file": "/nonexistent/u"}}, "notify.webhook.url_file: /nonexistent/u: cannot be read"),
        ({"webhook": {"url": "http://x", "password_file": "/x"}}, "password_file: username and password_file go"),
        ({"heartbeat": {"url": "http://x", "interval": "5s"}}, "notify.heartbeat.interval: expected 1m to 1d"),
        ({"pigeon": {}}, "notify.pigeon: unknown key"),
    ],
)
def test_mistakes_in_notify(place: Place, notify: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place.render({"notify": notify})
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{place.config}:1: ")
    assert not place.directory.exists()


def test_a_secret_that_is_no_url_is_not_shown(place: Place) -> None:
    with pytest.raises(ConfigError) as caught:
        place.render({"notify": {"webhook": {"url_file": place.secret("u", "token-secret")}}})
    assert "token-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"alerts": {"disk_free_ratio": 10}}, "alerts.disk_free_ratio: expected `float` <= 1"),
        ({"alerts": {"runbooks_url": "books"}}, "alerts.runbooks_url: expected http://… or https://…"),
        ({"alerts": {"disk_full_within": 4}}, "alerts.disk_full_within: expected a duration"),
        ({"up": {"prometheus_listen": "9090"}}, "up.prometheus_listen: expected HOST:PORT, got '9090'"),
        ({"up": {"retention_time": "1h"}}, "up.retention_time: expected at least 1d"),
        ({"up": {"retention_size": "1MB"}}, "up.retention_size: expected at least 100MB"),
        ({"up": {"remote_write": {}}}, "up.remote_write.url: expected http://… or https://…, got nothing"),
        ({"up": {"remote_write": {"url": "store:8428"}}}, "up.remote_write.url: expected http://… or https://…"),
        ({"up": {"remote_write": {**STORE, "tenant": "a b"}}}, "up.remote_write.tenant: expected letters, digits and"),
        ({"up": {"remote_write": {**STORE, "ca_file": "ca.pem"}}}, "up.remote_write.ca_file: expected an absolute"),
        ({"up": {"remote_write": {**STORE, "username": "u"}}}, "username: username and password_file go together"),
    ],
)
def test_mistakes_in_alerts_and_up(place: Place, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place.render(settings)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("listen", "target"),
    [
        (":9090", "127.0.0.1:9090"),
        ("0.0.0.0:9090", "127.0.0.1:9090"),
        ("[::]:9090", "127.0.0.1:9090"),
        ("[::1]:9090", "[::1]:9090"),
        ("pi.example:9090", "pi.example:9090"),
    ],
)
def test_where_to_reach_what_listens_everywhere(listen: str, target: str) -> None:
    assert reachable(listen) == target
