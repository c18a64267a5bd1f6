"""All dashboards, and the files that they are written to."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.build.home import home


def dashboards() -> list[Dashboard]:
    return [home()]


def files() -> dict[str, str]:
    """File name -> JSON, for grafana/dashboards/."""
    encoder = JSONEncoder(indent=2, sort_keys=True)
    built = [board.build() for board in dashboards()]
    return {f"{(board.uid or '').removeprefix('netvane-')}.json": encoder.encode(board) + "\n" for board in built}
