"""The rules and alerts, as rendered, under `promtool test rules`; and that no alert goes without its tests and runbook.

Each tests/rules/*.yml is run in a rendered directory, so that its `rule_files` are what Prometheus really loads:
annotations completed, thresholds beside them.
"""

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from netvane.common import assets
from netvane.common.settings import load
from netvane.up.prometheus_files import thresholds
from netvane.up.render import RenderOptions, render
from netvane.up.settings import Alerts

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.yml"))
SOURCES = sorted(assets.path("prometheus").glob("*/*.yml"))
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]


@cache
def rules() -> tuple[dict[str, Any], ...]:
    groups = [group for source in SOURCES for group in yaml.safe_load(source.read_text())["groups"]]
    return tuple(rule for group in groups for rule in group["rules"])


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def alert_names() -> list[str]:
    return sorted({rule["alert"] for rule in alerts()})


def names_of_loki() -> list[str]:
    """Alerts that Loki evaluates; tests/logql has their tests."""
    files = assets.path("loki/rules").glob("*.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule["alert"] for group in groups for rule in group["rules"]]


@cache
def expectations() -> dict[str, list[list[dict[str, Any]]]]:
    """Alert -> what each of its cases expects: a list of alerts, empty where it must not fire."""
    found: dict[str, list[list[dict[str, Any]]]] = {}
    for case in CASES:
        for test in yaml.safe_load(case.read_text())["tests"]:
            for expected in test.get("alert_rule_test", []):
                found.setdefault(expected["alertname"], []).append(expected.get("exp_alerts", []))
    return found


def rendered_in(directory: Path, options: RenderOptions) -> Path:
    config = directory / "netvane.yml"
    config.write_text(json.dumps({"alerts": {"runbooks_url": "https://runbooks.example"}}))
    render(load(config), directory, options)
    return directory


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    return rendered_in(tmp_path, RenderOptions())


def promtool(*arguments: str, directory: Path) -> None:
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=directory,
        env={**os.environ, "TZ": "UTC"},  # messages have the times of where Prometheus runs
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_promtool(case: Path, rendered: Path) -> None:
    shutil.copy(case, rendered)
    promtool("test", "rules", case.name, directory=rendered)


def test_where_there_is_grafana_alerts_lead_to_its_dashboards(tmp_path: Path) -> None:
    text = (HERE / "ExpectedDeviceMissing.yml").read_text()
    ((graph, device),) = {
        (alert["exp_annotations"]["dashboard_url"], alert["exp_labels"]["device"])
        for case in expectations()["ExpectedDeviceMissing"]
        for alert in case
    }
    where = f"https://vane.example/d/netvane-device?var-site=home&var-device={device}"
    rendered_in(tmp_path, RenderOptions(grafana="https://vane.example"))
    (tmp_path / "case.yml").write_text(text.replace(graph, where))
    promtool("test", "rules", "case.yml", directory=tmp_path)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_the_link_to_a_dashboard_is_made_of_labels_that_the_alert_has(rule: dict[str, Any]) -> None:
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["dashboard_url"]))
    fired = [
        alert["exp_labels"]
        for case in expectations()[rule["alert"]]
        for alert in case
        if alert["exp_annotations"]["dashboard_url"].endswith(rule["annotations"]["graph_url"])
    ]
    assert fired
    assert all(used <= labels.keys() for labels in fired)


@pytest.mark.parametrize("name", alert_names())
def test_every_alert_is_seen_to_fire(name: str) -> None:
    assert any(expectations().get(name, []))


# The Watchdog's point is that it always fires: its case holds it to that.
@pytest.mark.parametrize("name", [name for name in alert_names() if name != "Watchdog"])
def test_every_alert_is_seen_not_to_fire(name: str) -> None:
    assert [] in expectations().get(name, [])


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_rule_of_an_alert_is_seen_to_fire(rule: dict[str, Any]) -> None:
    """An alert may have several rules, which its labels tell apart; of a label from a template only the name counts."""
    fired = [alert["exp_labels"] for case in expectations()[rule["alert"]] for alert in case]
    fixed = {name: text for name, text in rule["labels"].items() if "{{" not in text}
    assert any(fixed.items() <= labels.items() and rule["labels"].keys() <= labels.keys() for labels in fired)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_a_reader_needs(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "warning", "none"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url", "graph_url"}
    assert all(text == text.strip() and text for text in rule["annotations"].values())
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    assert rule["annotations"]["dashboard_url"].startswith("/d/netvane-")
    assert rule["annotations"]["graph_url"].startswith("/")


@pytest.mark.parametrize("name", [*alert_names(), *names_of_loki()])
def test_every_alert_has_a_runbook(name: str) -> None:
    text = (assets.path("docs/runbooks") / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    sections = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    assert sections[1::2] == HEADINGS
    assert all(body.strip() for body in sections[2::2])


def test_queries_in_runbooks_are_promql(tmp_path: Path) -> None:
    texts = [path.read_text() for path in assets.path("docs/runbooks").glob("*.md")]
    queries = [query for text in texts for query in re.findall(r"promtool query instant \S+ '(.+)'", text)]
    assert len(queries) == sum(text.count("promtool query") for text in texts)
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "runbooks", "rules": rules}]}))
    promtool("check", "rules", "queries.yml", directory=tmp_path)


def test_every_runbook_has_an_alert() -> None:
    assert sorted(path.stem for path in assets.path("docs/runbooks").glob("*.md")) == sorted(
        [*alert_names(), *names_of_loki()]
    )


def test_every_threshold_in_a_rule_is_rendered_and_every_rendered_one_used() -> None:
    used = {name for rule in rules() for name in re.findall(r'netvane_threshold\{name="(\w+)"\}', rule["expr"])}
    assert used == set(thresholds(Alerts()))


def test_recording_rules_are_named_level_metric_operations() -> None:
    for rule in rules():
        assert re.fullmatch(r"[a-z_]+:netvane_[a-z_]+:[a-z0-9_]+", rule.get("record", "x:netvane_x:x"))


def test_a_threshold_of_the_owner_is_obeyed(tmp_path: Path) -> None:
    """The case of an owner who wants to hear of 60 °C: it fires where the default's case does not."""
    config = tmp_path / "netvane.yml"
    config.write_text(json.dumps({"alerts": {"temperature_celsius": 60}}))
    render(load(config), tmp_path)
    series = 'node_thermal_zone_temp{site="home", instance="pi", zone="0"}'
    case = {
        "rule_files": ["alerts/machine.yml", "rules/thresholds.yml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": series, "values": "60.5x60"}],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "20m",
                        "exp_samples": [{"labels": '{alertname="HighTemperature"}', "value": 1}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "case.yml").write_text(json.dumps(case))
    promtool("test", "rules", "case.yml", directory=tmp_path)
