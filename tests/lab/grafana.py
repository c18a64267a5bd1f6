"""Grafana's HTTP API as it is in 9.4 to 13, and what its log complains about.

Sources: Grafana's documentation, "HTTP API" (folder and dashboard search, dashboard, data source, query a data source)
and its pkg/api/ds_query.go: a query that fails makes the whole answer another than 200.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.dashboards.expressions import Expression, interpolated
from tests.lab.netns import Namespace, Response

SOURCES = {kind: f"netvane-{kind}" for kind in ("prometheus", "alertmanager", "loki")}
MAX_DATA_POINTS = 500
# Panels that show an error, from 9.4 to 13 (grafana-e2e-selectors).
FAULTY_PANELS = ", ".join(
    f'[{attribute}="{text}"]'
    for attribute, text in (
        ("data-testid", "data-testid Panel status error"),
        ("aria-label", "Panel status error"),
        ("aria-label", "Panel header error"),
    )
)
# A row of the grid is 30 pixels high and 8 from the next one. Only panels within the window are drawn.
PIXELS_A_ROW = 38

_COMPLAINT = re.compile(r"\blogger=(provisioning|settings|dashboard|plugin)[\w.-]* .*\blevel=(warn|error|crit)")


@dataclass(frozen=True)
class Grafana:
    """The server at `address` (http://…) in `namespace`, asked as its administrator."""

    namespace: Namespace
    address: str
    password: str

    @property
    def headers(self) -> dict[str, str]:
        login = base64.b64encode(f"admin:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {login}", "Content-Type": "application/json"}

    def get(self, path: str) -> Any:
        """The answer, which must be a good one."""
        answer = self._ask(path)
        assert answer.status == 200, (path, answer.status, answer.text)
        return json.loads(answer.text)

    def dashboards(self) -> set[str]:
        """The uids of those with the tag; none while nobody answers, or not yet well."""
        try:
            answer = self._ask("/api/search?type=dash-db&tag=netvane")
        except OSError:
            return set()
        return {hit["uid"] for hit in json.loads(answer.text)} if answer.status == 200 else set()

    def frames(self, query: Mapping[str, Any]) -> list[Any]:
        """The data frames of one query over the last five minutes."""
        body = {"from": "now-5m", "to": "now", "queries": [query]}
        return frames_of(self._ask("/api/ds/query", json.dumps(body).encode()), str(query["refId"]))

    def _ask(self, path: str, body: bytes | None = None) -> Response:
        method = "GET" if body is None else "POST"
        return self.namespace.http(self.address + path, method=method, body=body, headers=self.headers, timeout=30)


def query_of(one: Expression, values: Mapping[str, str]) -> dict[str, Any]:
    """`one` as a panel sends it, with `values` for its variables."""
    expr = interpolated(one.expr, values)
    kind = (
        {"instant": one.instant, "range": not one.instant}
        if one.datasource == "prometheus"
        else {"queryType": "instant" if one.instant else "range"}
    )
    return {
        "refId": "A",
        "datasource": {"type": one.datasource, "uid": SOURCES[one.datasource]},
        "expr": expr,
        **kind,
        "intervalMs": 15_000,
        "maxDataPoints": MAX_DATA_POINTS,
    }


def frames_of(answer: Response, ref_id: str) -> list[Any]:
    """AssertionError with Grafana's words where the query failed."""
    assert answer.status == 200, answer.text
    result = json.loads(answer.text)["results"][ref_id]
    assert "error" not in result, result["error"]
    return list(result.get("frames", []))


def complaints(log: str) -> list[str]:
    """Warnings and errors about what it was provisioned and configured with; logfmt, as it writes to no terminal."""
    return [line for line in log.splitlines() if _COMPLAINT.search(line)]


def height_of(dashboard: Mapping[str, Any]) -> int:
    """Pixels that a window needs to show all of it."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    return int(rows * PIXELS_A_ROW + 300)
