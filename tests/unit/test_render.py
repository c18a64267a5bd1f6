"""`netvane render`: what it writes, checked by promtool and amtool themselves."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from netvane.common import assets
from netvane.common.config import ConfigError
from netvane.up import render_command
from netvane.up.promunits import parse_prometheus_duration
from netvane.up.render import RenderOptions
from tests.place import Place, tool


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


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
        "dhcp": ("1m", 10000),
        "flows": ("1m", 10000),
        "hosts": ("1m", 10000),
        "node": ("1m", 10000),
        "prometheus": ("1m", 10000),
        "alertmanager": ("1m", 10000),
    }
    targets = json.loads((place.directory / "targets/prometheus.json").read_text())
    assert targets == [{"targets": ["127.0.0.1:9999"], "labels": {"site": "cabin"}}]
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9093"]


def test_recording_rules_go_to_a_central_store(place: Place) -> None:
    place.render()
    assert "remote_write" not in place.yaml("prometheus.yml")
    password = place.secret("metrics.password", "store-secret")
    store = {"url": "https://metrics.example.org/api/v1/write", "ca_file": place.secret("ca.pem", "a certificate")}
    place.render({"up": {"remote_write": {**store, "tenant": "cabin", "username": "vane", "password_file": password}}})
    (written,) = place.yaml("prometheus.yml")["remote_write"]
    assert written["headers"] == {"X-Scope-OrgID": "cabin"}
    assert written["basic_auth"] == {"username": "vane", "password_file": password}
    assert written["tls_config"] == {"ca_file": store["ca_file"]}
    assert not [name for name, text in place.files().items() if "store-secret" in text]
    tool("promtool", "check", "config", str(place.directory / "prometheus.yml"))
    place.render({"up": {"remote_write": {"url": "http://127.0.0.1:8429/api/v1/write"}}})
    (written,) = place.yaml("prometheus.yml")["remote_write"]
    assert set(written) == {"name", "url", "write_relabel_configs"}
    keep, drop = written["write_relabel_configs"]
    assert re.fullmatch(keep["regex"], "role:netvane_probe_loss:ratio_rate5m")
    assert not re.fullmatch(keep["regex"], "netvane_device_info")
    assert (drop["action"], drop["regex"]) == ("drop", ".+")
    assert {"device", "mac"} <= set(drop["source_labels"])


def test_other_addresses_and_parts_that_do_not_run(place: Place) -> None:
    place.render()
    rendered = place.render(
        options=RenderOptions(
            targets={"latency": "latency:9741", "alertmanager": "alertmanager:9093"}, without=frozenset({"node"})
        )
    )
    assert rendered.removed == (place.directory / "targets/node.json",)
    config = place.yaml("prometheus.yml")
    assert [job["job_name"] for job in config["scrape_configs"]] == [
        "latency",
        "hosts",
        "dhcp",
        "flows",
        "prometheus",
        "alertmanager",
    ]
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["alertmanager:9093"]
    assert json.loads((place.directory / "targets/latency.json").read_text())[0]["targets"] == ["latency:9741"]
    with pytest.raises(ConfigError, match="unknown job 'nod'; expected one of latency, hosts, dhcp, flows, node, prom"):
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


def test_time_scale_shortens_how_long_alerts_wait_and_nothing_else(place: Place) -> None:
    place.render()
    plain = place.files()
    place.render(options=RenderOptions(time_scale=0.05))
    scaled = place.files()
    alerts = {name for name in plain if re.search(r"^ *(for|keep_firing_for): ", plain[name], flags=re.MULTILINE)}
    assert {name for name in plain if name.startswith("alerts/")} <= alerts
    assert {name for name in plain if plain[name] != scaled[name]} == alerts
    for name in alerts:
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


def test_where_there_is_grafana_alerts_lead_to_it(place: Place) -> None:
    place.render(options=RenderOptions(grafana="https://vane.example:3000/"))
    rule = place.yaml("alerts/network.yml")["groups"][0]["rules"][0]
    where = "https://vane.example:3000/d/netvane-internet?var-site={{ $labels.site }}&var-role=router"
    assert rule["annotations"]["dashboard_url"] == where
    rules = [rule for group in place.yaml("loki-rules/fake/dns.yml")["groups"] for rule in group["rules"]]
    assert all(rule["annotations"]["dashboard_url"].startswith("https://vane.example:3000/d/") for rule in rules)
    assert not [name for name, text in place.files().items() if "graph_url" in text]
    tool("promtool", "check", "config", str(place.directory / "prometheus.yml"))


def test_alerts_of_loki_lead_nowhere_without_grafana(place: Place) -> None:
    place.render()
    rules = [rule for group in place.yaml("loki-rules/fake/dns.yml")["groups"] for rule in group["rules"]]
    assert [set(rule["annotations"]) for rule in rules] == [{"summary", "description", "runbook_url"}]


def test_thresholds(place: Place) -> None:
    place.render({"alerts": {"disk_full_within": "12h", "disk_free_ratio": 0.25}})
    rules = place.yaml("rules/thresholds.yml")["groups"][0]["rules"]
    assert {rule["labels"]["name"]: rule["expr"] for rule in rules} == {
        "temperature_celsius": "vector(75)",
        "dhcp_pool_used_ratio": "vector(0.9)",
        "disk_free_ratio": "vector(0.25)",
        "disk_full_within_seconds": "vector(43200)",
        "events_unshipped_seconds": "vector(3600)",
        "backup_age_seconds": "vector(259200)",
    }


def test_the_command(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.config.write_text("{}")
    command = [str(place.directory), "--config.file", str(place.config)]
    assert render_command.main([*command, "--time-scale", "0.1", "--target", "latency=l:1", "--without", "node"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert f"written {place.directory}/prometheus.yml" in out
    assert out[-1].startswith("no receiver is configured")
    assert render_command.main([*command, "--time-scale", "0.1", "--target", "latency=l:1", "--without", "node"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"nothing to do: {place.directory} is as it should be"
    assert render_command.main([*command, "--grafana.url=https://vane.example"]) == 0
    capsys.readouterr()
    assert "dashboard_url: https://vane.example/d/" in place.files()["alerts/network.yml"]
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
    [
        ["--grafana.url", "vane:3000"],
        ["--time-scale", "0"],
        ["--time-scale", "2"],
        ["--time-scale", "x"],
        ["--target", "x"],
        ["--target", "=:1"],
    ],
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
