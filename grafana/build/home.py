"""Home: everything at a glance. It reads what prometheus/rules/home.yml records, so that months are drawn quickly."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimeline

from grafana.build.frame import HOME, Row, dashboard, to_device
from grafana.build.panels import bars, column, mapping, stat_panel, table_panel, timeline, timeseries
from grafana.build.queries import Promql, named
from grafana.build.verdicts import WORST


def home() -> Dashboard:
    return dashboard(
        HOME,
        "Home",
        "Whether the Internet works and whose fault it is if not, who is at home, and what is going on.",
        [_now(), _verdicts(), _line(), _devices_and_traffic()],
    )


def _now() -> Row:
    verdict = stat_panel(
        "Now",
        "What is true now: the nearest broken segment, or ok. The worst of the last minute.",
        Promql('site:netvane_verdict:worst1m{site="$site"}'),
        unit="none",
        steps=[(1, "yellow"), (3, "red")],
    )
    verdict.mappings([mapping(WORST)])
    return Row(
        "Now",
        [
            verdict,
            stat_panel(
                "Outages",
                "How many outages began in the chosen time.",
                Promql(
                    'changes(site:netvane_outage_last_start_timestamp_seconds:max{site="$site"}[$__range])',
                    instant=True,
                ),
                unit="none",
                steps=[(1, "orange")],
            ),
            stat_panel(
                "Without outage",
                "Which part of the chosen time was without an outage, as far as it was measured.",
                Promql('1 - avg_over_time(site:netvane_outage_active:max1m{site="$site"}[$__range])', instant=True),
                unit="percentunit",
            ).decimals(3),
            stat_panel(
                "Devices at home",
                "Devices that are present. A sleeping phone counts as quiet, not as present.",
                Promql('site:netvane_devices:sum{site="$site", group="present"}'),
                unit="none",
            ),
            stat_panel(
                "New devices",
                "Devices announced as new within a day.",
                Promql('site:netvane_devices:sum{site="$site", group="new"}'),
                unit="none",
                steps=[(1, "orange")],
            ),
            stat_panel(
                "Missing devices",
                "Devices that you expect and that are away.",
                Promql('site:netvane_devices:expected_away{site="$site"}'),
                unit="none",
                steps=[(1, "red")],
            ),
        ],
    )


def _verdicts() -> Row:
    return Row("Verdict", [_worst("24h"), _worst("7d"), _worst("250h")])


def _worst(period: str) -> StateTimeline:
    band = timeline(
        f"Verdict of the last {period}",
        "The worst verdict of each moment: the nearest broken segment. Gaps: not measured, or too little evidence.",
        Promql('max_over_time(site:netvane_verdict:worst1m{site="$site"}[$__interval])', "verdict", step="2m"),
        values=WORST,
    )
    return band.time_from(period)


def _line() -> Row:
    return Row(
        "Line",
        [
            timeseries(
                "Loss by segment",
                "Share of lost pings (router, the provider's first hops, anchors in the Internet) and of questions to "
                "resolvers, over five minutes. Targets that have never answered do not count.",
                Promql(
                    'max_over_time(segment:netvane_probe_loss:ratio_rate5m{site="$site"}[$__interval])',
                    "{{role}} {{family}}",
                    step="2m",
                ),
                unit="percentunit",
            ),
            timeseries(
                "Latency by segment",
                "Median and 95th percentile of round-trip times over five minutes.",
                Promql('segment:netvane_probe_rtt_seconds:p50_rate5m{site="$site"}', "{{role}} {{family}} median"),
                Promql(
                    'max_over_time(segment:netvane_probe_rtt_seconds:p95_rate5m{site="$site"}[$__interval])',
                    "{{role}} {{family}} 95 %",
                    step="2m",
                ),
                unit="s",
            ),
        ],
    )


def _devices_and_traffic() -> Row:
    alerts = table_panel(
        "Alerts",
        "Alerts that fire now, and how serious they are. Messages go where `notify` in netvane.yml says.",
        Promql('ALERTS{site="$site", alertstate="firing", severity!="none"}', instant=True, table=True),
        unit="none",
        hidden=("alertstate", "Value", "began", "ended"),
        width=8,
    )
    talkers = bars(
        "Most traffic now",
        "The five devices that exchange most with the Internet, over five minutes. A bar leads to the device.",
        Promql(
            named('topk(5, sum by (mac) (mac:netvane_flows_device_bytes:rate5m{site="$site"}))'),
            "{{name}}",
            instant=True,
        ),
        unit="Bps",
        width=8,
    )
    return Row(
        "Devices, traffic, alerts",
        [
            timeseries(
                "Traffic with the Internet",
                "Bytes a second of all devices, as the flows exporter sees them: up is what devices sent.",
                Promql('site:netvane_flows_device_bytes:rate5m{site="$site", scope="wan", direction="rx"}', "down"),
                Promql('site:netvane_flows_device_bytes:rate5m{site="$site", scope="wan", direction="tx"}', "up"),
                unit="Bps",
                width=8,
            ),
            talkers.data_links([to_device("__field.labels.mac")]),
            column(alerts, "severity", custom_cellOptions={"type": "color-text"}),
            timeseries(
                "Devices",
                "How many devices are present, quiet (within their usual silence), away, new and unknown.",
                Promql('site:netvane_devices:sum{site="$site"}', "{{group}}"),
                unit="none",
                width=24,
            ),
        ],
    )
