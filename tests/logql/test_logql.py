"""Every LogQL expression that Netvane ships, under Grafana's own grammar."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from netvane.common import assets
from netvane.common.config import ConfigError
from netvane.up import loki_files
from tests.logql import grammar
from tests.logql.expressions import documented, of_panels
from tests.place import Place

needs_grammar = pytest.mark.skipif(grammar.missing() is not None, reason=grammar.missing() or "")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def watching(place: Place) -> Callable[[str], dict[str, Any]]:
    """Settings with this text as the list of watched names."""
    return lambda text: {"alerts": {"watched_names_file": place.secret("watched", text)}}


def rules(place: Place) -> dict[str, dict[str, Any]]:
    groups = place.yaml("loki-rules/fake/dns.yml")["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def sources() -> list[dict[str, Any]]:
    files = assets.path("loki/rules").glob("*.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@needs_grammar
def test_the_grammar_tells_good_from_bad() -> None:
    good = ['{a="b"} | json', 'sum by (x) (count_over_time({a="b"} |= "y" [5m])) > 0']
    bad = ['{a="b"} |', "sum(", "up == 0 and on"]
    assert list(grammar.mistakes([*good, *bad])) == ['{a="b"} |⟨here⟩', "sum(⟨here⟩", "⟨here⟩up == 0 and on"]


@needs_grammar
def test_rules(place: Place, watching: Callable[[str], dict[str, Any]]) -> None:
    place.render(watching("ads.example\n*.tracker.example\n"))
    assert list(grammar.mistakes([rule["expr"] for rule in rules(place).values()])) == []


@needs_grammar
def test_docs() -> None:
    expressions = documented()
    assert len(expressions) >= 3
    assert list(grammar.mistakes(expressions)) == []


@needs_grammar
def test_panels() -> None:
    expressions = of_panels()
    assert expressions
    assert list(grammar.mistakes(expressions)) == []


def test_a_list_becomes_one_pattern(place: Place, watching: Callable[[str], dict[str, Any]]) -> None:
    place.render(watching("# by and by\nAds.Example.\n\n*.tracker.example # and all below\nads.example"))
    (quoted,) = re.findall(r'qname=~"(.*)"', rules(place)["DNSWatchedName"]["expr"])
    pattern = re.compile(quoted.replace(r"\\", "\\"))  # as LogQL reads its strings; it anchors them like fullmatch
    for name in ("ads.example", "x.ads.example", "tracker.example", "a.b.tracker.example"):
        assert pattern.fullmatch(name), name
    for name in ("badads.example", "adsxexample", "ads.example.org", "example", "tracker.example.net"):
        assert not pattern.fullmatch(name), name


@pytest.mark.parametrize("text", ["", "# nothing yet"])
def test_without_names_nobody_is_watched(place: Place, watching: Callable[[str], dict[str, Any]], text: str) -> None:
    place.render()
    assert set(rules(place)) == {"DNSNameErrors"}
    place.render(watching(text))
    assert set(rules(place)) == {"DNSNameErrors"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ok.example\nno such name", "watched:2: expected a DNS name such as tracker.example, got 'no such name'"),
        ('a".example', "watched:1: expected a DNS name such as tracker.example, got 'a\".example'"),
        ("https://x.example/", "watched:1: expected a DNS name"),
        (".".join(["a" * 60] * 5), "watched:1: expected a DNS name"),
        ("\n".join(f"n{number}.example" for number in range(1001)), "1001 names are more than the 1000"),
    ],
)
def test_mistakes_in_a_list(place: Place, watching: Callable[[str], dict[str, Any]], text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place.render(watching(text))
    assert told in str(caught.value)
    assert not place.directory.exists()


def test_a_list_that_is_not_there(place: Place) -> None:
    with pytest.raises(ConfigError, match=r"/nonexistent/list: cannot be read: No such file or directory"):
        place.render({"alerts": {"watched_names_file": "/nonexistent/list"}})
    with pytest.raises(ConfigError, match=r"alerts.watched_names_file: expected an absolute path, got 'list'"):
        place.render({"alerts": {"watched_names_file": "list"}})


def test_the_longest_list_is_an_expression_that_loki_takes(
    place: Place, watching: Callable[[str], dict[str, Any]]
) -> None:
    """Its parser takes 128 KiB. Names of ordinary length, as many as are allowed."""
    names = [f"tracker-{number}.advertising-network.example" for number in range(loki_files.MAX_WATCHED_NAMES)]
    place.render(watching("\n".join(names)))
    assert len(rules(place)["DNSWatchedName"]["expr"].encode()) < 128 * 1024


def test_loki_yml(place: Place) -> None:
    place.render({"storage": {"data_dir": "/srv/vane"}, "up": {"alertmanager_listen": ":19093"}})
    config = place.yaml("loki.yml")
    assert config["common"]["path_prefix"] == "/srv/vane/loki"
    assert config["ruler"]["alertmanager_url"] == "http://127.0.0.1:19093"
    assert config["ruler"]["storage"]["local"]["directory"] == str(place.directory / "loki-rules")
    assert "/var/lib" not in (place.directory / "loki.yml").read_text()


@pytest.mark.parametrize("rule", sources(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_a_reader_needs(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    assert rule["annotations"]["dashboard_url"].startswith("/d/netvane-")
