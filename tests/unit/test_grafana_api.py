"""What tests/lab/test_grafana.py knows of Grafana, tried on answers and log lines as Grafana documents them."""

import json

import pytest

from tests.dashboards.expressions import Expression, dashboards
from tests.lab.grafana import complaints, frames_of, height_of, query_of
from tests.lab.netns import Response

PROMQL = Expression("netvane-home", "Loss", 'rate(x{site="$site"}[$__rate_interval])', "prometheus", False)
LOGQL = Expression("netvane-dns-log", "Names", '{site="$site"}', "loki", True)
FRAME = {"schema": {"refId": "A", "fields": [{"name": "Time"}]}, "data": {"values": [[1700000000000]]}}


def answer(status: int, **result: object) -> Response:
    return Response(status, {}, json.dumps({"results": {"A": {"status": status, **result}}}))


def test_queries() -> None:
    query = query_of(PROMQL, {"site": "lab"})
    assert query["expr"] == 'rate(x{site="lab"}[4m])'
    assert query["datasource"] == {"type": "prometheus", "uid": "netvane-prometheus"}
    assert (query["instant"], query["range"]) == (False, True)
    query = query_of(LOGQL, {"site": "lab"})
    assert query["datasource"] == {"type": "loki", "uid": "netvane-loki"}
    assert query["queryType"] == "instant"


def test_frames() -> None:
    assert frames_of(answer(200, frames=[FRAME]), "A") == [FRAME]
    assert frames_of(answer(200), "A") == []


@pytest.mark.parametrize(
    "bad", [answer(400, error="bad_data: parse error"), answer(200, error="bad_data: parse error")]
)
def test_a_query_that_fails_is_told_in_grafana_s_words(bad: Response) -> None:
    with pytest.raises(AssertionError, match="bad_data: parse error"):
        frames_of(bad, "A")


def test_complaints() -> None:
    good = [
        'grafana: logger=provisioning.datasources t=2026-11-21T10:00:00Z level=info msg="inserting datasource"',
        'grafana: logger=live t=2026-11-21T10:00:00Z level=warn msg="another matter"',
        "prometheus: level=warn provisioning",
    ]
    bad = [
        'grafana: logger=provisioning.plugins t=2026-11-21T10:00:00Z level=error msg="Failed to read" path=/x',
        'grafana: logger=provisioning.dashboard type=file name=netvane t=2026-11-21T10:00:00Z level=warn msg="twice"',
        'grafana: logger=settings t=2026-11-21T10:00:00Z level=warn msg="falling back"',
    ]
    assert complaints("\n".join([*good, *bad])) == bad


def test_a_window_is_as_high_as_its_dashboard() -> None:
    assert all(1000 < height_of(dashboard) < 16_000 for dashboard in dashboards())
