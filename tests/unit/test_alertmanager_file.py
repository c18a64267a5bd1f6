"""alertmanager.yml: who is told what, where secrets are, and what mail looks like."""

import json
from pathlib import Path
from typing import Any

import pytest

from netvane.up.render import RenderOptions
from tests.place import Place, tool


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_secrets_are_in_one_file_for_its_owner_only(place: Place) -> None:
    place.render(place.full(), RenderOptions(inline_secrets=True))
    path = place.directory / "alertmanager.yml"
    for secret in ("mail-secret", "hook-secret", "password-secret", "beat-secret"):
        assert [name for name, text in place.files().items() if secret in text] == ["alertmanager.yml"]
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert place.render(place.full(), RenderOptions(inline_secrets=True)).changed == (path,)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_changed_secret_is_rendered(place: Place) -> None:
    settings = place.full()
    place.render(settings)
    place.secret("mail", "new-secret")
    assert place.render(settings).changed == (place.directory / "alertmanager.yml",)
    assert place.yaml("alertmanager.yml")["global"]["smtp_auth_password"] == "new-secret"


def test_nobody_is_told_without_receivers(place: Place) -> None:
    rendered = place.render()
    assert rendered.receivers == ()
    assert rendered.note == "no receiver is configured: alerts are only shown by Alertmanager (netvane.yml: notify)"
    names = ("nobody", "owner", "owner-once", "heartbeat")
    assert place.yaml("alertmanager.yml")["receivers"] == [{"name": name} for name in names]


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=RouterDown severity=page", "owner"),
        ("alertname=ExporterDown severity=warning", "owner"),
        ("alertname=InternetDown severity=page began=then", "owner-once"),
        ("alertname=InternetDown severity=none", "nobody"),
        ("alertname=CaptivePortal severity=page began=then", "owner-once"),
        ("alertname=InternetOutageEnded severity=warning ended=then", "owner-once"),
        ("alertname=Watchdog severity=none", "heartbeat"),
        ("alertname=NetvaneTest severity=none netvane_test=mail", "test-mail"),
        ("alertname=NetvaneTest severity=none netvane_test=webhook", "test-webhook"),
        ("alertname=NetvaneTest severity=none netvane_test=heartbeat", "test-heartbeat"),
        ("alertname=NetvaneTest severity=none netvane_test=pigeon", "nobody"),
        ("alertname=Other severity=none", "nobody"),
    ],
)
def test_routes(place: Place, labels: str, receiver: str) -> None:
    assert place.render(place.full()).note == "alerts go to mail and webhook"
    config = str(place.directory / "alertmanager.yml")
    assert tool("amtool", "config", "routes", "test", f"--config.file={config}", *labels.split()).strip() == receiver


def test_receivers(place: Place) -> None:
    place.render(place.full())
    config = place.yaml("alertmanager.yml")
    assert config["global"] == {
        "smtp_smarthost": "smtp.example.org:587",
        "smtp_from": "vane@example.org",
        "smtp_hello": "localhost",
        "smtp_require_tls": True,
        "smtp_auth_username": "vane",
        "smtp_auth_password": "mail-secret",
    }
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    owner, once, heartbeat = receivers["owner"], receivers["owner-once"], receivers["heartbeat"]
    assert owner["email_configs"][0]["to"] == "me@example.org, you@example.org"
    assert owner["email_configs"][0]["send_resolved"] is True
    assert owner["webhook_configs"][0]["url"] == "http://198.51.100.9:8080/hook-secret"
    assert owner["webhook_configs"][0]["http_config"]["basic_auth"] == {
        "username": "vane",
        "password_file": str(place.root / "hook.password"),
    }
    for kind in ("email_configs", "webhook_configs"):
        assert once[kind] == [{**owner[kind][0], "send_resolved": False}]
    assert heartbeat["webhook_configs"] == [{"url": "https://beat.example/beat-secret", "send_resolved": False}]
    tests = [receivers[f"test-{name}"] for name in ("mail", "webhook", "heartbeat")]
    sent = [one["send_resolved"] for test in tests for kind in test.values() if isinstance(kind, list) for one in kind]
    assert sent == [False, False, False]
    watchdog = next(route for route in config["route"]["routes"] if route["receiver"] == "heartbeat")
    assert (watchdog["group_interval"], watchdog["repeat_interval"]) == ("2m", "9m")


FIRING: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "DiskFillingUp"},
    "annotations": {"summary": "The disk at / is filling up", "description": "9% is free.", "runbook_url": "file:///x"},
    "startsAt": "2026-01-01T10:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
}
RESOLVED = {**FIRING, "status": "resolved", "endsAt": "2026-01-01T11:30:00Z"}


@pytest.mark.parametrize(
    ("alerts", "subject"),
    [
        ([FIRING], "[cabin] The disk at / is filling up"),
        ([RESOLVED], "[cabin] Over: The disk at / is filling up"),
        ([FIRING, FIRING, RESOLVED], "[cabin] The disk at / is filling up (and 1 more)"),
        ([RESOLVED, RESOLVED, RESOLVED], "[cabin] Over: The disk at / is filling up (and 2 more)"),
    ],
)
def test_mail(place: Place, alerts: list[dict[str, Any]], subject: str) -> None:
    place.render(place.full())
    email = next(r for r in place.yaml("alertmanager.yml")["receivers"] if r["name"] == "owner")["email_configs"][0]
    data = place.root / "data.json"
    status = "firing" if FIRING in alerts else "resolved"
    data.write_text(json.dumps({"status": status, "alerts": alerts, "groupLabels": {"site": "cabin"}}))

    def filled_in(template: str) -> str:
        files = (f"--template.glob={place.directory}/templates/*.tmpl", f"--template.data={data}")
        return tool("amtool", "template", "render", *files, f"--template.text={template}")

    assert filled_in(email["headers"]["Subject"]).rstrip("\n") == subject
    text = filled_in(email["text"])
    assert text.count("Since: 2026-01-01") == len(alerts)
    assert text.count("Until: 2026-01-01") == alerts.count(RESOLVED)
    assert text.count("What to do: file:///x") == len(alerts)


def test_mail_about_an_outage_has_the_outage_s_times_only(place: Place) -> None:
    place.render(place.full())
    alert = {**FIRING, "labels": {"alertname": "InternetDown", "began": "2026-01-01 09:59:40 +0000 UTC"}}
    data = place.root / "data.json"
    data.write_text(json.dumps({"status": "firing", "alerts": [alert], "groupLabels": {"site": "cabin"}}))
    files = (f"--template.glob={place.directory}/templates/*.tmpl", f"--template.data={data}")
    text = tool("amtool", "template", "render", *files, '--template.text={{ template "netvane.text" . }}')
    assert text.split("\n")[:4] == [FIRING["annotations"]["summary"], "9% is free.", "", "What to do: file:///x"]
