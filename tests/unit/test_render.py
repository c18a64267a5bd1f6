"""`netvane render`: what it writes, checked by promtool and amtool themselves."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netvane.common import assets
from netvane.common.config import ConfigError
from netvane.common.settings import load
from netvane.up import render_command
from netvane.up.jobs import reachable
from netvane.up.promunits import parse_prometheus_duration, prometheus_duration
from netvane.up.render import Rendered, RenderOptions, render

MAIL = {"to": ["me@example.org", "you@example.org"], "sender": "vane@example.org", "smarthost": "smtp.example.org:587"}


class Place:
    """A netvane.yml and the directory that it is rendered into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "netvane.yml"
        self.directory = root / "rendered"

    def secret(self, name: str, text: str) -> str:
        path = self.root / name
        path.write_text(text + "\n")
        return str(path)

    def render(self, settings: dict[str, Any] | None = None, options: RenderOptions | None = None) -> Rendered:
        """JSON is YAML."""
        self.config.write_text(json.dumps(settings or {}))
        return render(load(self.config), self.directory, options)

    def yaml(self, name: str) -> Any:
        return yaml.safe_load((self.directory / name).read_text())

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.directory)): path.read_text()
            for path in sorted(self.directory.rglob("*"))
            if path.is_file()
        }

    def full(self) -> dict[str, Any]:
        """Every kind of receiver, every secret in a file."""
        return {
            "site": "cabin",
            "notify": {
                "mail": {**MAIL, "username": "vane", "password_file": self.secret("mail", "mail-secret")},
                "webhook": {
                    "url_file": self.secret("hook", "http://198.51.100.9:8080/hook-secret"),
                    "username": "vane",
                    "password_file": self.secret("hook.password", "password-secret"),
                },
                "heartbeat": {"url_file": self.secret("beat", "https://beat.example/beat-secret"), "interval": "10m"},
            },
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def tool(*command: str) -> str:
    """Run from somewhere else, since all paths are absolute. Both tools are strict about what they are given."""
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["empty", "full", "inlined"])
@pytest.mark.parametrize("name", ["rendered", "a [b] c\\d"])
def test_promtool_and_amtool_are_content(place: Place, kind: str, name: str) -> None:
    place.directory = place.root / name
    settings = {} if kind == "empty" else place.full()
    place.render(settings, RenderOptions(inline_secrets=kind == "inlined"))
    checked = tool("promtool", "check", "config", str(place.directory / "prometheus.yml"))
    assert f"{len(list(place.directory.glob('[ra]*s/*.yml')))} rule files found" in checked
    assert "1 templates" in tool("amtool", "check-config", str(place.directory / "alertmanager.yml"))


def test_scrape_jobs(place: Place) -> None:
    place.render({"site": "cabin", "up": {"prometheus_listen": "0.0.0.0:9999"}})
    config = place.yaml("prometheus.yml")
    assert config["global"] == {
        "scrape_interval": "60s",
        "scrape_timeout": "10s",
        "evaluation_interval": "15s",
        "external_labels": {"site": "cabin"},
    }
    jobs = {
        job["job_name"]: (job["scrape_interval"], job["sample_limit"], job["file_sd_configs"][0]["files"])
        for job in config["scrape_configs"]
    }
    assert jobs["latency"] == ("15s", 2500, [str(place.directory / "targets/latency.json")])
    assert {name: job[:2] for name, job in jobs.items() if name != "latency"} == {
        "node": ("1m", 10000),
        "prometheus": ("1m", 10000),
        "alertmanager": ("1m", 10000),
    }
    targets = json.loads((place.directory / "targets/prometheus.json").read_text())
    assert targets == [{"targets": ["127.0.0.1:9999"], "labels": {"site": "cabin"}}]
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9093"]


