"""Device: all about one of them. Any of its MAC addresses leads here."""

from grafana_foundation_sdk.builders import bargauge, heatmap
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

from grafana.build.devices import PRESENCE, presence
from grafana.build.frame import DEVICE, Row, dashboard, one_device, query_variable
from grafana.build.panels import bars, log_panel, panel, pie, stat_panel, table_panel, timeline, timeseries
from grafana.build.queries import Logql, Promql

_FLOWS = '{site="$site", event="flow"} | mac=~"$mac" | json tx_bytes, rx_bytes, peer_country'
_CLASSES = (
    'sum by (class) (rate(netvane_flows_device_class_packets_total{site="$site", mac=~"$mac"}[$__rate_interval]))'
)
_OF_IT = '_total{site="$site", device="$id", probe="icmp"}[$__rate_interval]'
_LOST = f"1 - rate(netvane_device_probes_answered{_OF_IT}) / rate(netvane_device_probes_sent{_OF_IT})"


def device() -> Dashboard:
    chosen = 'netvane_device_info{site="$site", mac="$device"}'
    identity = query_variable("id", "Permanent id", f"label_values({chosen}, device)", hidden=True)
    of_id = 'label_values(netvane_device_info{site="$site", device="$id"}, mac)'
    return dashboard(
        DEVICE,
        "Device",
        "One device: what it is, when it was there, what it sends and to whom.",
        [_what(), _traffic(), _destinations(), _events()],
        variables=[one_device(), identity, query_variable("mac", "MAC addresses", of_id, several=True, hidden=True)],
        loki=True,
    )


def _what() -> Row:
    return Row(
        "What it is",
        [
            table_panel(
                "Known of it",
                "Its MAC addresses, name, maker and kind (a guess), and whether you trust and expect it.",
                Promql('netvane_device_info{site="$site", device="$id"}', instant=True, table=True),
                unit="none",
                hidden=("Value",),
                width=16,
                height=4,
            ),
            stat_panel(
                "Last seen",
                "When it was last seen.",
                Promql('1000 * netvane_device_last_seen_timestamp_seconds{site="$site", device="$id"}', instant=True),
                unit="dateTimeFromNow",
            ),
            stat_panel(
                "First seen",
                "When it was first seen.",
                Promql('1000 * netvane_device_first_seen_timestamp_seconds{site="$site", device="$id"}', instant=True),
                unit="dateTimeAsIso",
            ),
            timeline(
                "Presence",
                "Present, quiet (it missed sweeps, within its usual silence) or away.",
                Promql(presence('site="$site", device="$id"'), "presence"),
                values=PRESENCE,
            ),
        ],
    )


def _traffic() -> Row:
    traffic = 'netvane_flows_device_bytes_total{site="$site", mac=~"$mac"}[$__rate_interval]'
    up_and_down = Promql(f"sum by (direction, scope) (rate({traffic}))", "{{direction}} {{scope}}")
    activity = panel(
        heatmap.Panel(),
        "Activity map",
        "When it sent and received how many packets a second of each class.",
        Promql(_CLASSES, "{{class}}"),
        unit="none",
        width=24,
    )
    activity.calculate(calculate=False).cell_values(heatmap.CellValues().unit("pps"))
    activity.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64).exponent(0.4))
    return Row(
        "Traffic",
        [
            timeseries("Up and down", "Bytes a second; tx is what it sent.", up_and_down, unit="Bps"),
            timeseries(
                "Up and down, logarithmic",
                "The same on a logarithmic axis, where a heartbeat shows beside a film.",
                up_and_down,
                unit="Bps",
                log=True,
            ),
            timeseries(
                "Packet classes",
                "Packets a second by class; classes overlap: a DNS query counts in udp and dns.",
                Promql(_CLASSES, "{{class}}"),
                unit="pps",
            ),
            timeseries(
                "Round-trip time",
                "Of the last answered probe: a ping, or ARP in a sweep. Only of devices that you expect.",
                Promql('netvane_device_rtt_seconds{site="$site", device="$id"}', "{{probe}}"),
                unit="s",
                width=6,
            ),
            timeseries(
                "Lost pings",
                "Share of pings that it did not answer; sleeping devices answer none. Only of devices that you expect.",
                Promql(_LOST, "lost"),
                unit="percentunit",
                width=6,
            ),
            activity,
        ],
    )


def _destinations() -> Row:
    def most(title: str, description: str, counted: str) -> bargauge.Panel:
        far_side = "label_format peer=`{{or .peer_name .peer_address}}`"
        sums = f"sum by (peer) (sum_over_time({_FLOWS} | {far_side} | unwrap {counted} [$__range]))"
        query = Logql(f"topk(15, {sums})", "{{peer}}", instant=True)
        return bars(title, description, query, unit="bytes", width=8, height=10)

    return Row(
        "Destinations",
        [
            most(
                "Most data to and from",
                "The far sides with which it exchanged most in the chosen time: bytes it received.",
                "rx_bytes",
            ),
            most("Most data sent to", "The far sides to which it sent most in the chosen time.", "tx_bytes"),
            pie(
                "Countries",
                "Where the addresses of its far sides are registered, by number of flows.",
                Logql(
                    f'sum by (peer_country) (count_over_time({_FLOWS} | peer_country!="" [$__range]))',
                    "{{peer_country}}",
                    instant=True,
                ),
                unit="none",
            ).height(10),
        ],
    )


def _events() -> Row:
    return Row(
        "What happened",
        [
            log_panel(
                "DNS log",
                "The names it asked for. The DNS log's own dashboard can be searched.",
                Logql(
                    '{site="$site", event="dns"} | mac=~"$mac" | json qtype, rcode'
                    " | line_format `{{.qname}} {{.qtype}} {{.rcode}}`"
                ),
                width=12,
            ),
            log_panel(
                "Flows",
                "Its conversations, when they ended or went on for five minutes.",
                Logql(
                    f"{_FLOWS}, protocol, peer_port, state | line_format `{{{{.protocol}}}} "
                    "{{or .peer_name .peer_address}}:{{.peer_port}} {{.peer_country}} "
                    "sent {{.tx_bytes}} B, received {{.rx_bytes}} B, {{.state}}`"
                ),
                width=12,
            ),
            log_panel(
                "Anomalies",
                "What was unusual about it, with the figures it rests on.",
                Logql(
                    '{site="$site", event="anomaly"} | mac=~"$mac" | json anomaly, detail'
                    " | line_format `{{.anomaly}}: {{.detail}}`"
                ),
                width=12,
            ),
            log_panel(
                "Leases and changes",
                "Its addresses, presence, names.",
                Logql(
                    '{site="$site", event=~"lease|device"} | mac=~"$mac" | json change, previous, current'
                    " | line_format `{{.change}} {{.previous}} {{.current}} {{.address}}`"
                ),
                width=12,
            ),
        ],
    )
