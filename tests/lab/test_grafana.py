"""Grafana with the provisioning of this repository, where there is a Grafana: Debian, PyPI and npm have none."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards.expressions import dashboards, expressions, interpolated
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.netns import Response
from tests.lab.prometheus import netvane_up
from tests.lab.wait import eventually

GRAFANA = "http://127.0.0.1:3000"
VALUES = {"site": "lab", "role": ".+", "target": ".+", "device": ".*", "id": ".*", "mac": ".*"}

pytestmark = [
    pytest.mark.lab,
    pytest.mark.long,
    pytest.mark.skipif(
        not (shutil.which("grafana") or shutil.which("grafana-server")),
        reason="no `grafana` or `grafana-server` on PATH: provisioning and queries by way of Grafana are not tried",
    ),
]


def ask(home: Home, password: Path, path: str, body: dict[str, Any] | None = None) -> Response:
    """As the administrator."""
    login = base64.b64encode(f"admin:{password.read_text().strip()}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()
    return home.mon.http(
        GRAFANA + path, method="GET" if body is None else "POST", body=sent, headers=headers, timeout=30
    )


def test_it_takes_the_dashboards_without_a_warning_and_every_query_is_answered() -> None:
    settings = {"site": "lab", "latency": latency_settings()}
    with Home(gadgets=1) as home, netvane_up(home, settings) as (up, _):
        password = home.rack.directory / "data" / "grafana.password"

        def found() -> set[str]:
            assert up.running, up.output()
            try:
                return {hit["uid"] for hit in json.loads(ask(home, password, "/api/search?tag=netvane").text)}
            except OSError:
                return set()

        uids = {dashboard["uid"] for dashboard in dashboards()}
        eventually(lambda: found() == uids, within=120, what="the dashboards")
        for one in expressions():
            if one.datasource == "prometheus":
                query = {
                    "refId": "A",
                    "datasource": {"uid": "netvane-prometheus"},
                    "expr": interpolated(one.expr, VALUES),
                    "instant": one.instant,
                    "range": not one.instant,
                    "intervalMs": 15_000,
                    "maxDataPoints": 500,
                }
                answer = ask(home, password, "/api/ds/query", {"from": "now-5m", "to": "now", "queries": [query]})
                assert answer.status == 200, (one.dashboard, one.panel, answer.text)
        complaints = [
            line for line in up.output().splitlines() if "logger=provisioning" in line and "=info" not in line
        ]
        assert complaints == []
