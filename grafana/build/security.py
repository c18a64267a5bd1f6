"""Security: what is unusual, who does it, and where in the world it goes."""

from grafana_foundation_sdk.builders import common, geomap
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.common import FrameGeometrySourceMode

from grafana.build.frame import SECURITY, Row, any_device, dashboard, value_to_device
from grafana.build.panels import bars, column, log_panel, one_table, panel, stat_panel, table_panel, timeseries
from grafana.build.queries import Logql, Promql, named

_FLOODS = "syn_flood|icmp_flood|packet_surge"
_SCANS = "port_scan|host_scan"
_STRANGE_ADDRESSES = "off_network_address|unleased_address"
_DNS = "dns_bypass|dns_tunnel"
_NEW = "new_destination|new_country|new_port|lan_contact"

_EVENTS = '{site="$site", event="anomaly"} | mac=~"$device" | json anomaly, detail'
_LINE = "line_format `{{or .device_name .mac}}: {{.detail}}`"


def security() -> Dashboard:
    return dashboard(
        SECURITY,
        "Security",
        "Floods, scans, strange addresses, DHCP and DNS that go another way, and destinations that are new.",
        [_now(), _findings(), _identities(), _world()],
        variables=[any_device()],
        loki=True,
        since="now-7d",
    )


def _now() -> Row:
    def culprits(kinds: str) -> Promql:
        # Not the counter of findings, which does not say whose they are.
        going = f'netvane_flows_anomalies_going{{site="$site", mac=~"$device", anomaly=~"{kinds}"}}'
        found = f"count(max by (mac) (max_over_time({going}[$__range])) > 0)"
        return Promql(f"{found} or vector(0)", instant=True)

    return Row(
        "Devices with findings in the chosen time",
        [
            stat_panel(
                "Floods",
                "SYN and ICMP floods, and far more packets of a class than usual.",
                culprits(_FLOODS),
                unit="none",
                steps=[(1, "red")],
            ),
            stat_panel(
                "Scans", "Ports or hosts tried one after the other.", culprits(_SCANS), unit="none", steps=[(1, "red")]
            ),
            stat_panel(
                "Strange addresses",
                "Source addresses that are not of this network, or that nobody leased.",
                culprits(_STRANGE_ADDRESSES),
                unit="none",
                steps=[(1, "orange")],
            ),
            stat_panel(
                "Rogue DHCP servers",
                "Unknown servers that offer addresses now.",
                Promql('count(netvane_dhcp_server_known{site="$site"} == 0) or vector(0)', instant=True),
                unit="none",
                steps=[(1, "red")],
            ),
            stat_panel(
                "DNS bypass",
                "Devices that ask another resolver than the network's own, and DNS tunnels.",
                culprits(_DNS),
                unit="none",
                steps=[(1, "orange")],
            ),
            stat_panel(
                "New destinations",
                "Gadgets that talk to whom they never talked to.",
                culprits(_NEW),
                unit="none",
                steps=[(1, "orange")],
            ),
        ],
    )


def _findings() -> Row:
    going = table_panel(
        "Going on now",
        "Findings that are not over yet, by device. A MAC address leads to the device.",
        Promql(
            named('(max by (mac, anomaly) (netvane_flows_anomalies_going{site="$site", mac=~"$device"} > 0))'),
            instant=True,
            table=True,
        ),
        unit="none",
        hidden=("Value",),
        width=8,
    )
    column(going, "mac", links=[value_to_device()])
    return Row(
        "Findings",
        [
            timeseries(
                "Findings that go on",
                "How many devices have a finding of each kind; each is also an event with its evidence (below).",
                Promql('sum by (anomaly) (netvane_flows_anomalies_going{site="$site", mac=~"$device"})', "{{anomaly}}"),
                unit="none",
                width=16,
            ),
            going,
            log_panel(
                "All findings",
                "Each once, when it begins. A line opens to the figures it rests on and the file with the packets.",
                Logql(f"{_EVENTS} | line_format `{{{{.anomaly}}}} {{{{or .device_name .mac}}}}: {{{{.detail}}}}`"),
            ),
            log_panel(
                "New destinations",
                "Far sides, countries and ports that a device never used before.",
                Logql(f'{_EVENTS} | anomaly=~"{_NEW}" | {_LINE}'),
                width=12,
                height=10,
            ),
            log_panel(
                "Another way for DNS",
                "DNS to a far server that is not the network's own, and data hidden in names.",
                Logql(f'{_EVENTS} | anomaly=~"{_DNS}" | {_LINE}'),
                width=12,
                height=10,
            ),
        ],
    )


def _identities() -> Row:
    return Row(
        "Identities and addresses",
        [
            table_panel(
                "Claims of another's identity",
                "Two devices with one address, another one in the router's place, a name that is somebody else's. "
                "`peer` is whose place it takes.",
                Promql('netvane_anomaly_active{site="$site"} == 1', instant=True, table=True),
                unit="none",
                hidden=("Value",),
                width=12,
            ),
            table_panel(
                "Addresses without a lease",
                "Addresses in use that nobody leased, or that somebody else has; only with `dhcp.dhcp_only`.",
                Promql('netvane_dhcp_address_without_lease{site="$site"}', instant=True, table=True),
                unit="none",
                hidden=("Value",),
                width=12,
            ),
        ],
    )


def _world() -> Row:
    place = common.FrameGeometrySource().mode(FrameGeometrySourceMode.LOOKUP).lookup("peer_country")
    circles = common.MapLayerOptions().type("markers").name("Flows").location(place)
    circles.config({"style": {"size": {"field": "Value", "min": 4, "max": 24}, "opacity": 0.6}, "showLegend": False})
    counted = (
        'sum by (peer_country) (count_over_time({site="$site", event="flow"} | mac=~"$device"'
        ' | json peer_country | peer_country!="" [$__range]))'
    )
    world = panel(
        geomap.Panel(),
        "Countries",
        "Where the far sides' addresses are registered, by number of flows.",
        Logql(counted, instant=True),
        unit="none",
        width=16,
        height=14,
    )
    # Countries as Grafana itself brings them: a map of the world would be fetched from the Internet, tile by tile.
    world.basemap(common.MapLayerOptions().type("geojson").name("Countries")).layers([circles])
    one_table(world)
    return Row(
        "The world",
        [
            world,
            bars(
                "Flows by country",
                "How many conversations with addresses of each country.",
                Logql(counted, "{{peer_country}}", instant=True),
                unit="none",
                width=8,
                height=14,
            ),
        ],
    )
