"""Devices: who is on the network, who was, who is new, and which addresses they had."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.table import Panel as Table

from grafana.build.frame import DEVICES, Row, any_device, dashboard, value_to_device
from grafana.build.panels import bars, column, log_panel, pie, stat_panel, table_panel, timeline, timeseries
from grafana.build.queries import Logql, Promql, named_device

PRESENCE = {"2": ("present", "green"), "1": ("quiet", "semi-dark-green"), "0": ("away", "dark-red")}
_INFO = 'netvane_device_info{site="$site", mac=~"$device"}'


def devices() -> Dashboard:
    return dashboard(
        DEVICES,
        "Devices",
        "All devices that were ever seen, and when they were there.",
        [_all(), _presence(), _new(), _addresses()],
        variables=[any_device()],
        loki=True,
    )


def _all() -> Row:
    def of_devices(metric: str) -> Promql:
        """The labels of every MAC with that figure of its device."""
        return Promql(f'{_INFO} * on (site, device) group_left () ({metric}{{site="$site"}})', instant=True, table=True)

    state = f'{_INFO} * on (site, device) group_left (state) (netvane_device_presence{{site="$site"}} == 1)'
    rows = table_panel(
        "All devices",
        "Each MAC address with its device, whether you trust and expect it, and when it was seen. A MAC address leads "
        "to the device. `netvane devices` changes names and trust.",
        Promql(state, instant=True, table=True),
        of_devices("1000 * netvane_device_first_seen_timestamp_seconds"),
        of_devices("1000 * netvane_device_last_seen_timestamp_seconds"),
        unit="none",
        hidden=("Value #A", "device"),
        height=14,
    )
    column(rows, "Value #B", displayName="first seen", unit="dateTimeAsIso")
    column(rows, "Value #C", displayName="last seen", unit="dateTimeFromNow")
    column(rows, "mac", links=[value_to_device()])
    return Row("Who there is", [_coloured(rows)])


def _coloured(rows: Table) -> Table:
    """Trust and presence in colours."""
    colours = {
        "trusted": {"true": "green", "false": "orange"},
        "state": {"present": "green", "quiet": "semi-dark-green", "away": "dark-red"},
    }
    for name, values in colours.items():
        options = {value: {"color": colour, "text": value} for value, colour in values.items()}
        column(
            rows,
            name,
            mappings=[{"type": "value", "options": options}],
            custom_cellOptions={"type": "color-text"},
        )
    return rows


def presence(selector: str) -> str:
    """PromQL: by device the number of its state, as in PRESENCE, of the devices that `selector` has."""
    states = " or ".join(
        f'netvane_device_presence{{{selector}, state="{state}"}} * {number}' for number, (state, _) in PRESENCE.items()
    )
    return f"sum by (device) ({states})"


def _presence() -> Row:
    chosen = presence('site="$site"') + f" and on (device) {_INFO}"
    return Row(
        "When they were there",
        [
            timeline(
                "Presence",
                "Present, quiet (it missed sweeps, within its usual silence) or away.",
                Promql(named_device(f"({chosen})"), "{{name}}"),
                values=PRESENCE,
                height=14,
            ),
            timeseries(
                "How many",
                "Devices by state, and those that are new or unknown.",
                Promql('site:netvane_devices:sum{site="$site"}', "{{group}}"),
                unit="none",
            ),
            timeseries(
                "Round-trip time of expected devices",
                "Of the last answered probe: a ping, or ARP in a sweep.",
                Promql(named_device('(netvane_device_rtt_seconds{site="$site"})'), "{{name}} {{probe}}"),
                unit="s",
            ),
        ],
    )


def _new() -> Row:
    announced = table_panel(
        "Announced within a week",
        "Devices that had never been seen before. Trust those that are yours: netvane devices trust MAC.",
        Promql(
            named_device('(1000 * netvane_device_announced_timestamp_seconds{site="$site"})'), instant=True, table=True
        ),
        unit="dateTimeFromNow",
        width=12,
    )
    column(announced, "device", links=[value_to_device()])
    column(announced, "Value", displayName="announced")
    return Row(
        "New and unknown",
        [
            announced,
            pie(
                "Makers",
                "Devices by who made their network adapter; randomised: a made-up address says nothing about it.",
                Promql('count by (vendor) (netvane_device_info{site="$site"})', "{{vendor}}", instant=True),
                unit="none",
            ),
            stat_panel(
                "First seen today",
                "Devices first seen within a day.",
                Promql(
                    'count(time() - netvane_device_first_seen_timestamp_seconds{site="$site"} < 86400) or vector(0)',
                    instant=True,
                ),
                unit="none",
            ),
        ],
    )


def _addresses() -> Row:
    return Row(
        "Addresses",
        [
            log_panel(
                "Address history",
                "Leases that came, changed and went.",
                Logql(
                    '{site="$site", event="lease"} | mac=~"$device" | json change, source, expires'
                    " | line_format `{{.mac}} {{.device_name}}: {{.address}} {{.change}} until {{.expires}}`"
                ),
                width=16,
            ),
            bars(
                "Addresses within a day",
                "How many addresses a device used within the last day; IPv6 devices change theirs often.",
                Promql(named_device('topk(10, netvane_device_addresses{site="$site"})'), "{{name}}", instant=True),
                unit="none",
                width=8,
                height=12,
            ),
            log_panel(
                "What changed",
                "New devices, changes of presence, names and trust.",
                Logql(
                    '{site="$site", event="device"} | mac=~"$device" | json change, previous, current, who="by"'
                    " | line_format `{{.mac}} {{.device_name}}: {{.change}} {{.previous}} -> {{.current}} ({{.who}})`"
                ),
            ),
        ],
    )
