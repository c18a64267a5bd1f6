"""Every expression of every dashboard, as written in grafana/dashboards/, and as Grafana would send it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

DASHBOARDS = Path(__file__).parents[2] / "grafana" / "dashboards"

# What Grafana puts in place of its own variables for a range of an hour.
RANGE_VARIABLES = {"__rate_interval": "4m", "__interval": "2m", "__range": "1h"}


class Expression(NamedTuple):
    dashboard: str  # uid
    panel: str  # title
    expr: str  # with Grafana's variables in it
    datasource: str  # `prometheus` or `loki`
    instant: bool


def dashboards() -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(DASHBOARDS.glob("*.json"))]


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that show something: no rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[Expression]:
    """Of all panels."""
    for dashboard in dashboards():
        for panel in panels(dashboard):
            for target in panel.get("targets", ()):
                instant = target.get("instant") is True or target.get("queryType") == "instant"
                kind = target["datasource"]["type"]
                yield Expression(dashboard["uid"], panel["title"], target["expr"], kind, instant)


def interpolated(expr: str, values: Mapping[str, str]) -> str:
    """`expr` with `values` and Grafana's own variables put in. Raises KeyError for a variable with no value."""
    known = {**RANGE_VARIABLES, **values}
    return re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|([a-z_]\w*))", lambda match: known[match[1] or match[2]], expr)
