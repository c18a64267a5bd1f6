"""Grafana with the provisioning of this repository, where there is a Grafana: Debian, PyPI and npm have none."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from netvane.up.seeing import find_loki
from tests.dashboards.expressions import dashboards, expressions, panels
from tests.lab import browser
from tests.lab.grafana import FAULTY_PANELS, SOURCES, Grafana, complaints, height_of, query_of
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.prometheus import netvane_up
from tests.lab.wait import eventually

VALUES = {
    "site": "lab",
    "role": ".+",
    "target": ".+",
    "device": ".*",
    "id": ".*",
    "mac": ".*",
    "name": "",
    "rcode": ".*",
}

pytestmark = [
    pytest.mark.lab,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (shutil.which("grafana") or shutil.which("grafana-server")),
        reason="no `grafana` or `grafana-server` on PATH: provisioning, queries and pictures are not tried",
    ),
]


def test_it_takes_the_dashboards_without_a_warning_answers_every_query_and_shows_every_panel(
    request: pytest.FixtureRequest,
) -> None:
    settings = {"site": "lab", "latency": latency_settings(), "flows": {"interfaces": ["eth0"]}}
    with Home(gadgets=1) as home, netvane_up(home, settings) as (up, _):
        password = home.rack.directory / "data" / "grafana.password"
        eventually(lambda: password.exists() or not up.running, within=30, what="its password")
        assert up.running, up.output()
        asked = Grafana(home.mon, "http://127.0.0.1:3000", password.read_text().strip())
        uids = {dashboard["uid"] for dashboard in dashboards()}
        eventually(lambda: asked.dashboards() == uids or not up.running, within=180, what="the dashboards")
        assert up.running, up.output()
        assert_provisioned(asked)
        assert_answered(asked)
        assert_shown(asked, request.config.cache.mkdir("screenshots"))
        assert complaints(up.output()) == []


def assert_provisioned(asked: Grafana) -> None:
    sources = {source["uid"]: source for source in asked.get("/api/datasources")}
    assert set(sources) == set(SOURCES.values())
    assert all(source["readOnly"] for source in sources.values())
    for uid in (dashboard["uid"] for dashboard in dashboards()):
        meta = asked.get(f"/api/dashboards/uid/{uid}")["meta"]
        assert (meta["provisioned"], meta["folderTitle"]) == (True, "Netvane")


def assert_answered(asked: Grafana) -> None:
    """Loki's queries where there is a Loki: without one its data source is there, and nobody behind it."""
    there = {"prometheus"} | ({"loki"} if find_loki()[0] else set())
    for one in expressions():
        if one.datasource in there:
            asked.frames(query_of(one, VALUES))


def assert_shown(asked: Grafana, directory: Path) -> None:
    """Every panel's title is to be seen, and none of Prometheus's shows an error. The pictures stay in `directory`."""
    assert browser.missing() is None, browser.missing()
    found = browser.take(
        asked.namespace,
        directory,
        [page_of(asked, dashboard) for dashboard in dashboards()],
        headers={"Authorization": asked.headers["Authorization"]},
        faults=FAULTY_PANELS,
    )
    without_loki = {dashboard["uid"] for dashboard in dashboards() if find_loki()[0] or not reads_loki(dashboard)}
    assert {uid: page["missing"] for uid, page in found.items() if page["missing"]} == {}
    assert {uid: page["faults"] for uid, page in found.items() if uid in without_loki and page["faults"]} == {}


def page_of(asked: Grafana, dashboard: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": dashboard["uid"],
        "url": f"{asked.address}/d/{dashboard['uid']}?kiosk&from=now-5m&to=now",
        "height": height_of(dashboard),
        "texts": [panel["title"] for panel in panels(dashboard)],
    }


def reads_loki(dashboard: dict[str, Any]) -> bool:
    return any(panel.get("datasource", {}).get("type") == "loki" for panel in panels(dashboard))
