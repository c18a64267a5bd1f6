"""DHCP: who got which address, how many are left, and who gives them."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.build.frame import DHCP, Row, any_device, dashboard
from grafana.build.panels import column, gauge_panel, log_panel, stat_panel, table_panel, timeseries
from grafana.build.queries import Logql, Promql


def dhcp() -> Dashboard:
    return dashboard(
        DHCP,
        "DHCP",
        "Leases, pools, and the servers that give addresses.",
        [_leases(), _servers(), _history()],
        variables=[any_device()],
        loki=True,
    )


def _leases() -> Row:
    used = 'netvane_dhcp_pool_used_addresses{site="$site"} / (netvane_dhcp_pool_addresses{site="$site"} > 0)'
    return Row(
        "Leases and pools",
        [
            timeseries(
                "Leases",
                "Leases by the state that they are in; servers keep those that have ended for a while.",
                Promql('sum by (state) (netvane_dhcp_leases{site="$site"})', "{{state}}"),
                unit="none",
                width=10,
            ),
            gauge_panel(
                "Pool in use",
                "Which part of each pool has an active lease. When none is left, new devices get no connection.",
                Promql(used, "{{pool}}"),
                unit="percentunit",
                most=1,
                steps=[(0.75, "orange"), (0.9, "red")],
            ),
            timeseries(
                "Addresses of the pools",
                "How many there are, and how many of them are leased.",
                Promql('netvane_dhcp_pool_addresses{site="$site"}', "{{pool}}"),
                Promql('netvane_dhcp_pool_used_addresses{site="$site"}', "{{pool}} leased"),
                unit="none",
                width=8,
            ),
        ],
    )


def _servers() -> Row:
    servers = table_panel(
        "DHCP servers",
        "Who answered when Netvane asked who gives addresses. An unknown one raises RogueDHCPServer.",
        Promql('netvane_dhcp_server_known{site="$site"}', instant=True, table=True),
        Promql('1000 * netvane_dhcp_server_last_answer_timestamp_seconds{site="$site"}', instant=True, table=True),
        unit="none",
        width=12,
    )
    options = {"0": {"text": "unknown", "color": "red"}, "1": {"text": "known", "color": "green"}}
    column(
        servers,
        "Value #A",
        displayName="known",
        mappings=[{"type": "value", "options": options}],
        custom_cellOptions={"type": "color-text"},
    )
    column(servers, "Value #B", displayName="last answer", unit="dateTimeFromNow")
    return Row(
        "Servers",
        [
            servers,
            stat_panel(
                "Devices ever",
                "Devices that ever held a lease.",
                Promql('netvane_dhcp_devices_seen{site="$site"}', instant=True),
                unit="none",
            ),
            stat_panel(
                "Without a lease",
                "Addresses in use that nobody leased; only counted with `dhcp.dhcp_only`.",
                Promql('count(netvane_dhcp_address_without_lease{site="$site"}) or vector(0)', instant=True),
                unit="none",
                steps=[(1, "orange")],
            ),
            stat_panel(
                "Lease files",
                "Lease files that cannot be read.",
                Promql('count(netvane_dhcp_lease_file_readable{site="$site"} == 0) or vector(0)', instant=True),
                unit="none",
                steps=[(1, "red")],
            ),
        ],
    )


def _history() -> Row:
    return Row(
        "History",
        [
            timeseries(
                "Leases given",
                "Lease events in each moment: new, renewed, released, expired.",
                Logql(
                    'sum by (change) (count_over_time({site="$site", event="lease"} | mac=~"$device"'
                    " | json change [$__interval]))",
                    "{{change}}",
                ),
                unit="none",
            ),
            timeseries(
                "Damaged records",
                "Records of lease files that make no sense, each once for as long as it is there. None is believed.",
                Promql(
                    'sum by (file) (increase(netvane_dhcp_parse_errors_total{site="$site"}[$__rate_interval]))',
                    "{{file}}",
                ),
                unit="none",
            ),
            log_panel(
                "Leases",
                "Who got which address, and until when.",
                Logql(
                    '{site="$site", event="lease"} | mac=~"$device" | json change, source, expires, host_name'
                    " | line_format `{{.mac}} {{or .device_name .host_name}}: {{.address}} {{.change}}"
                    " until {{.expires}} ({{.source}})`"
                ),
            ),
        ],
    )
