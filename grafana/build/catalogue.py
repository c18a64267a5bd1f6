"""All dashboards, and the files that they are written to."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.build.access_point import access_point
from grafana.build.device import device
from grafana.build.devices import devices
from grafana.build.dhcp import dhcp
from grafana.build.dns_log import dns_log
from grafana.build.home import home
from grafana.build.internet import internet
from grafana.build.itself import itself
from grafana.build.security import security


def dashboards() -> list[Dashboard]:
    return [home(), internet(), devices(), device(), access_point(), dhcp(), dns_log(), security(), itself()]


def files() -> dict[str, str]:
    """File name -> JSON, for grafana/dashboards/."""
    encoder = JSONEncoder(indent=2, sort_keys=True)
    built = [board.build() for board in dashboards()]
    return {f"{(board.uid or '').removeprefix('netvane-')}.json": encoder.encode(board) + "\n" for board in built}