def test_other_addresses_and_parts_that_do_not_run(place: Place) -> None:
    place.render()
    rendered = place.render(
        options=RenderOptions(
            targets={"latency": "latency:9741", "alertmanager": "alertmanager:9093"}, without=frozenset({"node"})
        )
    )
    assert rendered.removed == (place.directory / "targets/node.json",)
    config = place.yaml("prometheus.yml")
    assert [job["job_name"] for job in config["scrape_configs"]] == ["latency", "prometheus", "alertmanager"]
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["alertmanager:9093"]
    assert json.loads((place.directory / "targets/latency.json").read_text())[0]["targets"] == ["latency:9741"]
    with pytest.raises(ConfigError, match="unknown job 'nod'; expected one of latency, node, prometheus, alertmanager"):
        place.render(options=RenderOptions(without=frozenset({"nod"})))


def test_unchanged_files_are_not_written_again(place: Place) -> None:
    first = place.render(place.full())
    assert len(first.changed) == len(place.files()) - 1  # all but the manifest
    before = {path: path.stat().st_ino for path in place.directory.rglob("*")}
    second = place.render(place.full())
    assert (second.changed, second.removed) == ((), ())
    assert {path: path.stat().st_ino for path in place.directory.rglob("*")} == before
    third = place.render({**place.full(), "alerts": {"temperature_celsius": 60}})
    assert third.changed == (place.directory / "rules/thresholds.yml",)


def test_only_what_was_rendered_is_removed(place: Place, tmp_path: Path) -> None:
    place.render()
    own = place.directory / "rules/own.yml"
    own.write_text("groups: []\n")
    outside = tmp_path / "outside.yml"
    outside.touch()
    manifest = place.directory / ".rendered"
    stale = place.directory / "alerts/stale.yml"
    stale.touch()
    manifest.write_text(
        manifest.read_text() + "alerts/stale.yml\n../outside.yml\nrules/../../outside.yml\nrules/.own\n"
    )
    assert place.render().removed == (stale,)
    assert own.exists()
    assert outside.exists()


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
    assert place.yaml("alertmanager.yml")["receivers"] == [{"name": "nobody"}, {"name": "owner"}, {"name": "heartbeat"}]


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=RouterDown severity=page", "owner"),
        ("alertname=ExporterDown severity=warning", "owner"),
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
    owner, heartbeat = receivers["owner"], receivers["heartbeat"]
    assert owner["email_configs"][0]["to"] == "me@example.org, you@example.org"
    assert owner["email_configs"][0]["send_resolved"] is True
    assert owner["webhook_configs"][0]["url"] == "http://198.51.100.9:8080/hook-secret"
    assert owner["webhook_configs"][0]["http_config"]["basic_auth"] == {
        "username": "vane",
        "password_file": str(place.root / "hook.password"),
    }
    assert heartbeat["webhook_configs"] == [{"url": "https://beat.example/beat-secret", "send_resolved": False}]
    tests = [receivers[f"test-{name}"] for name in ("mail", "webhook", "heartbeat")]
    sent = [one["send_resolved"] for test in tests for kind in test.values() if isinstance(kind, list) for one in kind]
    assert sent == [False, False, False]
    watchdog = next(route for route in config["route"]["routes"] if route["receiver"] == "heartbeat")
    assert (watchdog["group_interval"], watchdog["repeat_interval"]) == ("2m", "9m")


def test_time_scale_shortens_how_long_alerts_wait_and_nothing_else(place: Place) -> None:
    place.render()
    plain = place.files()
    place.render(options=RenderOptions(time_scale=0.05))
    scaled = place.files()
    assert {name for name in plain if plain[name] != scaled[name]} == {
        "alerts/machine.yml",
        "alerts/netvane.yml",
        "alerts/network.yml",
    }
    for name in ("alerts/machine.yml", "alerts/netvane.yml", "alerts/network.yml"):
        before = [rule for group in yaml.safe_load(plain[name])["groups"] for rule in group["rules"]]
        after = [rule for group in yaml.safe_load(scaled[name])["groups"] for rule in group["rules"]]
        for one, other in zip(before, after, strict=True):
            for key in ("for", "keep_firing_for"):
                assert (key in one) == (key in other)
                if key in one:
                    seconds = parse_prometheus_duration(other.pop(key))
                    assert seconds == pytest.approx(parse_prometheus_duration(one.pop(key)) * 0.05)
            assert one == other
    tool("promtool", "check", "config", str(place.directory / "prometheus.yml"))


def test_links_lead_to_files_here_or_to_the_owner_s_web(place: Place) -> None:
    place.render()
    rule = place.yaml("alerts/network.yml")["groups"][0]["rules"][0]
    assert rule["annotations"]["runbook_url"] == assets.path("docs/runbooks/RouterDown.md").as_uri()
    assert rule["annotations"]["dashboard_url"].startswith("http://127.0.0.1:9090/graph?")
    place.render(
        {"alerts": {"runbooks_url": "https://example.org/books/"}, "up": {"prometheus_listen": "198.51.100.10:9090"}}
    )
    rule = place.yaml("alerts/network.yml")["groups"][0]["rules"][0]
    assert rule["annotations"]["runbook_url"] == "https://example.org/books/RouterDown.md"
    assert rule["annotations"]["dashboard_url"].startswith("http://198.51.100.10:9090/graph?")


def test_thresholds(place: Place) -> None:
    place.render({"alerts": {"disk_full_within": "12h", "disk_free_ratio": 0.25}})
    rules = place.yaml("rules/thresholds.yml")["groups"][0]["rules"]
    assert {rule["labels"]["name"]: rule["expr"] for rule in rules} == {
        "temperature_celsius": "vector(75)",
        "disk_free_ratio": "vector(0.25)",
        "disk_full_within_seconds": "vector(43200)",
        "events_unshipped_seconds": "vector(3600)",
    }


FIRING = {
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


def test_the_command(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.config.write_text("{}")
    command = [str(place.directory), "--config.file", str(place.config)]
    assert render_command.main([*command, "--time-scale", "0.1", "--target", "latency=l:1", "--without", "node"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert f"written {place.directory}/prometheus.yml" in out
    assert out[-1].startswith("no receiver is configured")
    assert render_command.main([*command, "--time-scale", "0.1", "--target", "latency=l:1", "--without", "node"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"nothing to do: {place.directory} is as it should be"
    assert render_command.main([*command, "--without", "nobody"]) == 2
    assert capsys.readouterr().err.startswith("netvane render: unknown job 'nobody'")
    place.config.write_text("notify: 3")
    assert render_command.main(command) == 2
    assert capsys.readouterr().err.startswith(f"netvane render: {place.config}:1: notify: expected a mapping")


def test_the_command_where_it_cannot_write(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.config.write_text("{}")
    place.directory.write_text("a file")
    assert render_command.main([str(place.directory), "--config.file", str(place.config)]) == 1
    assert capsys.readouterr().err == f"netvane render: {place.directory}/.rendered: Not a directory\n"


@pytest.mark.parametrize(
    "flags",
    [["--time-scale", "0"], ["--time-scale", "2"], ["--time-scale", "x"], ["--target", "x"], ["--target", "=:1"]],
)
def test_bad_flags(place: Place, flags: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        render_command.main([str(place.directory), *flags])
    assert caught.value.code == 2


def test_assets_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages/netvane"
    shutil.copytree(assets.path("prometheus"), package / "assets/prometheus")
    monkeypatch.setattr(assets, "_PACKAGE", package)
    assert assets.path("prometheus") == package / "assets/prometheus"
    with pytest.raises(FileNotFoundError, match="docs/runbooks is neither"):
        assets.path("docs/runbooks")


@given(st.integers(0, 10**12))
def test_durations_come_back(milliseconds: int) -> None:
    assert parse_prometheus_duration(prometheus_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h30m", 5400), ("1500ms", 1.5), ("400d", 34560000), ("0", 0), ("0s", 0), ("1w", 604800)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_prometheus_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "1.5h", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a Prometheus duration"):
        parse_prometheus_duration(text)
